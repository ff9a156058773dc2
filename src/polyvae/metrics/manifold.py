"""Precision, recall, density and coverage: do samples lie on the real manifold, and do they cover it?

Precision and recall as in Kynkaanniemi et al. 2019, density and coverage as in Naeem et al. 2020: the manifold of a
sample is the union of balls around its points, each as wide as the distance to its k-th neighbour.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polyvae.errors import InputError
from polyvae.metrics.moments import finite
from polyvae.metrics.readings import Readings

NEIGHBOUR = 5
CHUNK = 1000


class Manifold(NamedTuple):
    """precision: share of generated points inside a real ball. recall: share of real points inside a generated ball.
    density: mean number of real balls around a generated point, over k (can exceed 1). coverage: share of real balls
    with a generated point inside. All but density in [0, 1]; higher is better."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(real: np.ndarray | Tensor, generated: np.ndarray | Tensor, k: int = NEIGHBOUR) -> Manifold:
    """The four numbers for features (row, dimension), by Euclidean distance.

    Memory grows with the rows, not with their square. Raises InputError unless either side has more than k rows.
    """
    if k < 1:
        raise InputError(f"neighbour {k}; precision and recall need k of at least 1")
    a, b = (finite(x, "precision and recall", k + 1) for x in (real, generated))
    if a.shape[1] != b.shape[1]:
        raise InputError(f"features of dimension {a.shape[1]} and {b.shape[1]} have no precision and recall")
    radius_a, radius_b = _radii(a, k), _radii(b, k)
    around = [(torch.cdist(part, a) < radius_a).sum(-1) for part in b.split(CHUNK)]  # generated points
    covered, recalled = [], []  # real points
    for part, radius in zip(a.split(CHUNK), radius_a.split(CHUNK), strict=True):
        distance = torch.cdist(part, b)
        covered.append(distance.min(-1).values < radius)
        recalled.append((distance < radius_b).any(-1))
    inside = torch.cat(around).double()
    return Manifold(
        precision=float((inside > 0).double().mean()),
        recall=float(torch.cat(recalled).double().mean()),
        density=float(inside.mean() / k),
        coverage=float(torch.cat(covered).double().mean()),
    )


def manifold_of(readings: Readings) -> dict[str, float]:
    """precision | recall | density | coverage/<extractor>/unconditional/<modality>: prior samples, real test data."""
    values = {}
    for name, read in readings.prior.items():
        scores = precision_recall(readings.real[name].features, read.features)
        place = f"{readings.extractor.name}/unconditional/{name}"
        values |= {f"{kind}/{place}": value for kind, value in scores._asdict().items()}
    return values


def _radii(points: Tensor, k: int) -> Tensor:
    """Distance of every point to its k-th neighbour, itself not counted: (row,)."""
    return torch.cat([torch.cdist(part, points).kthvalue(k + 1).values for part in points.split(CHUNK)])
