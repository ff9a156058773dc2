"""The claims C1 to C18 of the paper, each with the function that measures it: from records to parts of a verdict."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

from polyvae import keys
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.paper.claims.evidence import (
    CUB,
    ENOUGH,
    POLYMNIST,
    REPEATED,
    TRANSLATED,
    BySeed,
    Evidence,
    Score,
    by_modalities,
    ceiling,
    content,
    difference,
    mean_below,
    own_over_chance,
    paired,
    self_coherence,
    slopes,
    sweeps,
)
from polyvae.paper.claims.statistics import Test, above, below, within
from polyvae.paper.names import DATASETS, FAMILY, METHODS, OFFICIAL
from polyvae.runs.record import Record

BOTH = (POLYMNIST, TRANSLATED)
SUBSAMPLING = ("mmvae", "mopoe")
JOINT = ("mvae", "mmvae", "mopoe")
SHORT = {key: name.short for key, name in (METHODS | DATASETS).items()}
NON_INFERIOR = 0.25  # of the gap between MoPoE and unimodal
LOW_COHERENCE = 0.3
# Effective samples. A log of a mean weight is too low by about (1 / ESS - 1 / K) / 2 nats, less than .1 from 5 on; that
# expansion needs a mean of small relative variance, 1 / ESS - 1 / K, and with fewer samples the ESS itself is too high.
EFFECTIVE = 5.0
EQUAL_DISTANCE, EQUAL_LIKELIHOOD = 0.1, 0.25  # of MVAE's distance; of the gap in likelihood between MVAE and MoPoE
AT_CHANCE, NO_CORRELATION = 0.05, 0.3
LARGE_BETA = 9.0  # the largest of the paper's grid
CLOSE, COHERENT = 1.1, 0.8  # of the unimodal distance, of the judge's accuracy
PAPER_SCALE, PAPER_LIKELIHOOD = 0.5, ("auto", "laplace")
ABSENT, OWN = "no run of this kind", "self-coherence (0 at chance, 1 as in real data)"


class Part(NamedTuple):
    """A tested number and what it is. counts: whether it may decide, which models on the plateau may not."""

    text: str
    test: Test
    counts: bool = True
    is_absent = False


class Fact(NamedTuple):
    """What is counted, not tested. holds: None when it does not suffice to decide, or where there is nothing."""

    text: str
    holds: bool | None
    is_absent: bool = False


Parts = Iterator[Part | Fact]
Measure = Callable[[Sequence[Record]], Parts]


class Claim(NamedTuple):
    """A statement of the paper, in its words, and how it is measured."""

    name: str
    figure: str
    statement: str
    measure: Measure


CLAIMS: list[Claim] = []


def claim(name: str, figure: str, statement: str) -> Callable[[Measure], Measure]:
    """Adds a claim, and with it the decorated function that measures it."""

    def added(measure: Measure) -> Measure:
        CLAIMS.append(Claim(name, figure, statement, measure))
        return measure

    return added


def absent(text: str) -> Fact:
    return Fact(f"{text}: {ABSENT}", None, is_absent=True)


def part(text: str, test: Test) -> Part | Fact:
    """A tested part; nothing where no seed has the number."""
    if not test.seeds:
        return absent(text)
    interval = f", 95 % [{_short(test.low)}, {_short(test.high)}]" if test.seeds > 1 else ""
    return Part(f"{text} {_short(test.mean)}{interval}, {test.seeds} seed{'s' * (test.seeds > 1)}", test)


def when(gate: Fact, *parts: Part | Fact) -> Parts:
    """The parts, which decide neither way unless the gate holds, and the gate."""
    is_open = gate.holds is True
    for one in parts:
        if isinstance(one, Part):
            yield one._replace(counts=one.counts and is_open)
        else:
            yield one if is_open else one._replace(holds=None)
    yield gate


def named(dataset: str, runs: Iterable[Evidence]) -> str:
    """A data set as the parts of a verdict call it, with what in the setting of the runs differs from the paper's."""
    configs = [record.config for evidence in runs for record in evidence.records]
    other = {f"scale {c.scale:g}" for c in configs if c.scale not in (None, PAPER_SCALE)}
    other |= {_law(c.likelihood, c.likelihood_scale) for c in configs if c.likelihood not in PAPER_LIKELIHOOD}
    return f"{SHORT[dataset]} ({', '.join(sorted(other, reverse=True))})" if other else SHORT[dataset]


def _law(likelihood: str, scale: str) -> str:
    return f"{likelihood} likelihood{'' if scale == 'auto' else f' {scale}'}"


def learned(dataset: str, runs: Collection[Evidence], methods: Sequence[str]) -> Fact:
    """Whether each method has left its plateau (`content`) at its beta of the lowest distance: before that, models rank
    nothing."""
    name = {TRANSLATED: "self-coherence", CUB: OWN}.get(dataset, "probe")
    return _enough(f"{named(dataset, runs)}: ", runs, methods, content, name, ENOUGH, "it has learned")


def sampled(runs: Evidence, methods: Sequence[str]) -> Fact:
    """Whether likelihoods rest on enough samples at the beta of the lowest distance."""
    return _enough("", [runs], methods, keys.EFFECTIVE_SIZE, "effective sample size", EFFECTIVE, "slack below .1 nats")


def _enough(
    place: str, runs: Collection[Evidence], methods: Sequence[str], score: Score, name: str, needed: float, why: str
) -> Fact:
    """Whether the mean score over seeds of every method is at least what is needed, in each group that has it."""
    values = {(m, i): group.best(m, score).values() for m in methods for i, group in enumerate(runs)}
    means = {key: float(np.mean(list(of_seeds))) for key, of_seeds in values.items() if of_seeds}
    if missing := [SHORT[m] for m in methods if m not in {method for method, _ in means}]:
        return absent(f"{place}{name} of {', '.join(missing)}")
    least = min(means, key=means.__getitem__)
    text = f"{place}least {name} {means[least]:.3g}, {SHORT[least[0]]} ({needed:g} needed: {why})"
    return Fact(text, means[least] >= needed or None)


@claim("C1", "2, 8", "MMVAE and MoPoE-VAE generate worse than unimodal VAEs.")
def gap(records: Sequence[Record]) -> Parts:
    for dataset in BOTH:
        runs = sweeps(records, dataset)
        yield from when(learned(dataset, [runs], ("unimodal", *SUBSAMPLING)), *_to_unimodal(runs, dataset))


def _to_unimodal(runs: Evidence, dataset: str) -> Parts:
    for method in SUBSAMPLING:
        text = f"{named(dataset, [runs])}: distance {SHORT[method]} - unimodal"
        yield part(text, above(paired(runs.best(method), runs.best("unimodal")), widened=runs.widened))


@claim("C2", "2", "MVAE reaches the quality of unimodal VAEs.")
def mvae_keeps_up(records: Sequence[Record]) -> Parts:
    """Difference to unimodal minus a quarter of the gap of MoPoE: below 0 if MVAE is not inferior by the margin.

    Without a gap there is no margin: MVAE must then be better.
    """
    for dataset in BOTH:
        runs = sweeps(records, dataset)
        unimodal, mvae, mopoe = (runs.best(method) for method in ("unimodal", "mvae", "mopoe"))
        gaps = difference(mopoe, unimodal)
        excess = [d - NON_INFERIOR * max(0.0, gaps[s]) for s, d in difference(mvae, unimodal).items() if s in gaps]
        text = f"{named(dataset, [runs])}: distance MVAE - unimodal - 25 % of the MoPoE gap"
        more = part(text, below(excess, widened=runs.widened))
        yield from when(learned(dataset, [runs], ("unimodal", "mvae", "mopoe")), more)


@claim("C3", "2", "The gap shows on CUB too.")
def on_birds(records: Sequence[Record]) -> Parts:
    """A unimodal VAE has no coherence here: only the others are asked whether they have learned."""
    runs = sweeps(records, CUB)
    yield from when(learned(CUB, [runs], SUBSAMPLING), *_to_unimodal(runs, CUB))


@claim("C4", "3", "Quality falls with each modality for MMVAE and MoPoE-VAE.")
def rises(records: Sequence[Record]) -> Parts:
    for dataset in BOTH:
        yield from _rises(by_modalities(records, dataset), dataset)


@claim("C5", "3", "It falls less for MVAE than for MoPoE-VAE.")
def rises_less(records: Sequence[Record]) -> Parts:
    for dataset in BOTH:
        yield from _rises_less(by_modalities(records, dataset), dataset)


@claim("C6", "11", "The same holds when all modalities are of one kind.")
def repeated(records: Sequence[Record]) -> Parts:
    runs = by_modalities(records, REPEATED)
    yield from _rises(runs, REPEATED)
    yield from _rises_less(runs, REPEATED)


def _rises(runs: dict[int, Evidence], dataset: str) -> Parts:
    place = named(dataset, runs.values())
    curves = {f"{place}: distance of {SHORT[m]} per modality": _growth(runs, m, dataset) for m in SUBSAMPLING}
    parts = [part(text, above(slopes(curve).values())) for text, curve in curves.items()]
    yield from when(learned(dataset, runs.values(), SUBSAMPLING), *parts)


def _rises_less(runs: dict[int, Evidence], dataset: str) -> Parts:
    mvae, mopoe = (_growth(runs, method, dataset) for method in ("mvae", "mopoe"))
    apart = slopes({count: difference(mvae[count], mopoe[count]) for count in runs})
    less = part(f"{named(dataset, runs.values())}: distance per modality, MVAE - MoPoE", below(apart.values()))
    yield from when(learned(dataset, runs.values(), ("mvae", "mopoe")), less)


def _growth(runs: dict[int, Evidence], method: str, dataset: str) -> dict[float, BySeed]:
    """Number of modalities -> seed -> distance: on m0, or on the mean over modalities of one kind."""
    table: dict[float, BySeed] = {}
    for count, at_count in runs.items():
        score = partial(mean_below, keys.stem(at_count.distance)) if dataset == REPEATED else at_count.distance
        table[count] = {s: v for values in at_count.method(method).values(score).values() for s, v in values.items()}
    return table


@claim("C7", "4a", "MMVAE and MoPoE-VAE are more coherent than MVAE.")
def coherent(records: Sequence[Record]) -> Parts:
    runs = sweeps(records, POLYMNIST)
    best = {method: runs.method(method).at_best(LEAVE_ONE_OUT, lowest=False) for method in JOINT}
    more = {m: above(paired(best[m], best["mvae"]), widened=runs.widened) for m in SUBSAMPLING}
    yield from when(_on_polymnist(runs), *(part(f"coherence {SHORT[m]} - MVAE", test) for m, test in more.items()))


def _on_polymnist(runs: Evidence, methods: Sequence[str] = JOINT) -> Fact:
    return learned(POLYMNIST, [runs], methods)


@claim("C8", "4a", "MVAE becomes more coherent as beta grows.")
def coherence_over_beta(records: Sequence[Record]) -> Parts:
    runs = sweeps(records, POLYMNIST)
    table = runs.method("mvae").values(LEAVE_ONE_OUT)
    by_decade = slopes({float(np.log10(beta)): values for beta, values in table.items() if beta > 0})
    rises = part("MVAE: coherence per decade of beta", above(by_decade.values()))
    yield from when(_on_polymnist(runs, ["mvae"]), rises)


@claim("C9", "4b", "On Translated PolyMNIST all lose coherence, though they can draw digits.")
def translated_fails(records: Sequence[Record]) -> Parts:
    yield from lost_coherence(sweeps(records, TRANSLATED), JOINT)


def lost_coherence(runs: Evidence, methods: Sequence[str]) -> Parts:
    """Of each method, the coherence on Translated PolyMNIST at its best beta, where digits survive its own
    reconstructions."""
    for method in methods:
        of_method, name = runs.method(method), f"{SHORT[method]} on {named(TRANSLATED, [runs.method(method)])}"
        best = of_method.at_best(LEAVE_ONE_OUT, lowest=False)
        own = of_method.at_best(self_coherence, LEAVE_ONE_OUT, lowest=False)
        mean = float(np.mean(list(own.values()))) if own else 0.0
        text = f"{name}: self-coherence {f'{mean:.2f}' if own else 'not measured'} ({ENOUGH} needed)"
        low = part(f"{name}: coherence", below(best.values(), LOW_COHERENCE, widened=runs.widened))
        yield from when(Fact(text, mean >= ENOUGH or None), low)


@claim("C10", "6", "A linear probe finds less on Translated PolyMNIST.")
def probe_falls(records: Sequence[Record]) -> Parts:
    yield from lost_accuracy(sweeps(records, POLYMNIST), sweeps(records, TRANSLATED), JOINT)


def lost_accuracy(plain: Evidence, moved: Evidence, methods: Sequence[str], probe: Score = keys.LINEAR_PROBE) -> Parts:
    """Of each method, what a probe of the digit loses from PolyMNIST to Translated PolyMNIST."""
    falls = {m: paired(*(runs.best(m, probe) for runs in (plain, moved))) for m in methods}
    to, widened = named(TRANSLATED, [moved]), max(plain.widened, moved.widened)
    parts = [part(f"{SHORT[m]}: accuracy PolyMNIST - {to}", above(v, widened=widened)) for m, v in falls.items()]
    yield from when(learned(TRANSLATED, [moved], methods), *parts)


@claim("C11", "7", "Likelihoods rank methods as distances do; MVAE is less far ahead.")
def likelihood_ranks(records: Sequence[Record]) -> Parts:
    runs = sweeps(records, POLYMNIST)
    joint = {method: runs.best(method, keys.LOG_LIKELIHOOD) for method in JOINT}
    far = {method: runs.best(method) for method in JOINT}
    parts = []
    for method in SUBSAMPLING:
        worse = above(paired(far[method], far["mvae"]), widened=runs.widened)
        less_likely = above(paired(joint["mvae"], joint[method]), widened=runs.widened)
        parts.append(part(f"distance {SHORT[method]} - MVAE", worse))
        parts.append(part(f"log-likelihood MVAE - {SHORT[method]}", less_likely))
    ratios = above(paired(_ratios(far), _ratios(joint)), widened=runs.widened)
    parts.append(part("gap MVAE to MoPoE over gap MVAE to MMVAE: of distance - of likelihood", ratios))
    yield from when(_on_polymnist(runs), *parts)


def _ratios(values: dict[str, BySeed]) -> BySeed:
    """seed -> gap between MVAE and MoPoE, over that between MVAE and MMVAE where there is one."""
    wide = difference(values["mvae"], values["mmvae"])
    return {s: d / wide[s] for s, d in difference(values["mvae"], values["mopoe"]).items() if wide.get(s)}


@claim("C12", "7, 9", "What the inputs add to the likelihood is more for MoPoE-VAE than for MVAE.")
def given_helps(records: Sequence[Record]) -> Parts:
    """Both likelihoods on the same rows; undecided where the one given all rests on too few effective samples."""

    def gain(record: Record) -> float | None:
        given, blind = (record.metrics.get(key) for key in (keys.OF_BLIND_ROWS, keys.BLIND))
        return None if given is None or blind is None else given - blind

    runs = sweeps(records, POLYMNIST)
    gains = paired(runs.best("mopoe", gain), runs.best("mvae", gain))
    text = "log-likelihood given all - unconditional: MoPoE - MVAE (nats)"
    more = part(text, above(gains, widened=runs.widened))
    two = ("mopoe", "mvae")
    yield from when(_on_polymnist(runs, two), *when(sampled(runs, two), more))


@claim("C13", "10", "Conditional samples of MMVAE and MoPoE-VAE lack diversity, MVAE's less.")
def less_diverse(records: Sequence[Record]) -> Parts:
    runs = sweeps(records, POLYMNIST)
    values = {method: runs.best(method, keys.of(keys.DIVERSITY, "digits", "mean")) for method in JOINT}
    parts = []
    for method in SUBSAMPLING:
        own = below(values[method].values(), 1.0, widened=runs.widened)
        less = below(paired(values[method], values["mvae"]), widened=runs.widened)
        parts.append(part(f"{SHORT[method]}: diversity (real: 1)", own))
        parts.append(part(f"{SHORT[method]} - MVAE", less))
    yield from when(_on_polymnist(runs), *parts)


@claim("C14", "12", "The official MMVAE shows the gap, and chance coherence on Translated.")
def official(records: Sequence[Record]) -> Parts:
    """Figure 12: methods of the published objective, on one modality and on all; on Translated with two, at chance."""
    runs = [r for r in records if r.config.method in OFFICIAL]
    plain = sweeps(runs, POLYMNIST)
    gaps = paired(plain.best("mmvae_official"), plain.best("unimodal_dreg"))
    worse = part("PolyMNIST: distance official MMVAE - unimodal", above(gaps, widened=plain.widened))
    yield from when(learned(POLYMNIST, [plain], OFFICIAL), worse)
    moved = sweeps([r for r in runs if r.config.modalities == 2], TRANSLATED)
    cross = [v - 0.1 for v in moved.at_best(LEAVE_ONE_OUT, lowest=False).values()]
    chance = part("Translated, two modalities: coherence - chance", within(cross, AT_CHANCE, widened=moved.widened))
    yield from when(learned(TRANSLATED, [moved], ["mmvae_official"]), chance)


@claim("C15", "13", "ELBO sub-sampling makes MVAE more coherent at equal quality.")
def subsampling_helps(records: Sequence[Record]) -> Parts:
    """Each method at its beta of the lowest distance.

    Margins: 10 % of MVAE's distance; 25 % of the gap between MVAE and MoPoE in log-likelihood.
    """
    runs = sweeps(records, POLYMNIST)
    coherences = paired(*(runs.best(method, LEAVE_ONE_OUT) for method in ("mvae_plus", "mvae")))
    more = part("coherence MVAE+ - MVAE", above(coherences, widened=runs.widened))
    base = runs.best("mvae")
    apart = [d / base[s] for s, d in difference(runs.best("mvae_plus"), base).items()]
    text = f"distance MVAE+ / MVAE - 1 (margin {EQUAL_DISTANCE:g})"
    as_far = part(text, within(apart, EQUAL_DISTANCE, widened=runs.widened))
    plus, mvae, mopoe = (runs.best(method, keys.LOG_LIKELIHOOD) for method in ("mvae_plus", "mvae", "mopoe"))
    wide = difference(mvae, mopoe)
    shares = [d / abs(wide[s]) for s, d in difference(plus, mvae).items() if wide.get(s)]
    text = f"log-likelihood MVAE+ - MVAE over the gap MVAE - MoPoE (margin {EQUAL_LIKELIHOOD:g})"
    as_likely = part(text, within(shares, EQUAL_LIKELIHOOD, widened=runs.widened))
    yield from when(_on_polymnist(runs, ("mvae_plus", "mvae", "mopoe")), more, as_far, as_likely)


@claim("C16", "2, 4, 7", "Quality and likelihood do not tell how coherent a model is.")
def quality_says_nothing(records: Sequence[Record]) -> Parts:
    """Spearman's rank correlation over the paper's methods and betas, within each seed; margin .3."""
    own = [r for r in records if r.config.method in FAMILY]
    for dataset in BOTH:
        runs, parts = sweeps(own, dataset), []
        for text, key in (("distance", runs.distance), ("log-likelihood", keys.LOG_LIKELIHOOD)):
            rho = [value for group in runs.complete() if (value := _correlation(group, key)) is not None]
            text = f"{named(dataset, [runs])}: rank correlation of coherence and {text}"
            parts.append(part(text, within(rho, NO_CORRELATION)))
        yield from when(learned(dataset, [runs], JOINT), *parts)


def _correlation(runs: Evidence, key: str) -> float | None:
    """Over the runs that have both numbers; None for fewer than five, or where one does not vary."""
    scored = [
        (r.metrics[key], r.metrics[LEAVE_ONE_OUT]) for r in runs.records if {key, LEAVE_ONE_OUT} <= set(r.metrics)
    ]
    if len(scored) < 5 or any(len(set(column)) < 2 for column in zip(*scored, strict=True)):
        return None
    return float(stats.spearmanr(scored).statistic)


@claim("C17", "2, 4", "No model is both good and coherent on complex data.")
def none_has_both(records: Sequence[Record]) -> Parts:
    for dataset in (TRANSLATED, CUB):
        yield from not_both(dataset, sweeps(records, dataset), FAMILY)


def not_both(dataset: str, runs: Evidence, methods: Sequence[str]) -> Parts:
    """Whether no run of these methods is as good as the unimodal VAE and as coherent as the judge allows."""
    alone, place = runs.best("unimodal"), named(dataset, [runs])
    able = [r for r in runs.records if r.config.method in methods]
    scored = [r for r in able if {runs.distance, LEAVE_ONE_OUT} <= set(r.metrics)]
    if not alone or not scored:
        yield absent(place)
        return
    limit = CLOSE * float(np.mean(list(alone.values())))
    good = [r for r in scored if r.metrics[runs.distance] <= limit]
    shares = [r.metrics[LEAVE_ONE_OUT] / ceiling(r) for r in good]
    both = [share for share in shares if share >= COHERENT]
    counted = (
        f"{len(both)} of {len(scored)} runs have distance <= {limit:.3g} and coherence >= {COHERENT} of the judge's"
    )
    most = f" ({max(shares):.2f} at most in the {len(good)} of that distance)" if good else ""
    yield Fact(f"{place}: {counted}{most}", not both)
    own = max(own_over_chance(record) or 0.0 for record in scored)
    text = f"{place}: best {OWN} {own:.2f} ({ENOUGH} needed: it draws something)"
    yield Fact(text, own >= ENOUGH or bool(both) or None)


@claim("C18", "2", "No run is unstable, as the paper's MVAE was at large beta.")
def all_finite(records: Sequence[Record]) -> Parts:
    known = [r for r in records if r.config.dataset in DATASETS]
    broken = [r for r in known if not r.is_done and "not finite" in str(r.error)]
    runs = [*(r for r in known if r.is_done), *broken]  # one that ended otherwise says nothing
    if not runs:
        return
    tried = {r.config.seed for r in runs if r.config.method == "mvae" and r.config.beta >= LARGE_BETA}
    text = f"{len(broken)} of {len(runs)} runs became infinite or NaN; MVAE at beta {LARGE_BETA:g} or more has "
    text += f"{len(tried)} seed{'s' * (len(tried) != 1)} (2 needed)"
    yield Fact(text, False if broken else len(tried) > 1 or None)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
