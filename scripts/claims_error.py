"""How often do the claims' intervals miss, and how often do they find an effect? Worlds whose truth is known.

    python scripts/claims_error.py rules     ways to choose a beta and to widen, on bare numbers
    python scripts/claims_error.py claims    every claim that rests on an interval, on records, as `polyvae claims` does

Noise is Normal, of one size within a kind of score. In a null world every tested mean is at its limit or margin, and no
beta is better than another, so that the choice among them is all noise. In a world with an effect every tested mean is
`effect` standard deviations of a run beyond it (C16: a rank correlation of 0; claims of equality: no difference).
"""

import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from polyvae import RunConfig, keys
from polyvae.paper.claims import CLAIMS, Part
from polyvae.paper.claims.statistics import CHOSEN, LEVEL, chosen_in_turn
from polyvae.runs.record import Record

SEEDS = (3, 4, 5, 6, 8)
BETAS = (0.03, 0.3, 1.0, 3.0, 9.0)
FAR, COHERENCE, PROBE = "frechet/digits/unconditional/m0", keys.LEAVE_ONE_OUT, keys.LINEAR_PROBE
BIRDS, DIVERSITY = "frechet/attributes/unconditional/image", keys.of(keys.DIVERSITY, "digits", "mean")
UNIT = {FAR: 25.0, BIRDS: 25.0, COHERENCE: 0.0125, PROBE: 0.0125, keys.LOG_LIKELIHOOD: 25.0, DIVERSITY: 0.0125}
UNIT |= {keys.OF_BLIND_ROWS: 25.0, keys.BLIND: 25.0}  # standard deviation over seeds and betas
LEARNED = {"coherence/self/m0": 0.9, PROBE: 0.9, keys.EFFECTIVE_SIZE: 8.0}
PLAIN, MOVED, ALIKE = "polymnist", "translated_polymnist", "repeated_polymnist"


# Ways to choose and to widen

Choice = Callable[[np.ndarray], np.ndarray]


def in_turn(scores: np.ndarray) -> np.ndarray:
    """(world, seed, beta) -> (world, seed): each seed's score at the beta that the seeds before it chose."""
    return _picked(scores, chosen_in_turn(scores, lowest=True))


def by_all_others(scores: np.ndarray) -> np.ndarray:
    return _picked(scores, (scores.sum(-2, keepdims=True) - scores).argmin(-1))


def by_half(scores: np.ndarray) -> np.ndarray:
    """The first half of the seeds chooses for the second, which alone has scores."""
    half = scores.shape[-2] // 2
    rest = scores[:, half:]
    return _picked(rest, np.repeat(scores[:, :half].mean(-2).argmin(-1)[:, None], rest.shape[-2], -1))


def _picked(scores: np.ndarray, choice: np.ndarray) -> np.ndarray:
    return np.take_along_axis(scores, choice[..., None], -1)[..., 0]


def shown(values: np.ndarray, widened: float) -> np.ndarray:
    """The sign that each world's two-sided t test finds, or 0: (world, seed) -> (world,)."""
    count = values.shape[-1]
    t = values.mean(-1) * count**0.5 / (values.std(-1, ddof=1) * widened)
    return np.sign(t) * (np.abs(t) > stats.t.ppf(1 - LEVEL / 2, count - 1))


RULES: dict[str, tuple[Choice, float]] = {
    "all other seeds choose": (by_all_others, 1.0),
    "all other seeds, 1.7 times as wide": (by_all_others, 1.7),
    "half of the seeds choose for the rest": (by_half, 1.0),
    "the seeds before choose": (in_turn, 1.0),
    "the seeds before, 1.41 times as wide (used)": (in_turn, CHOSEN),
}
CURVES = {"no beta is better": 0.0, "betas .5 apart": 0.5, "betas 10 apart": 10.0}  # in standard deviations of a run


def rule_worlds(seeds: int, apart: float, effect: float, worlds: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two methods over the betas, the first `effect` higher: twice (world, seed, beta)."""
    rng = np.random.default_rng(seeds)
    first, second = rng.normal(size=(2, worlds, seeds, len(BETAS))) + apart * np.arange(len(BETAS))
    return first + effect, second


def share_shown(rule: str, seeds: int, apart: float, effect: float = 0.0, worlds: int = 20_000) -> float:
    """How often a rule finds a difference: its error without an effect; else its power, by the right sign."""
    choose, widened = RULES[rule]
    first, second = rule_worlds(seeds, apart, effect, worlds)
    sign = shown(choose(first) - choose(second), widened)
    return float((sign == 1).mean() if effect else (sign != 0).mean())


# Every claim, on records


class Cell(NamedTuple):
    """The runs of a method: key -> mean, at every beta, or one mean for each."""

    method: str
    means: dict[str, float | tuple[float, ...]]
    dataset: str = PLAIN
    modalities: int = 3
    betas: tuple[float, ...] = BETAS


class World(NamedTuple):
    """Cells, and what each tested part measures in truth where there is no effect."""

    cells: list[Cell]
    truths: list[float]


def far(means: dict[str, float], dataset: str = PLAIN, key: str = FAR, **more: float) -> list[Cell]:
    return [Cell(method, {key: mean, **more}, dataset) for method, mean in means.items()]


def rising(slopes: dict[str, float], dataset: str) -> list[Cell]:
    """Distances over the number of modalities, at one beta."""
    return [
        Cell(method, {f"{keys.stem(FAR)}/m{i}": 500 + slope * count for i in range(count)}, dataset, count, (1.0,))
        for method, slope in slopes.items()
        for count in (2, 3, 4, 5)
    ]


def both(cells: Callable[[str], list[Cell]]) -> list[Cell]:
    return cells(PLAIN) + cells(MOVED)


def worlds_of(effect: float) -> dict[str, World]:
    """Claim -> a world in which its tested means are `effect` standard deviations beyond their limits."""
    d, c, u = UNIT[FAR] * effect, UNIT[COHERENCE] * effect, 1000.0
    edge = 0.0 if effect else 1.0  # where an equality is claimed: at the margin, or in the middle, four units from it
    likelihood = {"mvae": u + 3 * d, "mmvae": u, "mopoe": u + 2 * d}
    return {
        "C1": World(both(lambda of: far({"unimodal": u, "mmvae": u + d, "mopoe": u + d}, of)), [0] * 4),
        "C2": World(both(lambda of: far({"unimodal": u, "mvae": u + 100 - d, "mopoe": u + 400}, of)), [0] * 2),
        "C3": World(far({"unimodal": u, "mmvae": u + d, "mopoe": u + d}, "cub", BIRDS), [0] * 2),
        "C4": World(both(lambda of: rising({"mmvae": d, "mopoe": d}, of)), [0] * 4),
        "C5": World(both(lambda of: rising({"mvae": 0, "mopoe": d}, of)), [0] * 2),
        "C6": World(rising({"mvae": 0, "mmvae": d, "mopoe": d}, ALIKE), [0] * 3),
        "C7": World(
            [Cell(m, {FAR: u, COHERENCE: 0.3 + c * (m != "mvae")}) for m in ("mvae", "mmvae", "mopoe")], [0] * 2
        ),
        "C8": World([Cell("mvae", {FAR: u, COHERENCE: tuple(0.3 + c * np.log10(BETAS))})], [0]),
        "C9": World([Cell(m, {COHERENCE: 0.3 - c}, MOVED) for m in _joint(u)], [0.3] * 3),
        "C10": World(both(lambda of: far(_joint(u), of, **{PROBE: 0.8 + c * (of == PLAIN)})), [0] * 3),
        "C11": World(
            [
                Cell(m, {FAR: u + mean, keys.LOG_LIKELIHOOD: likelihood[m]})
                for m, mean in {"mvae": 0, "mmvae": d, "mopoe": 2 * d}.items()
            ],
            [0] * 5,
        ),
        "C12": World(
            [Cell(m, {FAR: u, keys.OF_BLIND_ROWS: u + d * (m == "mopoe"), keys.BLIND: 0.0}) for m in ("mvae", "mopoe")],
            [0],
        ),
        "C13": World(
            [Cell(m, {FAR: u, DIVERSITY: 1 - c * (m != "mvae")}) for m in ("mvae", "mmvae", "mopoe")], [1, 0, 1, 0]
        ),
        "C14": World(
            [
                *far({"mmvae_official": u + d, "unimodal_dreg": u}),
                Cell("mmvae_official", {FAR: u, COHERENCE: 0.1 + edge * 0.05}, MOVED, 2),
            ],
            [0, 0.05],
        ),
        "C15": World(
            [
                Cell("mvae_plus", {FAR: u + edge * 100, keys.LOG_LIKELIHOOD: -u + edge * 100, COHERENCE: 0.3 + c}),
                Cell("mvae", {FAR: u, keys.LOG_LIKELIHOOD: -u, COHERENCE: 0.3}),
                Cell("mopoe", {FAR: u, keys.LOG_LIKELIHOOD: -u - 400}),
            ],
            [0, 0.1, 0.25],
        ),
        "C16": World(
            both(lambda of: far(_joint(u), of, **{COHERENCE: 0.3, keys.LOG_LIKELIHOOD: -u})), [0.3 * edge] * 4
        ),
    }


def _joint(mean: float) -> dict[str, float]:
    return dict.fromkeys(("mvae", "mmvae", "mopoe"), mean)


def rank_coupling(rho: float, count: int) -> float:
    """The correlation of Normal pairs whose Spearman's of `count` pairs is rho in expectation (Moran 1948)."""

    def expected(r: float) -> float:
        return 6 / np.pi / (count + 1) * (np.arcsin(r) + (count - 2) * np.arcsin(r / 2)) - rho

    return float(optimize.brentq(expected, -1, 1))


def drawn(name: str, world: World, seeds: int, count: int) -> Iterator[list[Record]]:
    """Records of `count` worlds: the same objects, with other metrics each time."""
    rng = np.random.default_rng(seeds)
    runs = [
        (c, i, _record(c, beta, seed)) for c in world.cells for i, beta in enumerate(c.betas) for seed in range(seeds)
    ]
    table = [(r.metrics, key, m[i] if isinstance(m, tuple) else m) for c, i, r in runs for key, m in c.means.items()]
    means = np.array([mean for *_, mean in table])
    units = np.array([UNIT.get(key, UNIT[FAR]) for _, key, _ in table])
    coupling = rank_coupling(world.truths[0], 3 * len(BETAS)) if name == "C16" else 0.0
    for _ in range(count):
        noise = rng.normal(size=len(table))
        if coupling:
            of_run = noise.reshape(-1, 3)  # distance, coherence, log-likelihood
            of_run[:, [0, 2]] = coupling * of_run[:, [1]] + (1 - coupling**2) ** 0.5 * of_run[:, [0, 2]]
        for (metrics, key, _), value in zip(table, means + units * noise, strict=True):
            metrics[key] = float(value)
        yield [run for *_, run in runs]


def _record(cell: Cell, beta: float, seed: int) -> Record:
    only = {"unimodal": "image" if cell.dataset == "cub" else "m0", "unimodal_dreg": "m0"}.get(cell.method)
    config = RunConfig(
        dataset=cell.dataset, method=cell.method, only=only, beta=beta, seed=seed, modalities=cell.modalities
    )
    return Record(run_id=f"{cell.method}-{beta}-{seed}", config=config, status="done", metrics=dict(LEARNED))


def measured(name: str, seeds: int, effect: float, count: int) -> np.ndarray:
    """What a claim's tested parts say in `count` worlds: (world, part, 4), as mean, low, high and p of each."""
    claim, world = next(c for c in CLAIMS if c.name == name), worlds_of(effect)[name]
    rows = []
    for records in drawn(name, world, seeds, count):
        parts = [part for part in claim.measure(records) if isinstance(part, Part) and part.counts]
        rows.append([[p.test.mean, p.test.low, p.test.high, p.test.p] for p in parts])
    return np.array(rows)


def errors(name: str, seeds: int, count: int) -> np.ndarray:
    """For each part of a claim without an effect: how often its 95 % interval misses the truth."""
    found, truths = measured(name, seeds, 0.0, count), np.array(worlds_of(0.0)[name].truths)
    return ((found[..., 1] > truths) | (found[..., 2] < truths)).mean(0)


def power(name: str, seeds: int, effect: float, count: int) -> float:
    """How often all parts of a claim are shown at 5 %, before Holm's correction."""
    return float((measured(name, seeds, effect, count)[..., 3] < LEVEL).all(1).mean())


def main(kind: str) -> None:
    if kind == "rules":
        print(f"| rule | world | {' | '.join(f'{n} seeds' for n in SEEDS)} |")
        for rule in RULES:
            for curve, apart in CURVES.items():
                cells = [(share_shown(rule, n, apart), share_shown(rule, n, apart, 4.0)) for n in SEEDS]
                print(f"| {rule} | {curve} |", " | ".join(f"{100 * e:.1f}, {100 * p:.0f}" for e, p in cells), "|")
    else:
        for name in worlds_of(0.0):
            cells = [(errors(name, n, 1000).mean(), power(name, n, 4.0, 200)) for n in (3, 5, 8)]
            print(f"| {name} |", " | ".join(f"{100 * e:.1f}, {100 * p:.0f}" for e, p in cells), "|", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
