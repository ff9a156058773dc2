"""Precision, recall, density and coverage against their definitions."""

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from polyvae.metrics import precision_recall


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
