"""KID, precision and recall, the extrapolated Frechet distance, diversity: against direct references."""

import numpy as np
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from polyvae.errors import InputError
from polyvae.metrics import frechet_distance, frechet_limit, kernel_distance, precision_recall
from polyvae.metrics.diversity import mean_pairwise_distance
from polyvae.metrics.moments import RunningMoments, moments


def kernel_by_definition(a: np.ndarray, b: np.ndarray) -> float:
    def kernel(x, y):
        return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def mean(pairs):
        values = [kernel(x, y) for x, y in pairs]
        return sum(values) / len(values)

    within = [mean([(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
    return sum(within) - 2 * mean([(x, y) for x in a for y in b])


@for_all(st.integers(2, 7), st.integers(2, 7), st.integers(1, 4), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_kernel_distance_follows_its_definition(first, second, dimension, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(first, dimension)), rng.normal(size=(second, dimension)) + 1
    assert kernel_distance(a, torch.from_numpy(b)) == pytest.approx(kernel_by_definition(a, b), rel=1e-9, abs=1e-9)


def test_kernel_distance_is_unbiased():
    rng = np.random.default_rng(0)
    values = [kernel_distance(rng.normal(size=(6, 3)), rng.normal(size=(9, 3))) for _ in range(3000)]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / np.sqrt(3000))
    assert min(values) < 0


def manifold_by_definition(real, generated, k):
    def radius(points, i):
        return sorted(np.linalg.norm(points[i] - points[j]) for j in range(len(points)) if j != i)[k - 1]

    real_radius = [radius(real, i) for i in range(len(real))]
    generated_radius = [radius(generated, i) for i in range(len(generated))]
    inside = np.array([[np.linalg.norm(g - r) < d for r, d in zip(real, real_radius, strict=True)] for g in generated])
    recalled = [any(np.linalg.norm(r - g) < d for g, d in zip(generated, generated_radius, strict=True)) for r in real]
    return inside.any(1).mean(), np.mean(recalled), inside.sum(1).mean() / k, inside.any(0).mean()


@for_all(st.integers(1, 4), st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_precision_recall_density_coverage_follow_their_definitions(k, seed):
    rng = np.random.default_rng(seed)
    real, generated = rng.normal(size=(12, 3)), 0.7 * rng.normal(size=(15, 3)) + rng.normal()
    found = precision_recall(real, generated, k)
    assert tuple(found) == pytest.approx(manifold_by_definition(real, generated, k))


def test_precision_and_recall_tell_fidelity_from_variety():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(500, 4))
    narrow, wide = precision_recall(real, 0.2 * rng.normal(size=(500, 4))), precision_recall(real, 3 * real)
    assert narrow.precision > 0.95
    assert narrow.recall < 0.2
    assert wide.precision < 0.5
    assert wide.recall > 0.8
    same = precision_recall(real, rng.normal(size=(500, 4)))
    assert same.density == pytest.approx(1, abs=0.15), "its expectation for equal laws"


def test_the_extrapolated_distance_has_less_bias():
    """Two samples of one law have distance 0; the plain estimate is above it by about dimension / n."""
    rng = np.random.default_rng(0)
    plain, limit = [], []
    for seed in range(20):
        a, b = rng.normal(size=(400, 20)), rng.normal(size=(400, 20))
        plain.append(frechet_distance(a, b))
        limit.append(frechet_limit(a, b, seed))
    assert abs(np.mean(limit)) < 0.25 * np.mean(plain)
    shifted = frechet_limit(rng.normal(size=(2000, 5)), rng.normal(size=(2000, 5)) + 1)
    assert shifted == pytest.approx(5, rel=0.1)


def test_running_moments_do_not_cancel_far_from_zero():
    rows = 1e6 + np.random.default_rng(0).normal(size=(300, 3))
    running = RunningMoments()
    for part in np.array_split(rows, 7):
        running.add(part)
    running.add(rows[:0])
    np.testing.assert_allclose(running.result().covariance, np.cov(rows, rowvar=False), rtol=1e-8)
    assert running.result().count == moments(rows).count == 300


def test_mean_pairwise_distance_by_hand():
    assert mean_pairwise_distance(np.array([[0.0, 0], [3, 4], [0, 0]])) == pytest.approx(10 / 3)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: kernel_distance(np.zeros((1, 2)), np.zeros((5, 2))), "kernel distance needs"),
        (lambda: kernel_distance(np.zeros((3, 2)), np.zeros((5, 3))), "dimension 2 and 3"),
        (lambda: precision_recall(np.zeros((5, 2)), np.zeros((9, 2))), "with 6 rows or more"),
        (lambda: precision_recall(np.zeros((9, 2)), np.zeros((9, 3))), "dimension 2 and 3"),
        (lambda: precision_recall(np.zeros((9, 2)), np.zeros((9, 2)), 0), "at least 1"),
        (lambda: kernel_distance(np.full((3, 2), np.nan), np.zeros((5, 2))), "not finite"),
        (lambda: frechet_limit(np.zeros((100, 2)), np.zeros((900, 2))), "needs 200"),
        (lambda: mean_pairwise_distance(np.zeros((1, 2))), "diversity needs"),
    ],
)
def test_what_cannot_be_measured_is_named(measure, message):
    with pytest.raises(InputError, match=message):
        measure()
