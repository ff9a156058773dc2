"""Kernel distance (KID, Binkowski et al. 2018): squared maximum mean discrepancy of features, unbiased."""

import numpy as np
from torch import Tensor

from polyvae.errors import InputError
from polyvae.metrics.moments import finite
from polyvae.metrics.readings import Readings

CHUNK = 1000


def kernel_distance(a: np.ndarray | Tensor, b: np.ndarray | Tensor) -> float:
    """The unbiased estimate over all pairs, with kernel (x . y / dimension + 1)^3; 0 in expectation for equal laws.

    a, b: features (row, dimension). It may be negative by noise. Raises InputError for fewer than 2 rows or unequal
    dimensions.
    """
    first, second = (finite(x, "kernel distance") for x in (a, b))
    if first.shape[1] != second.shape[1]:
        raise InputError(f"features of dimension {first.shape[1]} and {second.shape[1]} have no kernel distance")
    between = _total(first, second) / (len(first) * len(second))
    return _within(first) + _within(second) - 2 * between


def kernel_of(readings: Readings) -> dict[str, float]:
    """kid/<extractor>/unconditional/<modality>: prior samples against real test data."""
    return {
        f"kid/{readings.extractor.name}/unconditional/{name}": kernel_distance(
            readings.real[name].features, read.features
        )
        for name, read in readings.prior.items()
    }


def _within(x: Tensor) -> float:
    """The mean kernel over pairs of different rows."""
    on_diagonal = float((x.square().sum(-1) / x.shape[1] + 1).pow(3).sum())
    return (_total(x, x) - on_diagonal) / (len(x) * (len(x) - 1))


def _total(x: Tensor, y: Tensor) -> float:
    return float(sum((part @ y.T / x.shape[1] + 1).pow(3).sum() for part in x.split(CHUNK)))
