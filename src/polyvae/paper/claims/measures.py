"""The numbers that decide each claim: one function a claim, from records to parts that are tested or counted."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

from polyvae import keys
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.paper.claims import evidence
from polyvae.paper.claims.evidence import BySeed, Evidence, Score, paired
from polyvae.paper.claims.statistics import Test, above, below, within
from polyvae.paper.names import DATASETS, METHODS, OFFICIAL
from polyvae.runs.record import Record

POLYMNIST, TRANSLATED, REPEATED, CUB = "polymnist", "translated_polymnist", "repeated_polymnist", "cub"
SUBSAMPLING = ("mmvae", "mopoe")
JOINT = ("mvae", "mmvae", "mopoe")
NON_INFERIOR = 0.25  # of the gap between MoPoE and unimodal
LOW_COHERENCE, ENOUGH = 0.3, 0.5
EQUAL_DISTANCE, EQUAL_LIKELIHOOD = 0.1, 0.25  # of MVAE's distance; of the gap in likelihood between MVAE and MoPoE
AT_CHANCE, NO_CORRELATION = 0.05, 0.3
LARGE_BETA = 9.0  # the largest of the paper's grid
CLOSE, COHERENT = 1.1, 0.8  # of the unimodal distance, of the judge's accuracy
ABSENT = "no run of this kind"


class Part(NamedTuple):
    """A tested number and what it is."""

    text: str
    test: Test


class Fact(NamedTuple):
    """What is counted, not tested. holds: None when it does not suffice to decide."""

    text: str
    holds: bool | None


Parts = list[Part | Fact]
Measure = Callable[[Sequence[Record]], Parts]


def part_of(text: str, test: Test) -> Parts:
    """One tested part; a fact that decides nothing where no seed has the number."""
    if not test.seeds:
        return [Fact(f"{text}: {ABSENT}", None)]
    interval = f", 95 % [{_short(test.low)}, {_short(test.high)}]" if test.seeds > 1 else ""
    return [Part(f"{text} {_short(test.mean)}{interval}, {test.seeds} seed{'s' * (test.seeds > 1)}", test)]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _best(runs: Evidence, method: str, key: Score | None = None) -> BySeed:
    """A method's score (default: its distance) at the beta of the lowest distance."""
    distance = evidence.distance(runs.records)
    return runs.method(method).at_best(key or distance, distance)


def learned(dataset: str, runs: Collection[Evidence], methods: Sequence[str]) -> Parts:
    """Whether each method has left its plateau at its beta of the lowest distance: before that, models rank nothing.

    By the linear probe; on Translated, where the paper's models fail it, by the digits that survive in a model's own
    reconstructions.
    """
    score, name = (evidence.self_coherence, "self-coherence") if dataset == TRANSLATED else (keys.LINEAR_PROBE, "probe")
    scores = {(m, i): list(_best(group, m, score).values()) for m in methods for i, group in enumerate(runs)}
    if missing := [METHODS[m].short for m in methods if not any(scores[m, i] for i in range(len(runs)))]:
        return [Fact(f"{DATASETS[dataset].short}: {name} of {', '.join(missing)}: {ABSENT}", None)]
    means = {key: float(np.mean(values)) for key, values in scores.items() if values}
    least = min(means, key=means.__getitem__)
    who = METHODS[least[0]].short
    text = f"{DATASETS[dataset].short}: least {name} {means[least]:.2f}, {who} ({ENOUGH} needed: it has learned)"
    return [Fact(text, True if means[least] >= ENOUGH else None)]


def gap(datasets: Sequence[str]) -> Measure:
    def measure(records: Sequence[Record]) -> Parts:
        parts: Parts = []
        for dataset in datasets:
            runs = evidence.sweeps(records, dataset)
            unimodal = _best(runs, "unimodal")
            for method in SUBSAMPLING:
                text = f"{DATASETS[dataset].short}: distance {METHODS[method].short} - unimodal"
                parts += part_of(text, above(paired(_best(runs, method), unimodal)))
            parts += learned(dataset, [runs], ("unimodal", *SUBSAMPLING))
        return parts

    return measure


def mvae_keeps_up(records: Sequence[Record]) -> Parts:
    """Difference to unimodal minus a quarter of the gap of MoPoE: below 0 if MVAE is not inferior by the margin.

    Without a gap there is no margin: MVAE must then be better.
    """
    parts: Parts = []
    for dataset in (POLYMNIST, TRANSLATED):
        runs = evidence.sweeps(records, dataset)
        unimodal, mvae, mopoe = (_best(runs, method) for method in ("unimodal", "mvae", "mopoe"))
        seeds = sorted(unimodal.keys() & mvae.keys() & mopoe.keys())
        excess = [mvae[s] - unimodal[s] - NON_INFERIOR * max(0.0, mopoe[s] - unimodal[s]) for s in seeds]
        parts += part_of(f"{DATASETS[dataset].short}: distance MVAE - unimodal - 25 % of the MoPoE gap", below(excess))
        parts += learned(dataset, [runs], ("unimodal", "mvae", "mopoe"))
    return parts


def on_birds(records: Sequence[Record]) -> Parts:
    birds = [r for r in records if r.config.dataset == CUB]
    runs = evidence.sweeps(birds, CUB)
    key = evidence.distance(birds, "image")
    unimodal = Evidence(r for r in runs.records if r.config.method == "unimodal").at_best(key)
    parts: Parts = []
    for method in SUBSAMPLING:
        other = runs.method(method).at_best(key)
        parts += part_of(f"CUB: distance {METHODS[method].short} - unimodal", above(paired(other, unimodal)))
    return parts


def _growth(runs: dict[int, Evidence], method: str, everywhere: bool) -> BySeed:
    """Slope of the distance in the number of modalities, on m0, or on the mean over modalities."""
    table: dict[float, BySeed] = {}
    for count, at_count in runs.items():
        key = evidence.distance(at_count.records)
        score = partial(evidence.mean_below, keys.stem(key)) if everywhere else key
        table[count] = {s: v for values in at_count.method(method).values(score).values() for s, v in values.items()}
    return evidence.slopes(table)


def rises(datasets: Sequence[str]) -> Measure:
    def measure(records: Sequence[Record]) -> Parts:
        parts: Parts = []
        for dataset in datasets:
            runs = evidence.by_modalities(records, dataset)
            for method in SUBSAMPLING:
                slopes = _growth(runs, method, dataset == REPEATED)
                text = f"{DATASETS[dataset].short}: distance of {METHODS[method].short} per modality"
                parts += part_of(text, above(list(slopes.values())))
            parts += learned(dataset, runs.values(), SUBSAMPLING)
        return parts

    return measure


def rises_less(datasets: Sequence[str]) -> Measure:
    def measure(records: Sequence[Record]) -> Parts:
        parts: Parts = []
        for dataset in datasets:
            runs = evidence.by_modalities(records, dataset)
            mvae, mopoe = (_growth(runs, method, dataset == REPEATED) for method in ("mvae", "mopoe"))
            text = f"{DATASETS[dataset].short}: distance per modality, MVAE - MoPoE"
            parts += part_of(text, below(paired(mvae, mopoe)))
            parts += learned(dataset, runs.values(), ("mvae", "mopoe"))
        return parts

    return measure


def repeated(records: Sequence[Record]) -> Parts:
    return rises((REPEATED,))(records) + rises_less((REPEATED,))(records)


def coherent(records: Sequence[Record]) -> Parts:
    runs = evidence.sweeps(records, POLYMNIST)
    mvae = runs.method("mvae").at_best(LEAVE_ONE_OUT, lowest=False)
    parts: Parts = []
    for method in SUBSAMPLING:
        other = runs.method(method).at_best(LEAVE_ONE_OUT, lowest=False)
        parts += part_of(f"coherence {METHODS[method].short} - MVAE", above(paired(other, mvae)))
    return parts


def coherence_over_beta(records: Sequence[Record]) -> Parts:
    table = evidence.sweeps(records, POLYMNIST).method("mvae").values(LEAVE_ONE_OUT)
    slopes = evidence.slopes({float(np.log10(beta)): values for beta, values in table.items() if beta > 0})
    return part_of("MVAE: coherence per decade of beta", above(list(slopes.values())))


def translated_fails(records: Sequence[Record]) -> Parts:
    runs = evidence.sweeps(records, TRANSLATED)
    parts: Parts = []
    for method in (*JOINT, "mvae_plus"):
        of_method = runs.method(method)
        best = list(of_method.at_best(LEAVE_ONE_OUT, lowest=False).values())
        parts += part_of(f"{METHODS[method].short}: coherence", below(best, LOW_COHERENCE))
        own = of_method.at_best(evidence.self_coherence, LEAVE_ONE_OUT, lowest=False)
        value = float(np.mean(list(own.values()))) if own else 0.0
        text = f"{METHODS[method].short}: self-coherence {f'{value:.2f}' if own else 'not measured'} ({ENOUGH} needed)"
        parts.append(Fact(text, True if value >= ENOUGH else None))
    return parts


def probe_falls(records: Sequence[Record]) -> Parts:
    plain, moved = (evidence.sweeps(records, dataset) for dataset in (POLYMNIST, TRANSLATED))
    parts: Parts = []
    for method in JOINT:
        a, b = (_best(runs, method, keys.LINEAR_PROBE) for runs in (plain, moved))
        parts += part_of(f"{METHODS[method].short}: accuracy PolyMNIST - Translated", above(paired(a, b)))
    return parts + learned(TRANSLATED, [moved], JOINT)


def likelihood_ranks(records: Sequence[Record]) -> Parts:
    runs = evidence.sweeps(records, POLYMNIST)
    joint = {method: _best(runs, method, keys.LOG_LIKELIHOOD) for method in JOINT}
    far = {method: _best(runs, method) for method in JOINT}
    parts: Parts = []
    for method in SUBSAMPLING:
        parts += part_of(f"distance {METHODS[method].short} - MVAE", above(paired(far[method], far["mvae"])))
        parts += part_of(f"log-likelihood MVAE - {METHODS[method].short}", above(paired(joint["mvae"], joint[method])))
    ratios = paired(_ratios(far), _ratios(joint))
    return parts + part_of("gap MVAE to MoPoE over gap MVAE to MMVAE: of distance - of likelihood", above(ratios))


def _ratios(values: dict[str, BySeed]) -> BySeed:
    """seed -> gap between MVAE and MoPoE, over that between MVAE and MMVAE where there is one."""
    mvae, mmvae, mopoe = (values[method] for method in JOINT)
    seeds = [s for s in mvae.keys() & mmvae.keys() & mopoe.keys() if mvae[s] != mmvae[s]]
    return {s: (mvae[s] - mopoe[s]) / (mvae[s] - mmvae[s]) for s in seeds}


def given_helps(records: Sequence[Record]) -> Parts:
    def gain(record: Record) -> float | None:
        given, blind = (record.metrics.get(key) for key in (keys.LOG_LIKELIHOOD, keys.BLIND))
        return None if given is None or blind is None else given - blind

    runs = evidence.sweeps(records, POLYMNIST)
    key = evidence.distance(runs.records)
    mopoe, mvae = (runs.method(method).at_best(gain, key) for method in ("mopoe", "mvae"))
    return part_of("log-likelihood given all - unconditional: MoPoE - MVAE (nats)", above(paired(mopoe, mvae)))


def less_diverse(records: Sequence[Record]) -> Parts:
    runs = evidence.sweeps(records, POLYMNIST)
    values = {method: _best(runs, method, keys.of(keys.DIVERSITY, "digits", "mean")) for method in JOINT}
    parts: Parts = []
    for method in SUBSAMPLING:
        parts += part_of(f"{METHODS[method].short}: diversity (real: 1)", below(list(values[method].values()), 1.0))
        parts += part_of(f"{METHODS[method].short} - MVAE", below(paired(values[method], values["mvae"])))
    return parts


def official(records: Sequence[Record]) -> Parts:
    """Figure 12: methods of the published objective, on one modality and on all; on Translated with two, at chance."""
    parts: Parts = []
    runs = [r for r in records if r.config.method in OFFICIAL]
    plain = evidence.sweeps(runs, POLYMNIST)
    key = evidence.distance(plain.records)
    alone = Evidence(r for r in plain.records if r.config.only == "m0").at_best(key)
    values = plain.method("mmvae_official").at_best(key)
    parts += part_of("PolyMNIST: distance official MMVAE - unimodal", above(paired(values, alone)))
    parts += learned(POLYMNIST, [plain], ("mmvae_official", "unimodal_dreg"))
    moved = evidence.sweeps([r for r in runs if r.config.modalities == 2], TRANSLATED)
    cross = [v - 0.1 for v in moved.at_best(LEAVE_ONE_OUT, lowest=False).values()]
    parts += part_of("Translated, two modalities: coherence - chance", within(cross, AT_CHANCE))
    return parts + learned(TRANSLATED, [moved], ("mmvae_official",))


def subsampling_helps(records: Sequence[Record]) -> Parts:
    """Each method at its beta of the lowest distance.

    Margins: 10 % of MVAE's distance; 25 % of the gap between MVAE and MoPoE in log-likelihood.
    """
    runs, likelihood = evidence.sweeps(records, POLYMNIST), keys.LOG_LIKELIHOOD
    key = evidence.distance(runs.records)
    mvae, plus, mopoe = (runs.method(method) for method in ("mvae", "mvae_plus", "mopoe"))
    coherences = [group.at_best(LEAVE_ONE_OUT, key) for group in (plus, mvae)]
    parts = part_of("coherence MVAE+ - MVAE", above(paired(*coherences)))
    base = mvae.at_best(key)
    apart = [d / base[s] for s, d in _by_seed(plus.at_best(key), base).items()]
    parts += part_of(f"distance MVAE+ / MVAE - 1 (margin {EQUAL_DISTANCE:g})", within(apart, EQUAL_DISTANCE))
    a, b, c = (group.at_best(likelihood, key) for group in (plus, mvae, mopoe))
    wide = _by_seed(b, c)
    shares = [d / abs(wide[s]) for s, d in _by_seed(a, b).items() if wide.get(s)]
    text = f"log-likelihood MVAE+ - MVAE over the gap MVAE - MoPoE (margin {EQUAL_LIKELIHOOD:g})"
    return parts + part_of(text, within(shares, EQUAL_LIKELIHOOD))


def quality_says_nothing(records: Sequence[Record]) -> Parts:
    """Spearman's rank correlation over methods and betas, within each seed; margin .3."""
    parts: Parts = []
    for dataset in (POLYMNIST, TRANSLATED):
        runs = evidence.sweeps(records, dataset)
        for text, key in (("distance", evidence.distance(runs.records)), ("log-likelihood", keys.LOG_LIKELIHOOD)):
            values = [_correlation(group, key) for group in runs.complete()]
            rho = [value for value in values if value is not None]
            name = f"{DATASETS[dataset].short}: rank correlation of coherence and {text}"
            parts += part_of(name, within(rho, NO_CORRELATION))
    return parts


def none_has_both(records: Sequence[Record]) -> Parts:
    parts: Parts = []
    for dataset in (TRANSLATED, CUB):
        runs = evidence.sweeps(records, dataset)
        key = evidence.distance(runs.records, "image" if dataset == CUB else "m0")
        alone = Evidence(r for r in runs.records if r.config.method == "unimodal").at_best(key)
        scored = [r for r in runs.records if LEAVE_ONE_OUT in r.metrics and key in r.metrics]
        if not alone or not scored:
            parts.append(Fact(f"{DATASETS[dataset].short}: {ABSENT}", None))
            continue
        limit = CLOSE * float(np.mean(list(alone.values())))
        good = [r for r in scored if r.metrics[key] <= limit]
        both = [r for r in good if r.metrics[LEAVE_ONE_OUT] >= COHERENT * evidence.ceiling(r)]
        text = (
            f"{len(both)} of {len(scored)} runs have distance <= {limit:.3g} and coherence >= {COHERENT} of the judge's"
        )
        parts.append(Fact(f"{DATASETS[dataset].short}: {text}", not both))
        own = max(map(_own, scored))
        text = (
            f"best self-coherence {own:.2f} of the way from chance to the judge's ({ENOUGH} needed: it draws something)"
        )
        parts.append(Fact(f"{DATASETS[dataset].short}: {text}", True if own >= ENOUGH or both else None))
    return parts


def all_finite(records: Sequence[Record]) -> Parts:
    runs = [r for r in records if r.config.dataset in DATASETS]
    broken = [r for r in runs if not r.is_done and "not finite" in str(r.error)]
    if not runs:
        return []
    large = [r for r in runs if r.config.method == "mvae" and r.config.beta >= LARGE_BETA]
    tried = {r.config.seed for r in large}
    text = f"{len(broken)} of {len(runs)} runs became infinite or NaN; MVAE at beta {LARGE_BETA:g} or more has "
    text += f"{len(tried)} seed{'s' * (len(tried) != 1)} (2 needed)"
    return [Fact(text, False if broken else True if len(tried) > 1 else None)]


def _by_seed(a: dict[int, float], b: dict[int, float]) -> dict[int, float]:
    return dict(zip(sorted(a.keys() & b.keys()), paired(a, b), strict=True))


def _correlation(runs: Evidence, key: str) -> float | None:
    """Over the runs that have both numbers; None for fewer than five, or where one does not vary."""
    scored = [r.metrics for r in runs.records if {key, LEAVE_ONE_OUT} <= r.metrics.keys()]
    columns = [[m[key] for m in scored], [m[LEAVE_ONE_OUT] for m in scored]]
    if len(scored) < 5 or any(len(set(column)) < 2 for column in columns):
        return None
    return float(stats.spearmanr(*columns).statistic)


def _own(record: Record) -> float:
    """Self-coherence, 0 at chance and 1 where the judge reads own reconstructions as well as real data."""
    chance = record.metrics.get(keys.CHANCE, 0.0)
    return ((evidence.self_coherence(record) or 0.0) - chance) / (evidence.ceiling(record) - chance)
