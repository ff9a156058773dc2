"""The kernel distance against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from polyvae.metrics import kernel_distance


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
