"""Canonical correlations of two sets of features, as deep CCA maximises them (Andrew et al. 2013)."""

import torch
from torch import Tensor

RIDGE = 1e-3
POLAR_STEPS = 40  # a singular value of 1e-7 is off by less than itself, the others by nothing


def canonical_correlation(a: Tensor, b: Tensor, ridge: float = RIDGE, seen: Tensor | None = None) -> Tensor:
    """The sum of the canonical correlations of a (batch, i) and b (batch, j): a float64 scalar in [0, min(i, j)).

    It is the sum of singular values of (A + ridge I)^(-1/2) C (B + ridge I)^(-1/2), with A, B and C the batch's
    covariances, so batches should have many more rows than features. seen: Bool (batch,), rows that count; default all.
    One row alone has no covariance: the value is 0.

    Double precision, also where a step is in bf16. Nothing is read from the device, as a singular value decomposition
    would: the orthogonal factor of the matrix, which is the gradient of that sum, comes from Newton-Schulz steps.
    """
    seen = torch.ones(len(a), dtype=torch.bool, device=a.device) if seen is None else seen
    weight = (seen & (seen.sum() > 1))[:, None].double()
    count = weight.sum().clamp(min=2)
    first, second = (_centred(x.double(), weight, count) for x in (a, b))
    whitened = _whitened(first, first.mT @ second / (count - 1), ridge, count)
    whitened = _whitened(second, whitened.mT, ridge, count)
    factor = whitened.detach()
    for _ in range(POLAR_STEPS):
        factor = 1.5 * factor - 0.5 * factor @ factor.mT @ factor
    return (factor * whitened).sum()


def _centred(x: Tensor, weight: Tensor, count: Tensor) -> Tensor:
    return weight * (x - (weight * x).sum(0) / count)


def _whitened(x: Tensor, covariance: Tensor, ridge: float, count: Tensor) -> Tensor:
    """The inverse root of x's covariance times `covariance`; the Cholesky root differs from the other by a rotation."""
    own = x.mT @ x / (count - 1) + ridge * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    root, _ = torch.linalg.cholesky_ex(own)
    return torch.linalg.solve_triangular(root, covariance, upper=False)
