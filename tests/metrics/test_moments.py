"""Means and covariances against NumPy, and what no metric of features can measure."""

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from polyvae.errors import InputError
from polyvae.metrics import frechet_limit, kernel_distance, precision_recall
from polyvae.metrics.diversity import mean_pairwise_distance
from polyvae.metrics.moments import RunningMoments, moments, pooled


@for_all(st.lists(st.integers(2, 20), min_size=1, max_size=4), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_pooled_moments_are_those_of_the_pooled_sample(sizes, seed):
    rng = np.random.default_rng(seed)
    samples = [rng.normal(size=(size, 3)) + rng.normal(size=3) for size in sizes]
    mixed = pooled([(moments(sample), len(sample) / sum(sizes)) for sample in samples])
    together = np.concatenate(samples)
    assert mixed.count == len(together)
    np.testing.assert_allclose(mixed.mean, together.mean(0), atol=1e-12)
    np.testing.assert_allclose(mixed.covariance, np.cov(together, rowvar=False), atol=1e-12)


def test_running_moments_do_not_cancel_far_from_zero():
    rows = 1e6 + np.random.default_rng(0).normal(size=(300, 3))
    running = RunningMoments()
    for part in np.array_split(rows, 7):
        running.add(part)
    running.add(rows[:0])
    np.testing.assert_allclose(running.result().covariance, np.cov(rows, rowvar=False), rtol=1e-8)
    assert running.result().count == moments(rows).count == 300


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
