"""The claims C1 to C18 of the paper, in its words, each with the function that measures it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from polyvae.paper.claims import evidence as ev
from polyvae.paper.claims import measures as of
from polyvae.paper.claims.evidence import LEAVE_ONE_OUT, Evidence, Record, paired
from polyvae.paper.claims.measures import ABSENT, CUB, ENOUGH, POLYMNIST, TRANSLATED, Fact, Measure, Parts, part_of
from polyvae.paper.claims.statistics import above, within

EQUAL_DISTANCE, EQUAL_LIKELIHOOD = 0.1, 0.25  # of MVAE's distance; of the gap in likelihood between MVAE and MoPoE
AT_CHANCE, NO_CORRELATION = 0.05, 0.3
LARGE_BETA = 9.0  # the largest of the paper's grid
CLOSE, COHERENT = 1.1, 0.8  # of the unimodal distance, of the judge's accuracy


class Claim(NamedTuple):
    """A statement of the paper, and how it is measured."""

    name: str
    figure: str
    statement: str
    measure: Measure


def official(records: Sequence[Record]) -> Parts:
    """Figure 12: methods of the published objective, on one modality and on all; on Translated with two, at chance."""
    found: Parts = []
    runs = [r for r in records if "official" in (m := r.config.method) or m == "unimodal_dreg"]
    plain = ev.sweeps(runs, POLYMNIST)
    key = ev.distance(plain.records)
    alone = Evidence(r for r in plain.records if r.config.only == "m0").at_best(key)
    values = plain.method("mmvae_official").at_best(key)
    found += part_of("PolyMNIST: distance official MMVAE - unimodal", above(paired(values, alone)))
    found += of.learned(POLYMNIST, [plain], ("mmvae_official", "unimodal_dreg"))
    moved = ev.sweeps([r for r in runs if r.config.modalities == 2], TRANSLATED)
    cross = [v - 0.1 for v in moved.at_best(LEAVE_ONE_OUT, lowest=False).values()]
    found += part_of("Translated, two modalities: coherence - chance", within(cross, AT_CHANCE))
    return found + of.learned(TRANSLATED, [moved], ("mmvae_official",))


def subsampling_helps(records: Sequence[Record]) -> Parts:
    """Each method at its beta of the lowest distance.

    Margins: 10 % of MVAE's distance; 25 % of the gap between MVAE and MoPoE in log-likelihood.
    """
    runs, likelihood = ev.sweeps(records, POLYMNIST), "log_likelihood/joint"
    key = ev.distance(runs.records)
    mvae, plus, mopoe = (runs.method(method) for method in ("mvae", "mvae_plus", "mopoe"))
    coherent = [evidence.at_best(LEAVE_ONE_OUT, key) for evidence in (plus, mvae)]
    found = part_of("coherence MVAE+ - MVAE", above(paired(*coherent)))
    base = mvae.at_best(key)
    apart = [d / base[s] for s, d in _by_seed(plus.at_best(key), base).items()]
    found += part_of(f"distance MVAE+ / MVAE - 1 (margin {EQUAL_DISTANCE:g})", within(apart, EQUAL_DISTANCE))
    a, b, c = (one.at_best(likelihood, key) for one in (plus, mvae, mopoe))
    wide = _by_seed(b, c)
    shares = [d / abs(wide[s]) for s, d in _by_seed(a, b).items() if wide.get(s)]
    text = f"log-likelihood MVAE+ - MVAE over the gap MVAE - MoPoE (margin {EQUAL_LIKELIHOOD:g})"
    return found + part_of(text, within(shares, EQUAL_LIKELIHOOD))


def quality_says_nothing(records: Sequence[Record]) -> Parts:
    """Spearman's rank correlation over methods and betas, within each seed; margin .3."""
    found: Parts = []
    for dataset in (POLYMNIST, TRANSLATED):
        runs = ev.sweeps(records, dataset)
        for text, key in (("distance", ev.distance(runs.records)), ("log-likelihood", "log_likelihood/joint")):
            values = [_correlation(group, key) for group in runs.complete()]
            rho = [value for value in values if value is not None]
            name = f"{of.NAMES[dataset]}: rank correlation of coherence and {text}"
            found += part_of(name, within(rho, NO_CORRELATION))
    return found


def none_has_both(records: Sequence[Record]) -> Parts:
    found: Parts = []
    for dataset in (TRANSLATED, CUB):
        runs = ev.sweeps(records, dataset)
        key = ev.distance(runs.records, "image" if dataset == CUB else "m0")
        alone = Evidence(r for r in runs.records if r.config.method == "unimodal").at_best(key)
        scored = [r for r in runs.records if LEAVE_ONE_OUT in r.metrics and key in r.metrics]
        if not alone or not scored:
            found.append(Fact(f"{of.NAMES[dataset]}: {ABSENT}", None))
            continue
        limit = CLOSE * float(np.mean(list(alone.values())))
        good = [r for r in scored if r.metrics[key] <= limit]
        both = [r for r in good if r.metrics[LEAVE_ONE_OUT] >= COHERENT * ev.ceiling(r)]
        text = (
            f"{len(both)} of {len(scored)} runs have distance <= {limit:.3g} and coherence >= {COHERENT} of the judge's"
        )
        found.append(Fact(f"{of.NAMES[dataset]}: {text}", not both))
        own = max(map(_own, scored))
        text = (
            f"best self-coherence {own:.2f} of the way from chance to the judge's ({ENOUGH} needed: it draws something)"
        )
        found.append(Fact(f"{of.NAMES[dataset]}: {text}", True if own >= ENOUGH or both else None))
    return found


def all_finite(records: Sequence[Record]) -> Parts:
    runs = [r for r in records if r.config.dataset in of.NAMES]
    broken = [r for r in runs if not r.is_done and "not finite" in str(r.error)]
    if not runs:
        return []
    large = [r for r in runs if r.config.method == "mvae" and r.config.beta >= LARGE_BETA]
    tried = {r.config.seed for r in large}
    text = f"{len(broken)} of {len(runs)} runs became infinite or NaN; MVAE at beta {LARGE_BETA:g} or more has "
    text += f"{len(tried)} seed{'s' * (len(tried) != 1)} (2 needed)"
    return [Fact(text, False if broken else True if len(tried) > 1 else None)]


CLAIMS = (
    Claim("C1", "2, 8", "MMVAE and MoPoE-VAE generate worse than unimodal VAEs.", of.gap((POLYMNIST, TRANSLATED))),
    Claim("C2", "2", "MVAE reaches the quality of unimodal VAEs.", of.mvae_keeps_up),
    Claim("C3", "2", "The gap shows on CUB too.", of.on_birds),
    Claim("C4", "3", "Quality falls with each modality for MMVAE and MoPoE-VAE.", of.rises((POLYMNIST, TRANSLATED))),
    Claim("C5", "3", "It falls less for MVAE than for MoPoE-VAE.", of.rises_less((POLYMNIST, TRANSLATED))),
    Claim("C6", "11", "The same holds when all modalities are of one kind.", of.repeated),
    Claim("C7", "4a", "MMVAE and MoPoE-VAE are more coherent than MVAE.", of.coherent),
    Claim("C8", "4a", "MVAE becomes more coherent as beta grows.", of.coherence_over_beta),
    Claim("C9", "4b", "On Translated PolyMNIST all lose coherence, though they can draw digits.", of.translated_fails),
    Claim("C10", "6", "A linear probe finds less on Translated PolyMNIST.", of.probe_falls),
    Claim("C11", "7", "Likelihoods rank methods as distances do; MVAE is less far ahead.", of.likelihood_ranks),
    Claim("C12", "7, 9", "What the inputs add to the likelihood is more for MoPoE-VAE than for MVAE.", of.given_helps),
    Claim("C13", "10", "Conditional samples of MMVAE and MoPoE-VAE lack diversity, MVAE's less.", of.less_diverse),
    Claim("C14", "12", "The official MMVAE shows the gap, and chance coherence on Translated.", official),
    Claim("C15", "13", "ELBO sub-sampling makes MVAE more coherent at equal quality.", subsampling_helps),
    Claim("C16", "2, 4, 7", "Quality and likelihood do not tell how coherent a model is.", quality_says_nothing),
    Claim("C17", "2, 4", "No model is both good and coherent on complex data.", none_has_both),
    Claim("C18", "2", "No run is unstable, as the paper's MVAE was at large beta.", all_finite),
)


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
    chance = record.metrics.get("coherence/chance", 0.0)
    return ((ev.self_coherence(record) or 0.0) - chance) / (ev.ceiling(record) - chance)
