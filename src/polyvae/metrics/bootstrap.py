"""How sure a score is of its test rows: intervals by bootstrap over them."""

from collections.abc import Callable

import numpy as np

from polyvae import keys
from polyvae.noise import derive_seed

RESAMPLES = 1000


def interval(statistic: Callable[[np.ndarray], float], rows: int, seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap of a statistic over `rows` rows: (low, high).

    statistic: of Int (row,), how often each row is drawn.
    """
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    values = [statistic(np.bincount(rng.integers(0, rows, rows), minlength=rows)) for _ in range(RESAMPLES)]
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def with_interval(key: str, value: float, ends: tuple[float, float]) -> dict[str, float]:
    """A score and the ends of its interval, by their keys."""
    return {key: value, **dict(zip(keys.interval(key), ends, strict=True))}


def interval_of_mean(scores: np.ndarray, seed: int) -> tuple[float, float]:
    """Of the mean of column means. scores: (row, column), NaN where not scored."""
    seen = ~np.isnan(scores)
    filled = np.where(seen, scores, 0.0)

    def mean(times: np.ndarray) -> float:
        counted = times @ seen
        return float(((times @ filled)[counted > 0] / counted[counted > 0]).mean())

    return interval(mean, len(scores), seed)
