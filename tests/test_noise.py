"""Noise that belongs to rows is the numbers of NumPy's Philox, a counter a row, on any device."""

import hashlib

import numpy as np
import pytest
import torch

from polyvae import noise
from polyvae.noise import RowNoise


def stream(kind, row):
    """A generator built from scratch."""
    key = np.frombuffer(hashlib.sha256(f"7/codes/{kind}".encode()).digest()[:16], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, row], np.uint64)))


@pytest.mark.parametrize("width", [1, 3, 700])
def test_each_row_has_a_stream_of_its_own(width):
    rows = (5, 0, 2**40)
    source, like = RowNoise(7, "codes", rows), torch.empty(0)
    expected = np.stack([stream("normal", row).standard_normal(width, dtype=np.float32) for row in rows])
    assert torch.equal(noise.normal(source, 3, width, like), torch.from_numpy(expected))
    assert noise.uniform(source, 3, like).tolist() == [stream("uniform", row).random() for row in rows]


def test_the_mean_of_opposites_is_that_of_all_draws():
    """Of every Normal number, and so of what is linear in them; which mode a row is of is the same in both."""
    one, other = noise.opposites(3, torch.device("cpu"))
    like, expected = torch.empty(0), torch.Generator().manual_seed(3)
    assert torch.equal(noise.uniform(one, 5, like), noise.uniform(other, 5, like))
    noise.uniform(expected, 5, like)
    drawn = noise.normal(one, 5, 4, like)
    assert torch.equal(drawn, torch.randn(5, 4, generator=expected))
    assert torch.equal(noise.normal(other, 5, 4, like), -drawn)
    by_row = [noise.normal(RowNoise(7, "codes", (1, 2), spread), 2, 4, like) for spread in (1.0, -1.0)]
    assert torch.equal(by_row[0], -by_row[1])


def test_what_is_done_to_a_draw_leaves_the_next_as_it_was():
    source, like = RowNoise(7, "codes", (1, 2)), torch.empty(0, dtype=torch.float64)
    for draw in (lambda: noise.normal(source, 2, 4, like), lambda: noise.uniform(source, 2, like)):
        first = draw()
        kept = first.clone()
        first.zero_()
        assert torch.equal(draw(), kept)
        assert kept.dtype == torch.float64


def test_the_index_at_a_quantile_by_hand():
    """Weights of 0 are never drawn, be they the first or the last, whatever the sum of the weights is."""
    weights = torch.tensor([0, 1, 0, 2, 1, 0]) * 0.7
    u = torch.tensor([0, 0.24, 0.26, 0.74, 0.76, 1 - 2**-53], dtype=torch.float64)
    assert noise.index_at(u, weights).tolist() == [1, 1, 3, 3, 4, 4]
    by_row = torch.stack([weights, weights.flip(0)])
    assert noise.index_at(torch.tensor([[0.0, 0.0], [0.9, 0.9]]), by_row).tolist() == [[1, 1], [4, 4]]
    assert noise.index_at(torch.tensor([0.5]), torch.ones(1)).tolist() == [0]
