"""The swap test of decoders that take the class from the shared code, from the private one, and from neither."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from polyvae import metrics, subsets
from polyvae.metrics.swap import partners
from polyvae.models.contract import NotDefined
from support.painters import JUDGE, NAMES, STEP, Painter, agreeing, vae


class Swapper(Painter):
    """m0 paints the digit of the shared code, m1 that of its private one, m2 a random digit."""

    def swapped_codes(self, batch, other, generator=None):
        shared, private = ((rows.values["m0"][:, 0, 0, 0] * 255 / STEP).round() for rows in (batch, other))
        drawn = torch.tensor([stream.integers(10) for stream in generator.streams("digit")]).float()
        digits = dict(zip(NAMES, (shared, private, drawn), strict=True))
        return {name: torch.stack([digit, self.private(generator, name)], -1) for name, digit in digits.items()}


def test_a_decoder_is_found_out():
    found = metrics.swap(Swapper(), agreeing(), JUDGE)
    for name, shared, private in (("m0", 1, 0), ("m1", 0, 1)):
        assert (found[f"swap/shared/{name}"], found[f"swap/private/{name}"]) == (shared, private)
    for part in ("shared", "private"):
        assert found[f"swap/{part}/m2"] == pytest.approx(0.1, abs=0.04), "one digit in ten, by chance"
        assert found[f"swap/{part}"] == pytest.approx(np.mean([found[f"swap/{part}/{name}"] for name in NAMES]))
        assert found[f"swap/{part}_low"] < found[f"swap/{part}"] < found[f"swap/{part}_high"]


def test_neither_batches_nor_the_order_of_rows_matter():
    data, rows = agreeing(40), list(range(40))
    reference = metrics.swap(Swapper(), data, JUDGE, seed=3)
    assert metrics.swap(Swapper(), data, JUDGE, seed=3, batch_size=7) == reference
    assert metrics.swap(Swapper(), data, JUDGE, seed=3, rows=rows[::-1]) == reference
    assert metrics.swap(Swapper(), data, JUDGE, seed=4)["swap/shared/m2"] != reference["swap/shared/m2"]


def test_rows_that_lack_a_modality_are_no_partners():
    """Those of class 3 lack m1, and would be read as 9."""
    data = agreeing(140)
    present, values = data.present.clone(), {name: value.clone() for name, value in data.values.items()}
    present[data.labels == 3, 1] = False
    for value in values.values():
        value[data.labels == 3, 0, 0, 0] = 9 * STEP
    found = metrics.swap(Swapper(), replace(data, present=present, values=values), JUDGE)
    assert found["swap/shared/m0"] == found["swap/private/m1"] == 1


def test_partners_are_of_other_classes_and_any_of_them():
    classes = np.repeat([0, 1, 2], [5, 3, 2])
    drawn = np.stack([partners(classes, seed) for seed in range(400)])
    assert (classes[drawn] != classes).all()
    for row, own in enumerate(classes):
        assert set(drawn[:, row]) == set(np.flatnonzero(classes != own))
    with pytest.raises(NotDefined, match="not of two classes"):
        partners(np.ones(4, int), 0)


def test_a_decoder_that_reads_one_code_has_nothing_to_swap():
    with pytest.raises(NotDefined, match="nothing to swap"):
        metrics.swap(vae(subsets.mopoe(NAMES)), agreeing(20), JUDGE)
