"""Tests on a handful of numbers, one per seed: t tests, equivalence, Holm's correction."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05


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


def above(values: Iterable[float], limit: float = 0.0) -> Test:
    """Is the mean above `limit`? Student's t test; its opposite: the mean is below.

    Both are doubled, so that one of them is below .05 when the 95 % interval is on one side of the limit.
    """
    sample = np.array(list(values), float)
    p, p_against = _one_sided(sample - limit), _one_sided(limit - sample)
    return Test(*t_interval(sample), min(1.0, 2 * p), min(1.0, 2 * p_against), len(sample))


def below(values: Iterable[float], limit: float = 0.0) -> Test:
    """Is the mean below `limit`?"""
    opposite = above(values, limit)
    return opposite._replace(p=opposite.p_against, p_against=opposite.p)


def within(values: Iterable[float], margin: float) -> Test:
    """Is the mean within `margin` of 0? Two one-sided tests (Schuirmann 1987); its opposite: it is outside."""
    sample = np.array(list(values), float)
    p = max(_one_sided(sample + margin), _one_sided(margin - sample))
    p_against = 2 * min(_one_sided(-margin - sample), _one_sided(sample - margin))
    return Test(*t_interval(sample), p, min(1.0, p_against), len(sample))


def t_interval(sample: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high) of the 95 % interval of the mean (Student 1908); infinite for a single value."""
    if not len(sample):
        return float("nan"), float("-inf"), float("inf")
    mean = float(sample.mean())
    if len(sample) < 2:
        return mean, float("-inf"), float("inf")
    half = float(stats.t.ppf(1 - LEVEL / 2, len(sample) - 1) * stats.sem(sample))
    return mean, mean - half, mean + half


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's (1979) adjusted p-values: they may be held against one level however many were tested."""
    ranked = sorted(p_values.items(), key=lambda item: item[1])
    adjusted, least = {}, 0.0
    for rank, (name, p) in enumerate(ranked):
        least = max(least, min(1.0, (len(ranked) - rank) * p))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}


def _one_sided(sample: np.ndarray) -> float:
    """p of `the mean is above 0`; equal values leave no doubt either way."""
    if len(sample) < 2:
        return 1.0
    spread = sample.std(ddof=1)
    if spread <= 1e-12 * max(1e-300, float(np.abs(sample).max())):
        return float(1 - 0.5 * (1 + np.sign(sample.mean())))
    return float(stats.ttest_1samp(sample, 0, alternative="greater").pvalue)
