"""Inputs unlike the training data: held-out quadrants and unseen backgrounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from polyvae import InputError, datasets
from polyvae.datasets.polymnist.shifted import shifted


def quadrants(sampler, rows: int = 3000):
    drawn = sampler.draw(rows, np.random.default_rng(0))
    return drawn.digit.numpy(), drawn.offset.numpy()


def test_held_out_digits_never_stand_in_their_quadrant():
    sampler = datasets.sampler("translated_polymnist", modalities=2, held_out=6)
    digit, quadrant = quadrants(sampler)
    bad = (digit < 6) & (quadrant == digit % 4)
    assert not bad.any()
    for d in range(10):
        assert len(set(quadrant[digit == d])) == (3 if d < 6 else 4)
    digit, quadrant = quadrants(datasets.sampler("translated_polymnist", modalities=2))
    assert ((digit < 6) & (quadrant == digit % 4)).any()


def test_shifted_tuples_show_what_was_never_shown():
    sampler = datasets.sampler("translated_polymnist", split="test", modalities=2, held_out=4)
    modalities = datasets.load("translated_polymnist", split="test", modalities=2, size=5).modalities
    found = shifted(sampler, modalities, seed=0)
    assert set(found) == {"unseen_backgrounds", "held_out_pairs"}
    assert set(found["held_out_pairs"].labels.tolist()) == {0, 1, 2, 3}
    only = replace(sampler, shows_held_out=True)
    placed = only._place(np.flatnonzero(sampler.labels < 4), np.zeros(int((sampler.labels < 4).sum()), int), _rng())
    assert (only.quadrant(placed.offset) == sampler.labels[placed.digit] % 4).all()
    again = shifted(sampler, modalities, seed=0)
    for name, data in found.items():
        assert torch.equal(data.values["m1"], again[name].values["m1"])
    plain = shifted(datasets.sampler("polymnist", split="test", modalities=2), modalities, seed=0)
    assert set(plain) == {"unseen_backgrounds"}


def _rng():
    return np.random.default_rng(1)


def test_holding_out_changes_the_data_and_only_then_their_recipe():
    plain = datasets.load("translated_polymnist", modalities=1, size=30)
    held = datasets.load("translated_polymnist", modalities=1, size=30, held_out=10)
    assert "held_out" not in plain.info
    assert held.info["held_out"] == 10
    assert not torch.equal(plain.values["m0"], held.values["m0"])
    with pytest.raises(InputError, match="held_out 11"):
        datasets.sampler("translated_polymnist", held_out=11)
