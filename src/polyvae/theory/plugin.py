"""Entropies of rows: plug-in conditional entropies, which are lower bounds in expectation, and quantisation."""

from collections.abc import Sequence

import numpy as np


def edges_of(values: np.ndarray, bins: int) -> list[np.ndarray]:
    """Cut points of each feature of `values` (row, feature): its inner quantiles, or between its values if few."""
    edges = []
    for feature in values.T:
        seen = np.unique(feature)
        cuts = (seen[1:] + seen[:-1]) / 2 if len(seen) <= bins else np.quantile(feature, np.arange(1, bins) / bins)
        edges.append(np.unique(cuts))
    return edges


def quantised(values: np.ndarray, edges: Sequence[np.ndarray]) -> np.ndarray:
    """Int64 (row, feature): the bin of every value, from 0 to the number of its feature's cut points."""
    pairs = zip(values.T, edges, strict=True)
    return np.stack([np.searchsorted(cuts, feature, side="right") for feature, cuts in pairs], 1)


def ids_of(rows: np.ndarray) -> np.ndarray:
    """Int64 (row,): equal numbers for equal rows of `rows` (row, feature)."""
    if not rows.shape[1]:
        return np.zeros(len(rows), np.int64)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def surprisal(symbol: np.ndarray, given: np.ndarray) -> np.ndarray:
    """-log of the empirical probability of each row's symbol given its condition, in nats: (row,).

    The mean is the plug-in conditional entropy H(symbol | given). Conditional entropy is concave in the joint law, so
    by Jensen's inequality its expectation over samples is at most the truth: a lower bound, whatever the data.
    """
    _, joint, repeats = np.unique(given * (symbol.max() + 1) + symbol, return_inverse=True, return_counts=True)
    return np.log(np.bincount(given)[given]) - np.log(repeats[joint])


def interval(values: np.ndarray, rng: np.random.Generator, resamples: int = 2000) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean of independent rows' values (row,)."""
    distinct, repeats = np.unique(values, return_counts=True)
    share = repeats / len(values)
    means = [rng.multinomial(len(values), share, 100) @ distinct / len(values) for _ in range(resamples // 100)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
