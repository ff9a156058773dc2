"""Means and covariances of features: of a sample, of one that arrives in chunks, of a weighted mixture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polyvae.errors import InputError


class Moments(NamedTuple):
    """count rows with mean (dimension,) and unbiased covariance (dimension, dimension), float64."""

    count: int
    mean: np.ndarray
    covariance: np.ndarray


def finite(features: np.ndarray | Tensor, metric: str, least: int = 2) -> Tensor:
    """`features` as float64 (row, dimension), on the device of a tensor.

    Raises InputError that names `metric` unless they are fit for it.
    """
    rows = torch.as_tensor(features, dtype=torch.float64)
    if rows.dim() != 2 or len(rows) < least:
        shape = tuple(rows.shape)
        raise InputError(f"features of shape {shape}; {metric} needs (row, dimension) with {least} rows or more")
    if not bool(rows.isfinite().all()):
        raise InputError(f"features that are not finite have no {metric}")
    return rows


def moments(features: np.ndarray | Tensor) -> Moments:
    """The moments of features (row, dimension). Raises InputError for fewer than 2 rows or non-finite values."""
    running = RunningMoments()
    running.add(finite(features, "Fréchet distance"))
    return running.result()


class RunningMoments:
    """The moments of features that arrive in chunks; memory does not grow with the number of rows.

    Sums stay on the features' device, which is asked for them once, by `result`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.origin, self.total, self.products = (torch.zeros(()) for _ in range(3))

    def add(self, features: np.ndarray | Tensor) -> None:
        """Counts in features (row, dimension). Sums are taken about the first chunk's mean, so that nothing cancels."""
        rows = torch.as_tensor(features, dtype=torch.float64)
        if not len(rows):
            return
        if self.count == 0:
            self.origin = rows.mean(0)
        rows = rows - self.origin
        self.count += len(rows)
        self.total = self.total + rows.sum(0)
        self.products = self.products + rows.T @ rows

    def result(self) -> Moments:
        """The moments of all rows so far; at least 2 are needed."""
        shift = self.total / self.count
        covariance = (self.products - self.count * torch.outer(shift, shift)) / (self.count - 1)
        return Moments(self.count, (self.origin + shift).cpu().numpy(), covariance.cpu().numpy())


def pooled(parts: Sequence[tuple[Moments, float]]) -> Moments:
    """Moments of a mixture of samples with weights that sum to one; of the joined sample if these are its shares."""
    mean = sum((weight * part.mean for part, weight in parts), np.zeros(()))
    spread = np.zeros(())
    for part, weight in parts:
        shift = part.mean - mean
        spread = spread + weight * ((part.count - 1) / part.count * part.covariance + np.outer(shift, shift))
    count = sum(part.count for part, _ in parts)
    return Moments(count, mean, count / (count - 1) * spread)
