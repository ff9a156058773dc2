"""What the claims are judged by: numbers of each seed, picked from records.

The unit is the seed. A method's best beta for one seed is chosen by the seeds before it, so that the choice does not
flatter the number that is reported; for the first seed by the others, for a single one by itself. Other seeds are other
evaluation draws of other trainings, a stricter split than halves of one run's draws.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from polyvae import keys
from polyvae.config import MODALITIES, NOT_HASHED
from polyvae.paper.claims.statistics import CHOSEN, chosen_in_turn
from polyvae.paper.names import FAMILY, OFFICIAL
from polyvae.runs.record import Record

BySeed = dict[int, float]
Score = str | Callable[[Record], float | None]

POLYMNIST, TRANSLATED, REPEATED, CUB = "polymnist", "translated_polymnist", "repeated_polymnist", "cub"
FIRST = ("m0", "image")  # the first modalities of PolyMNIST and of CUB
VARIED = {"method", "beta", "seed", "only", *NOT_HASHED} - {"importance_samples", "subsets"}
RECIPE = ("epochs", "latent_dim", "method_options")  # what differs for a method with stages and private codes
ENOUGH = 0.5  # of `content`


class Evidence:
    """The finished runs of one data set at one setting: methods, betas and seeds differ."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)

    def method(self, name: str) -> "Evidence":
        """The runs of a method; of the unimodal VAE those on the first modality."""
        return Evidence(r for r in self.records if r.config.method == name and r.config.only in (None, *FIRST))

    @cached_property
    def distance(self) -> str:
        """The key of the Fréchet distance of the first modality that most of these runs have."""
        seen = [seen for record in self.records for seen in keys.seen(record.metrics) if seen.modality in FIRST]
        return (_most_common(seen) or keys.Seen("digits", FIRST[0])).key()

    @cached_property
    def widened(self) -> float:
        """The factor of standard errors of scores at best betas: 1 where no method had two betas to choose from."""
        betas: dict[str, set[float]] = defaultdict(set)
        for record in self.records:
            betas[record.config.method].add(record.config.beta)
        return CHOSEN if any(len(of_method) > 1 for of_method in betas.values()) else 1.0

    def best(self, method: str, score: Score | None = None) -> BySeed:
        """seed -> a method's score (default: its distance) at the beta of the lowest distance."""
        return self.method(method).at_best(score or self.distance, self.distance)

    def complete(self) -> list["Evidence"]:
        """The runs of each seed, of those seeds that have the most pairs of method and beta."""
        by_seed: dict[int, list[Record]] = defaultdict(list)
        for record in self.records:
            by_seed[record.config.seed].append(record)
        most = max(map(len, by_seed.values()), default=0)
        return [Evidence(runs) for _, runs in sorted(by_seed.items()) if len(runs) == most]

    def values(self, score: Score) -> dict[float, BySeed]:
        """beta -> seed -> score, for the runs that have it."""
        scores: dict[float, BySeed] = defaultdict(dict)
        for record in self.records:
            value = score_of(record, score)
            if value is not None:
                scores[record.config.beta][record.config.seed] = value
        return dict(sorted(scores.items()))

    def best_betas(self, score: Score, *, lowest: bool) -> dict[int, float]:
        """seed -> the beta that `chosen_in_turn` gives it.

        A seed may lack the beta that is chosen for it; it then has no score, so that no mean mixes betas for that.
        """
        table = self.values(score)
        betas, seeds = list(table), sorted({seed for by_seed in table.values() for seed in by_seed})
        if not seeds:
            return {}
        scores = np.array([[table[beta].get(seed, np.nan) for beta in betas] for seed in seeds])
        return {seed: betas[i] for seed, i in zip(seeds, chosen_in_turn(scores, lowest=lowest), strict=True)}

    def at_best(self, score: Score, by: Score | None = None, *, lowest: bool = True) -> BySeed:
        """seed -> score at the beta that is best by `by` (default: by the score itself)."""
        chosen, table = self.best_betas(score if by is None else by, lowest=lowest), self.values(score)
        return {s: table[beta][s] for s, beta in sorted(chosen.items()) if beta in table and s in table[beta]}


def score_of(record: Record, score: Score) -> float | None:
    return record.metrics.get(score) if isinstance(score, str) else score(record)


def compared(records: Iterable[Record]) -> keys.Seen | None:
    """What most of these records have a Fréchet distance of, by the judge of digits among equals."""
    return _most_common([seen for record in records for seen in keys.seen(record.metrics)])


def sweeps(records: Iterable[Record], dataset: str) -> Evidence:
    """The runs on a data set at the setting at which most methods of the paper have left the plateau of the first
    steps; of several settings, at that with the most pairs of method and beta.

    Models on the plateau decide nothing, so any number of them must not hide a setting that can decide.
    """
    return Evidence(_largest(_by_setting(records, dataset), _count_learned, _count_pairs))


def beside(records: Iterable[Record], dataset: str, method: str) -> Evidence:
    """The runs of a method on a data set, at its setting with the most runs, and what they are compared with: runs of
    others on the same data by the same networks and likelihoods, whatever their epochs, codes and options."""
    known = list(records)
    own = _largest(_by_setting((r for r in known if r.config.method == method), dataset))
    shared = {setting(record, *RECIPE) for record in own}
    others = [r for r in known if r.config.method != method and r.is_done and r.config.dataset == dataset]
    return Evidence([*own, *sweeps([r for r in others if setting(r, *RECIPE) in shared], dataset).records])


def by_modalities(records: Iterable[Record], dataset: str) -> dict[int, Evidence]:
    """Number of modalities -> runs, at the setting and the one beta that the most numbers of modalities share."""
    groups: dict[tuple[str, float], list[Record]] = defaultdict(list)
    for record in records:
        if record.is_done and record.config.dataset == dataset:
            groups[setting(record, "modalities"), record.config.beta].append(record)
    chosen = _largest(groups, lambda group: len(set(map(_count, group))))
    return {count: Evidence(r for r in chosen if _count(r) == count) for count in sorted(set(map(_count, chosen)))}


def _by_setting(records: Iterable[Record], dataset: str) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.is_done and record.config.dataset == dataset:
            groups[setting(record)].append(record)
    return groups


def _largest(groups: Mapping[Any, list[Record]], *sizes: Callable[[list[Record]], int]) -> list[Record]:
    """The group of the largest size; of several, by the next one, and at last the one with the most runs."""
    of = {key: (*(size(group) for size in sizes), len(group), key) for key, group in groups.items()}
    return groups[max(of, key=of.__getitem__)] if of else []


def _count_pairs(group: Iterable[Record]) -> int:
    return len({(record.config.method, record.config.beta) for record in group})


def _count_learned(group: Iterable[Record]) -> int:
    """The methods of the paper with a run that has left the plateau."""
    able = (r for r in group if (content(r) or 0.0) >= ENOUGH)
    return len({r.config.method for r in able} & {*FAMILY, *OFFICIAL})


def setting(record: Record, *also: str) -> str:
    """What runs must share to be compared: everything but method, beta, seed, and `also`; and the data themselves,
    of which only the number of rows counts where the number of modalities may differ.

    Of the networks only that of the first modality counts, since a unimodal run has no other.
    """
    config = {key: value for key, value in record.config.to_dict().items() if key not in VARIED and key not in also}
    networks = record.resolved.networks or {"": config["network"]}
    first = next((networks[name] for name in FIRST if name in networks), next(iter(networks.values())))
    known = record.resolved
    data = (known.train_rows, known.test_rows) if "modalities" in also else known.data
    return json.dumps(config | {"network": first, "content": data}, sort_keys=True)


def difference(a: BySeed, b: BySeed) -> BySeed:
    """seed -> a - b, for the seeds that both have."""
    return {seed: a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())}


def paired(a: BySeed, b: BySeed) -> list[float]:
    """a - b for the seeds that both have."""
    return list(difference(a, b).values())


def slopes(x_to_values: Mapping[float, BySeed], least: int = 3) -> BySeed:
    """seed -> least-squares slope of its own values over x, for the seeds with values at `least` x or more."""
    points: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for x, by_seed in x_to_values.items():
        for seed, value in by_seed.items():
            points[seed].append((x, value))
    kept = {seed: np.array(curve).T for seed, curve in sorted(points.items()) if len(curve) >= least}
    return {seed: float(np.polyfit(x, y, 1)[0]) for seed, (x, y) in kept.items()}


def mean_below(stem: str, record: Record) -> float | None:
    """The mean of all metrics below a stem, or None."""
    values = list(keys.below(stem, record.metrics).values())
    return float(np.mean(values)) if values else None


def self_coherence(record: Record) -> float | None:
    """The share of digits that survive in a model's own reconstructions, mean over modalities."""
    return mean_below(keys.SELF_COHERENCE, record)


def ceiling(record: Record) -> float:
    """The judge's accuracy on real data, mean over modalities."""
    return mean_below(keys.CEILING, record) or 1.0


def content(record: Record) -> float | None:
    """What shows that a model has left the plateau of the first steps, at least `ENOUGH` then; None if not measured.

    The linear probe; on Translated PolyMNIST, where the paper's models fail it, the digits that survive in a model's
    own reconstructions; on CUB the attributes that do, from chance to what the judge reads in real data.
    """
    if record.config.dataset == TRANSLATED:
        return self_coherence(record)
    return own_over_chance(record) if record.config.dataset == CUB else record.metrics.get(keys.LINEAR_PROBE)


def own_over_chance(record: Record) -> float | None:
    """Self-coherence, 0 at chance and 1 where the judge reads own reconstructions as well as real data; None where it
    was not measured, or the judge reads nothing in real data."""
    own, chance = self_coherence(record), record.metrics.get(keys.CHANCE, 0.0)
    return None if own is None or ceiling(record) <= chance else (own - chance) / (ceiling(record) - chance)


def _most_common(seen: Sequence[keys.Seen]) -> keys.Seen | None:
    counts = Counter(seen)
    return max(counts, key=lambda s: (counts[s], s.extractor == "digits"), default=None)


def _count(record: Record) -> int:
    return record.config.modalities or MODALITIES
