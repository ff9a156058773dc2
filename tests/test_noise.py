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


def test_what_is_done_to_a_draw_leaves_the_next_as_it_was():
    source, like = RowNoise(7, "codes", (1, 2)), torch.empty(0, dtype=torch.float64)
    for draw in (lambda: noise.normal(source, 2, 4, like), lambda: noise.uniform(source, 2, like)):
        first = draw()
        kept = first.clone()
        first.zero_()
        assert torch.equal(draw(), kept)
        assert kept.dtype == torch.float64
