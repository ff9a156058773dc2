"""What the claims cost, from the records at hand: `python scripts/budget.py learning` and `claims` print the tables.

`learning`: what models had learned after how many steps. `claims`: for each claim the models that have not learned, the
seeds that would decide it, and their time. All times are estimates: the least seconds a step of like records on a core;
for a GPU those of the records of one (H200), whatever the network, since launches rather than arithmetic take its time.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from scipy import stats

from polyvae import RunConfig, RunStore
from polyvae.paper.claims import Part, Test, judge
from polyvae.paper.claims.evidence import ENOUGH, content
from polyvae.paper.claims.statistics import LEVEL
from polyvae.paper.experiments import configs_of
from polyvae.paper.names import DATASETS, FAMILY, METHODS, OFFICIAL
from polyvae.runs.record import Record

KEPT = tuple(Path("docs/results") / name for name in ("records", "translated", "methods", "normal", "budget"))
TESTED_AT_ONCE = 10  # Holm's correction multiplies the smallest p by the number of tested claims; this many is assumed
MOST_SEEDS, FIRST_SEEDS = 12, 3  # beyond the first no budget is named; the second is assumed where one seed was run
ALIKE = {"unimodal_dreg": "unimodal", "mmvae_official": "mmvae"}  # methods of figure 12 in the columns of others


@cache
def records() -> tuple[Record, ...]:
    """Finished runs of all kept stores, each once."""
    found = {r.run_id: r for store in KEPT if store.is_dir() for r in RunStore(store).records() if r.is_done}
    return tuple(found.values())


# What was learned after how many steps


def learning() -> list[str]:
    """A row per setting and number of steps: the probe, or where models fail it what survives of their own pictures."""
    rows: dict[tuple[str, ...], dict[str, dict[float, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for record in records():
        value, config = content(record), record.config
        if config.method in (*FAMILY, *OFFICIAL) and value is not None and _is_plain(config):
            rows[_setting_of(record)][ALIKE.get(config.method, config.method)][config.beta].append(value)
    lines = [f"| data | setting | steps | {' | '.join(METHODS[m].short for m in FAMILY)} |", "|---" * 8 + "|"]
    for (*names, steps), by_method in sorted(rows.items(), key=lambda item: (*item[0][:-1], int(item[0][-1]))):
        cells = (_best(by_method[method]) for method in FAMILY)
        lines.append(f"| {' | '.join(names)} | {int(steps):,} | {' | '.join(cells)} |")
    return lines


def _is_plain(config: RunConfig) -> bool:
    """Of the bound of the method itself, and of a whole picture in the unimodal VAE of the first modality."""
    return config.objective == "auto" and config.only in (None, "m0", "image")


def _setting_of(record: Record) -> tuple[str, str, str]:
    config, law = record.config, next(iter(record.resolved.likelihoods.values()))
    count = config.modalities or len(record.resolved.modalities)
    scale = f", scale {config.scale or 0.5:g}" if config.dataset == "translated_polymnist" else ""
    data = f"{DATASETS[config.dataset].full}{scale}, {count} modalities"
    kind = " official," if config.method in OFFICIAL else ""
    law_text = f"{law['kind'].capitalize()} {law.get('scale', '')}".strip()
    return data, f"{law_text},{kind} {config.network}, batch {config.batch_size}", str(record.resolved.steps)


def _best(by_beta: Mapping[float, Sequence[float]]) -> str:
    """The mean over seeds at the best beta, and which one."""
    if not by_beta:
        return "-"
    beta, value = max(((beta, mean(values)) for beta, values in by_beta.items()), key=lambda pair: pair[1])
    text = f"{value:.2f}".replace("0.", ".", 1)
    return f"{'**' if value >= ENOUGH else ''}{text}{'**' if value >= ENOUGH else ''} ({beta:g})"


# What each claim needs


class Need(NamedTuple):
    """runs: those of one more seed. seeds: how many more; None for what the spread over seeds says. why: in words."""

    runs: Callable[[], list[RunConfig]]
    seeds: int | None
    why: str


def of_experiment(
    name: str, keep: Callable[[RunConfig], bool], preset: str | None = "cpu"
) -> Callable[[], list[RunConfig]]:
    return lambda: [config for config in configs_of(name, preset) if config.seed == 0 and keep(config)]


def moved(*methods: str) -> Callable[[], list[RunConfig]]:
    """Translated PolyMNIST at scale .75 with a Normal likelihood: m0 of the unimodal VAE."""
    return of_experiment("translated_solved", lambda c: _is_of(c, methods) and c.likelihood == "normal")


def over_beta(*methods: str, betas: Iterable[float] = (0.03, 0.3, 1.0)) -> Callable[[], list[RunConfig]]:
    chosen = tuple(betas)
    return of_experiment(
        "fig02_quality_vs_beta", lambda c: c.dataset == "polymnist" and _is_of(c, methods) and c.beta in chosen
    )


def _is_of(config: RunConfig, methods: Sequence[str]) -> bool:
    return config.method in methods and config.only in (None, "m0")


NOTHING: Callable[[], list[RunConfig]] = lambda: []  # noqa: E731
BIRDS = "CUB: no model draws birds from 275 pairs yet; more pictures first, then a budget can be found"
ALL_BETAS = (0.03, 0.3, 1.0, 3.0, 9.0)
MORE_MODALITIES = of_experiment("fig03_normal", lambda c: c.dataset == "polymnist", None)
OFFICIAL_LONGER = of_experiment("fig12_official_mmvae", lambda c: c.beta in (0.3, 1.0), "gpu_small")
NEEDS: dict[str, Need] = {
    "C1": Need(moved("unimodal", "mmvae", "mopoe"), None, "Translated: more seeds; PolyMNIST: one or two"),
    "C2": Need(moved("unimodal", "mvae", "mopoe"), None, "PolyMNIST: longer training; then Translated: more seeds"),
    "C3": Need(NOTHING, 0, BIRDS),
    "C4": Need(
        MORE_MODALITIES,
        FIRST_SEEDS,
        "PolyMNIST: the runs with a Normal likelihood (their time); then Translated the same",
    ),
    "C5": Need(MORE_MODALITIES, FIRST_SEEDS, "the runs of C4"),
    "C6": Need(
        of_experiment("fig11_normal", lambda c: True, None),
        None,
        "more seeds with a Normal likelihood",
    ),
    "C8": Need(over_beta("mvae", betas=ALL_BETAS), None, "all five betas of more seeds"),
    "C10": Need(moved("mvae", "mmvae", "mopoe"), None, "Translated: more seeds"),
    "C11": Need(over_beta("mvae", "mmvae", "mopoe"), None, "more seeds"),
    "C12": Need(NOTHING, 0, "likelihoods of more than 12 importance samples, of models that are still there"),
    "C13": Need(over_beta("mvae", "mmvae", "mopoe"), None, "more seeds"),
    "C14": Need(OFFICIAL_LONGER, FIRST_SEEDS, "the official MMVAE off its plateau: sixteen times the steps is a guess"),
    "C15": Need(over_beta("mvae", "mvae_plus", "mopoe"), None, "more seeds"),
    "C16": Need(NOTHING, 0, "15 runs of a seed leave a spread of .27 about a limit of .3: eight seeds show it in 32 %"),
    "C17": Need(NOTHING, 0, BIRDS),
}


def claims() -> list[str]:
    heads = (
        "claim",
        "verdict",
        "not learned yet",
        "what would decide it",
        "more seeds",
        "runs",
        "core hours",
        "GPU minutes",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    known = list(records())
    for claim, outcome, _, _ in judge(known):
        need = NEEDS.get(claim.name)
        parts = list(claim.measure(known))
        gates = [p.text for p in parts if not isinstance(p, Part) and "needed" in p.text and p.holds is None]
        cells = ["-"] * 5
        if need is not None and outcome == "not decided":
            cells = [need.why, *_cost(need, [p.test for p in parts if isinstance(p, Part) and p.counts])]
        lines.append(f"| {claim.name} | {outcome} | {'; '.join(map(_model_of, gates)) or '-'} | {' | '.join(cells)} |")
    return lines


def _model_of(gate: str) -> str:
    """'PolyMNIST: least probe .113, official MMVAE (...)' without its bracket."""
    return gate.rpartition(" (")[0].replace("least ", "").replace(" (0 at chance, 1 as in real data)", "")


def _cost(need: Need, tests: Sequence[Test]) -> list[str]:
    """More seeds, runs, core hours and GPU minutes."""
    runs = need.runs()
    if not runs:
        return ["-"] * 4
    seeds = need.seeds if need.seeds is not None else more_seeds(tests)
    if seeds is None:
        each = sum(map(core_seconds, runs)) / 3600
        return [
            f"more than {MOST_SEEDS}",
            f"{len(runs)} per seed",
            f"{each:.1f} per seed",
            f"{_gpu(runs):.0f} per seed",
        ]
    hours = seeds * sum(map(core_seconds, runs)) / 3600
    return [str(seeds), str(seeds * len(runs)), f"{hours:.1f}", f"{seeds * _gpu(runs):.0f}"]


def more_seeds(tests: Sequence[Test]) -> int | None:
    """Seeds beyond those at hand, if means and spreads stay: until all parts hold, or one part is refuted."""
    if not tests:
        return None
    if all(t.p <= t.p_against for t in tests):
        needed = [seeds_for(t, t.p, LEVEL / TESTED_AT_ONCE) for t in tests]
        total = None if None in needed else max(n for n in needed if n is not None)
    else:
        level = LEVEL / TESTED_AT_ONCE / len(tests)
        found = [n for t in tests if t.p > t.p_against and (n := seeds_for(t, t.p_against, level)) is not None]
        total = min(found, default=None)
    return None if total is None else max(1, total - min(t.seeds for t in tests))


def seeds_for(test: Test, p: float, level: float) -> int | None:
    """The fewest seeds with which a t statistic that grows with their root gives a p below the level. p is taken as
    one-sided, which errs to the side of more seeds; None beyond `MOST_SEEDS`."""
    t = float(stats.t.isf(min(p, 0.5), test.seeds - 1))
    for seeds in range(max(2, test.seeds), MOST_SEEDS + 1):
        if 2 * stats.t.sf(t * math.sqrt(seeds / test.seeds), seeds - 1) < level:
            return seeds
    return None


# Time


def core_seconds(config: RunConfig) -> float:
    """The least time of training and scoring on a core, of records alike: same method, network, batch and number of
    modalities, on PolyMNIST if not on the same data."""
    alike = [r for r in records() if r.environment["device"] == "cpu" and _kind(r.config) == _kind(config)]
    of_data = [r for r in alike if r.config.dataset == config.dataset] or alike
    if not of_data:
        raise SystemExit(f"no record tells the time of {config}")
    step = min(r.seconds["train"] / (r.resolved.steps or 1) for r in of_data)
    return steps_of(config) * step + min(r.seconds["evaluate"] for r in of_data)


def _kind(config: RunConfig) -> tuple[object, ...]:
    count = 1 if config.only else config.modalities
    return config.method, config.network, config.batch_size, count


def _gpu(runs: Iterable[RunConfig]) -> float:
    """Minutes of one run after the other."""
    on_gpu = [r for r in records() if str(r.environment["device"]).startswith("cuda")]
    step = {m: [r.seconds["train"] / (r.resolved.steps or 1) for r in on_gpu if r.config.method == m] for m in FAMILY}
    usual, scoring = mean(t for of in step.values() for t in of), mean(r.seconds["evaluate"] for r in on_gpu)
    return (
        sum(steps_of(run) * mean(step.get(ALIKE.get(run.method, run.method)) or [usual]) + scoring for run in runs) / 60
    )


def steps_of(config: RunConfig) -> int:
    return config.epochs * ((config.train_size or 60_000) // config.batch_size)


TABLES = {"learning": learning, "claims": claims}

if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in TABLES]:
        raise SystemExit(f"{__doc__}\nwhich table? {' or '.join(TABLES)}")
    print(*TABLES[sys.argv[1]](), sep="\n")
