"""What a finished run of aligned_flows draws at other settings, without training it again.

    python benchmarks/aligned_draws.py RUN [--rows 1000] [--draws 0.85:64 ...]

The first table has the ways to combine inputs: coherence given one modality and given all others; then, for inputs of
two different digits, the shares of draws that show the first, the second or another one, and of pairs of which DRAWS
draws show both. The second table has the temperature and of how many draws the best is kept: coherence given all
others, that of samples, and that of samples whose u is a training row's, not one of p(u); their Fréchet distance.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyvae import Batch, MultimodalDataset, models, noise
from polyvae.judges.extractors import Judge, in_bytes
from polyvae.metrics.frechet import frechet_distance
from polyvae.metrics.pairs import Pair, members, one_out_pairs
from polyvae.metrics.readings import Readings, read_model
from polyvae.metrics.swap import partners
from polyvae.models import AlignedFlows, AlignedOptions
from polyvae.noise import Noise, RowNoise
from polyvae.priors import Prior
from polyvae.runs.evaluation import judge_of
from polyvae.runs.finished import plan_of
from polyvae.runs.plan import Plan
from polyvae.runs.saving import load

DRAWS = 6
PAIRS = 150
LARGEST = 4000  # training rows whose u is drawn
COMBINED: tuple[dict[str, Any], ...] = ({"combine": "mean"}, {"combine": "mixture"}, {"combine": "product"})
DRAWN = ((1.0, 1), (0.7, 1), (0.4, 1), (1.0, 4), (0.7, 4))  # temperature, best of


class OfRows(Prior):
    """u of training rows, each about one of its modalities: no prior that is fitted to them can do better."""

    @torch.no_grad()
    def __init__(self, model: AlignedFlows, data: MultimodalDataset) -> None:
        super().__init__()
        self.spread, rows = model.options.spread, torch.arange(LARGEST)
        self.u = model.directions(data.batch(rows.tolist()))[rows % len(model.names), rows]

    def sample(self, count: int, generator: Noise = None) -> torch.Tensor:
        return self.u[:count] + self.spread * noise.normal(generator, count, self.u.shape[1], self.u)


def with_options(plan: Plan, model: AlignedFlows, options: dict[str, Any]) -> AlignedFlows:
    """The same weights, drawn from with these options."""
    other = models.build(replace(plan.blueprint, options=dict(plan.blueprint.options) | options))
    other.load_state_dict(model.state_dict())
    return other.eval()


def read(model: AlignedFlows, judge: Judge, codes: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """The digit that the judge reads in every modality."""
    laws = model.decode(codes).items()
    return [judge.read(name, in_bytes(law.mean))[1].argmax(-1).numpy() for name, law in laws]


def coherence(found: Readings, pairs: Sequence[Pair]) -> float:
    """Share of (given, target) pairs and rows in which the judge reads the row's digit in the target."""
    truth, model = found.trial.data.labels[found.trial.rows].numpy(), found.trial.model
    shares = [w * (found.labels[m, t] == truth).mean() for given, t in pairs for m, w in members(model, given)]
    return float(np.sum(shares) / len(pairs))


def distances(found: Readings) -> list[float]:
    """The Fréchet distance of samples to real data in every modality, after their mean."""
    each = [float(frechet_distance(found.prior[n].features, found.real[n].features)) for n in found.prior]
    return [float(np.mean(each)), *each]


def agreement(read: Sequence[np.ndarray]) -> float:
    return float((np.stack(read) == read[0]).all(0).mean())


@torch.no_grad()
def joint(model: AlignedFlows, judge: Judge, count: int) -> float:
    """Share of samples with one digit in all modalities."""
    return agreement(read(model, judge, model.prior_codes(count, RowNoise(0, "prior", tuple(range(count))))))


@torch.no_grad()
def contradictions(model: AlignedFlows, data: MultimodalDataset, judge: Judge, count: int) -> tuple[float, ...]:
    """Given one modality of a row and the others of a row of another digit: the last columns of the first table."""
    truth = data.labels[:count].numpy()
    others = partners(truth, 0)
    mine, theirs = data.batch(range(count)).values, data.batch(others.tolist()).values
    found = []
    for target in model.names:
        given = [name for name in model.names if name != target]
        batch = Batch({name: (mine if name == given[0] else theirs)[name] for name in model.names})
        for draw in range(DRAWS):
            source = RowNoise(0, f"contradictions/{draw}", tuple(range(count)))
            found += read(model, judge, model.posterior_codes(batch, given, (target,), source))
    shown = np.stack(found).reshape(len(model.names), DRAWS, count)
    first, second = shown == truth, shown == truth[others]
    return first.mean(), second.mean(), 1 - first.mean() - second.mean(), (first.any(1) & second.any(1)).mean()


def line(options: dict[str, Any], cells: Iterable[float], form: str) -> str:
    named = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"| {named} | " + " | ".join(format(cell, form) for cell in cells) + " |"


def way_to_draw(text: str) -> tuple[float, int]:
    """0.85:64 as (temperature, best of)."""
    temperature, best_of = text.split(":")
    options = AlignedOptions(draw_temperature=float(temperature), best_of=int(best_of))
    return options.draw_temperature, options.best_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=1000, help="test rows")
    parser.add_argument(
        "--draws", nargs="+", type=way_to_draw, default=DRAWN, help="TEMPERATURE:BEST_OF, rows of the second table"
    )
    chosen = parser.parse_args()
    plan = plan_of(chosen.run, metrics="coherence")
    model, judge = load(chosen.run), judge_of(plan, print)
    rows, names = range(chosen.rows), model.names
    of_one = [((given,), target) for given in names for target in names if given != target]
    of_others = one_out_pairs(names, names)
    print("| combine | 1 input | all others | first | second | another | both |")
    for options in COMBINED:
        other = with_options(plan, model, options)
        found = read_model(other, plan.test, judge, label_pairs=[*of_one, *of_others], rows=rows)
        shares = contradictions(other, plan.test, judge, min(PAIRS, len(rows)))
        print(line(options, [coherence(found, of_one), coherence(found, of_others), *shares], ".3f"), flush=True)
    print(f"| draws | all others | samples | samples, u of a row | distance | {' | '.join(names)} |")
    for temperature, best_of in chosen.draws:
        options = {"draw_temperature": temperature, "best_of": best_of}
        other = with_options(plan, model, options)
        found = read_model(other, plan.test, judge, label_pairs=of_others, rows=rows)
        cells = [coherence(found, of_others), agreement([read.label for read in found.prior.values()])]
        other.prior = OfRows(other, plan.train)
        print(line(options, [*cells, joint(other, judge, len(rows)), *distances(found)], ".3g"), flush=True)


if __name__ == "__main__":
    main()
