"""Canonical correlations against NumPy, and what they are certain not to depend on."""

import numpy as np
import pytest
import torch

from polyvae.objectives.canonical import canonical_correlation


def views(rows=400, seed=0):
    """Two sets of features of a common source, (row, 3) and (row, 2)."""
    generator = torch.Generator().manual_seed(seed)
    source, own, other = (torch.randn(rows, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    mix, own_mix = (torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    first = source @ mix + 0.7 * own @ own_mix + 0.3 * torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    return first, source + other


def by_numpy(a, b, ridge):
    """The roots of the eigenvalues of A^-1 C B^-1 C' (Hotelling)."""
    a, b = a.numpy(), b.numpy()
    joint = np.cov(np.concatenate([a, b], 1).T)
    k = a.shape[1]
    first, second, cross = joint[:k, :k] + ridge * np.eye(k), joint[k:, k:] + ridge * np.eye(b.shape[1]), joint[:k, k:]
    squares = np.linalg.eigvals(np.linalg.solve(first, cross) @ np.linalg.solve(second, cross.T)).real
    return np.sqrt(np.sort(squares)[::-1][: min(k, b.shape[1])].clip(min=0)).sum()


@pytest.mark.parametrize("ridge", [1e-6, 1e-3, 0.5])
def test_it_is_the_sum_of_canonical_correlations(ridge):
    for seed in range(3):
        a, b = views(seed=seed)
        assert canonical_correlation(a, b, ridge).item() == pytest.approx(by_numpy(a, b, ridge), abs=1e-8)


def test_scikit_learn_finds_the_same():
    from sklearn.cross_decomposition import CCA

    a, b = views()
    first, second = CCA(2, max_iter=5000, tol=1e-12).fit_transform(a.numpy(), b.numpy())
    known = sum(np.corrcoef(x, y)[0, 1] for x, y in zip(first.T, second.T, strict=True))
    assert canonical_correlation(a, b, 1e-9).item() == pytest.approx(known, abs=1e-5)


def test_correlations_known_from_the_covariance():
    """Six points of unit covariance: two pairs of features of correlation .8 and .3, and turned, the same."""
    points = np.sqrt(7 / 2) * np.concatenate([np.eye(4), -np.eye(4)])
    x = torch.from_numpy(points)
    a, b = x[:, :2], torch.stack([0.8 * x[:, 0] + 0.6 * x[:, 2], 0.3 * x[:, 1] + 0.91**0.5 * x[:, 3]], -1)
    assert canonical_correlation(a, b, 1e-12).item() == pytest.approx(1.1, abs=1e-8)
    turned = b @ torch.tensor([[2.0, 1.0], [-3.0, 0.5]], dtype=torch.float64) + 4
    assert canonical_correlation(a, turned, 1e-12).item() == pytest.approx(1.1, abs=1e-8)
    assert canonical_correlation(a, a, 1e-12).item() == pytest.approx(2, abs=1e-8)


def test_its_gradient():
    a, b = views(rows=20)
    a.requires_grad_()
    canonical_correlation(a, b, 1e-2).backward()
    for place in ((0, 0), (7, 2), (19, 1)):
        values = []
        for sign in (1, -1):
            moved = a.detach().clone()
            moved[place] += sign * 1e-5
            values.append(canonical_correlation(moved, b, 1e-2).item())
        assert a.grad[place].item() == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-7)


def test_rows_that_are_not_seen_do_not_exist():
    a, b = views(rows=30)
    seen = torch.arange(30) % 3 > 0
    a.requires_grad_()
    value = canonical_correlation(a, b, seen=seen)
    value.backward()
    torch.testing.assert_close(value, canonical_correlation(a[seen], b[seen]))
    assert not a.grad[~seen].any()


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_rows_there_is_no_correlation(count):
    a, b = views(rows=30)
    a.requires_grad_()
    value = canonical_correlation(a, b, seen=torch.arange(30) < count)
    value.backward()
    assert value.item() == 0
    assert not a.grad.any()
    assert canonical_correlation(a[:count], b[:count]).item() == 0
