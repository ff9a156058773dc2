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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dimension", [1, 3, 60])
def test_a_set_that_repeats_points_has_all_of_itself(seed, dimension):
    """Points once to twelve times with k = 5: some balls have no width, others several points on their edge."""
    rng = np.random.default_rng([seed, dimension])
    points = 100 + np.repeat(rng.normal(size=(40, dimension)), rng.integers(1, 13, 40), axis=0)
    assert precision_recall(points, points) == pytest.approx((1, 1, 1, 1), abs=1e-12)
    assert precision_recall(points, rng.permutation(points)) == pytest.approx((1, 1, 1, 1), abs=1e-12)
    one_place = np.zeros((30, dimension))
    assert precision_recall(one_place, one_place) == pytest.approx((1, 1, 1, 1))
    assert precision_recall(one_place, one_place + 1e-6) == (0, 0, 0, 0), "near is not the same"


def test_ties_at_the_edge_count_by_the_share_that_makes_k():
    """k = 2 on -2 to 2: two neighbours tie at the edge of the balls of 0, 1 and -1, none at those of 2 and -2."""
    line = np.array([[0.0], [1.0], [-1.0], [2.0], [-2.0]])
    assert manifold_by_definition(line, line, 2)[2] < 1, "open balls alone"
    assert precision_recall(line, line, 2).density == pytest.approx(1)
    # 1 is half in the ball of 0 (width 1), wholly in its own and in that of 2 (width 2); 3 in that of 2 alone.
    at_one, at_three = (precision_recall(line, np.full((3, 1), place), 2).density for place in (1.0, 3.0))
    assert at_one == pytest.approx((0.5 + 1 + 1) / 2)
    assert at_three == pytest.approx(1 / 2)
