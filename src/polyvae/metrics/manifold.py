"""Precision, recall, density and coverage: do samples lie on the real manifold, and do they cover it?

Precision and recall as in Kynkaanniemi et al. 2019, density and coverage as in Naeem et al. 2020: the manifold of a
sample is the union of balls around its points, each as wide as the distance to its k-th neighbour.

A ball is open, so it holds k points of its own set: its centre and k - 1 neighbours. Where neighbours tie at its edge,
fewer lie inside; those on the edge then count by the share that makes k of them. So a set that repeats points, whose
balls may have no width, scores 1 against itself; without ties the values are the published ones.
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
    """The four numbers for features (row, dimension), by Euclidean distance; all 1 for a set against itself.

    Memory grows with the rows, not with their square. Raises InputError unless either side has more than k rows.
    """
    if k < 1:
        raise InputError(f"neighbour {k}; precision and recall need k of at least 1")
    a, b = (finite(x, "precision and recall", k + 1) for x in (real, generated))
    if a.shape[1] != b.shape[1]:
        raise InputError(f"features of dimension {a.shape[1]} and {b.shape[1]} have no precision and recall")
    real_balls, generated_balls = _balls(a, k), _balls(b, k)
    around = torch.zeros(len(b), dtype=torch.float64, device=b.device)  # how many real balls hold a generated point
    covered, recalled = [], []  # real points
    for rows in torch.arange(len(a)).split(CHUNK):
        distance = _distances(a[rows], b)
        inside = _Balls(*(of_all[rows] for of_all in real_balls)).hold(distance)
        around += inside.sum(0)
        covered.append((inside > 0).any(1))
        recalled.append((generated_balls.hold(distance.T) > 0).any(0))
    return Manifold(
        precision=float((around > 0).double().mean()),
        recall=float(torch.cat(recalled).double().mean()),
        density=float(around.mean() / k),
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


class _Balls(NamedTuple):
    """radius: distance of every point to its k-th neighbour, itself not counted: (row,). edge: what a point at just
    that distance counts: 0 unless neighbours tie there."""

    radius: Tensor
    edge: Tensor

    def hold(self, distance: Tensor) -> Tensor:
        """How far each ball holds each point, in [0, 1], from their distances: both (ball, point)."""
        radius, edge = self.radius[:, None], self.edge[:, None]
        return (distance < radius).double().addcmul_((distance == radius).double(), edge)


def _balls(points: Tensor, k: int) -> _Balls:
    radii, edges = [], []
    for part in points.split(CHUNK):
        distance = _distances(part, points)
        radius = distance.kthvalue(k + 1).values[:, None]
        edges.append((k - (distance < radius).sum(1)).double() / (distance == radius).sum(1))
        radii.append(radius[:, 0])
    return _Balls(torch.cat(radii), torch.cat(edges))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean, and equal for equal pairs: by products of matrices, equal points could be some 1e-8 apart."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
