"""Tests on a handful of numbers, one per seed: t tests, equivalence, Holm's correction, the choice of a setting.

Where each seed's setting was chosen by other seeds, seeds are correlated: plain t intervals then miss in up to a fifth
of cases. Two things mend that: only earlier seeds choose for a seed, and the standard error is multiplied by
`CHOSEN`. Error and power by simulation: scripts/claims_error.py, docs/metrics.md.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
CHOSEN = 2**0.5  # the variance counts twice, in the manner of Nadeau & Bengio (2003)


class Test(NamedTuple):
    """A mean over seeds with its 95 % t interval; p: of the statement; p_against: of its opposite.

    With fewer than two values nothing can be tested: the interval is infinite, and both p are 1.
    """

    mean: float
    low: float
    high: float
    p: float
    p_against: float
    seeds: int


def above(values: Iterable[float], limit: float = 0.0, *, widened: float = 1.0) -> Test:
    """Is the mean above `limit`? Student's t test; its opposite: the mean is below.

    Both are doubled, so that one of them is below .05 when the 95 % interval is on one side of the limit.
    widened: a factor of the standard error.
    """
    sample = np.array(list(values), float)
    p, p_against = _one_sided(sample - limit, widened), _one_sided(limit - sample, widened)
    return Test(*t_interval(sample, widened), min(1.0, 2 * p), min(1.0, 2 * p_against), len(sample))


def below(values: Iterable[float], limit: float = 0.0, *, widened: float = 1.0) -> Test:
    """Is the mean below `limit`?"""
    opposite = above(values, limit, widened=widened)
    return opposite._replace(p=opposite.p_against, p_against=opposite.p)


def within(values: Iterable[float], margin: float, *, widened: float = 1.0) -> Test:
    """Is the mean within `margin` of 0? Two one-sided tests (Schuirmann 1987); its opposite: it is outside."""
    sample = np.array(list(values), float)
    p = max(_one_sided(sample + margin, widened), _one_sided(margin - sample, widened))
    p_against = 2 * min(_one_sided(-margin - sample, widened), _one_sided(sample - margin, widened))
    return Test(*t_interval(sample, widened), p, min(1.0, p_against), len(sample))


def chosen_in_turn(scores: np.ndarray, *, lowest: bool) -> np.ndarray:
    """For each seed the setting that is best on the mean of the seeds before it: (..., seed, setting) -> (..., seed).

    nan: a seed was not run at a setting. The first seed, with none before, gets what is best on the others; a single
    seed, its own best. Given the seeds before it, a score is then a draw at a fixed setting, so that later seeds are
    uncorrelated if no setting is better (prequential choice, Dawid 1984).
    """
    is_known = ~np.isnan(scores)
    cost = np.where(is_known, scores if lowest else -scores, 0.0)
    if scores.shape[-2] > 1:
        total, count = _of_others(cost), _of_others(is_known.astype(int))
    else:
        total, count = cost, is_known.astype(int)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf).argmin(-1)


def _of_others(values: np.ndarray) -> np.ndarray:
    """Sums over the seeds before each seed; for the first, over those after it."""
    return np.concatenate([values[..., 1:, :].sum(-2, keepdims=True), values.cumsum(-2)[..., :-1, :]], -2)


def t_interval(sample: np.ndarray, widened: float = 1.0) -> tuple[float, float, float]:
    """(mean, low, high) of the 95 % interval of the mean (Student 1908); infinite for a single value."""
    if not len(sample):
        return float("nan"), float("-inf"), float("inf")
    mean = float(sample.mean())
    if len(sample) < 2:
        return mean, float("-inf"), float("inf")
    half = float(stats.t.ppf(1 - LEVEL / 2, len(sample) - 1) * sample.std(ddof=1)) * widened / len(sample) ** 0.5
    return mean, mean - half, mean + half


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's (1979) adjusted p-values: they may be compared with one level however many were tested."""
    ranked = sorted(p_values.items(), key=lambda item: item[1])
    adjusted, least = {}, 0.0
    for rank, (name, p) in enumerate(ranked):
        least = max(least, min(1.0, (len(ranked) - rank) * p))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}


def _one_sided(sample: np.ndarray, widened: float) -> float:
    """p of `the mean is above 0`; equal values leave no doubt either way."""
    if len(sample) < 2:
        return 1.0
    spread = sample.std(ddof=1)
    if spread <= 1e-12 * max(1e-300, float(np.abs(sample).max())):
        return float(1 - 0.5 * (1 + np.sign(sample.mean())))
    return float(stats.t.sf(sample.mean() * len(sample) ** 0.5 / (spread * widened), len(sample) - 1))
