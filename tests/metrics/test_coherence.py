"""Coherence of models that copy what they are given, and Fleiss' kappa against its definition."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from polyvae import noise, subsets
from polyvae.errors import InputError
from polyvae.metrics import coherence
from polyvae.metrics.coherence import fleiss_kappa, warnings
from polyvae.models.vae import MultimodalVAE
from support.painters import JUDGE, NAMES, ROWS, MixturePainter, Painter, painted, vae

ACCURACY = {"m0": 1.0, "m1": 0.75, "m2": 0.5}


def test_coherence_of_a_model_that_copies_its_first_input():
    found = coherence(Painter(), painted(), JUDGE)
    for given, target in (("m0", "m1"), ("m1", "m0"), ("m2", "m0"), ("m0+m1", "m2"), ("m1+m2", "m0")):
        assert found[f"coherence/conditional/{given}/{target}"] == ACCURACY[given[:2]]
    assert found["coherence/by_inputs/1"] == pytest.approx((1 + 0.75 + 0.5) / 3)
    assert found["coherence/by_inputs/2"] == found["coherence/leave_one_out"] == pytest.approx((0.75 + 1 + 1) / 3)
    assert [found[f"coherence/self/{name}"] for name in NAMES] == [1, 0.75, 0.5]
    assert [found[f"coherence/ceiling/{name}"] for name in NAMES] == [1, 0.75, 0.5]
    assert found["coherence/joint"] == 0.75
    votes = np.stack([Painter.prior_digit(name, torch.arange(ROWS)).numpy() for name in NAMES], -1).astype(int)
    assert found["coherence/joint_kappa"] == pytest.approx(kappa_by_definition(votes))
    shares = np.bincount(votes.ravel()) / votes.size
    assert found["coherence/joint_entropy"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert found["coherence/joint_confidence"] == pytest.approx(1)
    assert found["coherence/real_confidence"] == pytest.approx(1)
    assert found["coherence/joint_low"] < 0.75 < found["coherence/joint_high"]
    assert found["coherence/leave_one_out_low"] < 2.75 / 3 < found["coherence/leave_one_out_high"]
    assert not {key for key in found if "conditional" in key and key.split("/")[3] in key.split("/")[2]}


def test_coherence_is_linear_in_a_mixture():
    found = coherence(MixturePainter(), painted(), JUDGE)
    for given, target in (("m1+m2", "m0"), ("m0+m2", "m1"), ("m0+m1", "m2")):
        expected = np.mean([ACCURACY[source] for source in given.split("+")])
        assert found[f"coherence/conditional/{given}/{target}"] == expected
    assert found["coherence/leave_one_out"] == found["coherence/by_inputs/1"] == 0.75


def test_coherence_scores_only_rows_that_have_all_of_given():
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[:10, 2] = False  # m2 is right in 10 of its 30 rows
    present[30:, 1] = False  # m1 is right in all of its 30 rows
    found = coherence(Painter(), painted(present), JUDGE)
    assert found["coherence/conditional/m2/m0"] == pytest.approx(10 / 30)
    assert found["coherence/conditional/m1/m0"] == 1
    assert found["coherence/ceiling/m2"] == pytest.approx(10 / 30)
    mixed = coherence(MixturePainter(), painted(present), JUDGE)
    assert mixed["coherence/conditional/m1+m2/m0"] == pytest.approx((1 + 10 / 20) / 2)  # rows 10 to 29
    of_each = [(1 + 10 / 20) / 2, (1 + 10 / 30) / 2, 1]  # for m0, m1, m2, over 20, 30, 30 rows
    assert mixed["coherence/leave_one_out"] == pytest.approx(np.mean(of_each)), "every target counts the same"


def test_coherence_leaves_out_what_no_row_allows():
    present = torch.zeros(ROWS, 3, dtype=torch.bool)
    present[:20, 0] = present[20:, 1] = present[:, 2] = True
    found = coherence(Painter(), painted(present), JUDGE)
    assert "coherence/conditional/m0+m1/m2" not in found
    assert found["coherence/conditional/m0+m2/m1"] == 1
    assert all(np.isfinite(value) for value in found.values())


def test_coherence_of_one_modality_compares_nothing():
    model = vae(subsets.mopoe(NAMES))
    alone = MultimodalVAE(
        model.modalities[:1], {"m0": (model.encoders["m0"], model.decoders["m0"])}, subsets.mvae(["m0"]), 4
    )
    found = coherence(alone, painted().select(["m0"]), JUDGE)
    assert set(found) == {
        f"coherence/{key}" for key in ("self/m0", "ceiling/m0", "joint_entropy", "joint_confidence", "real_confidence")
    }


class Unsteady(Painter):
    """Reads the digit right, and moves it by a draw."""

    def posterior_codes(self, batch, given, targets, generator):
        moved = noise.normal(generator, len(batch.present), 1, batch.values["m0"])[:, 0].round()
        codes = super().posterior_codes(batch, given, targets, generator)
        return {name: torch.stack([code[:, 0] + moved, code[:, 1]], -1) for name, code in codes.items()}


def test_means_of_posteriors_are_read_without_a_draw():
    drawn, mean = (coherence(Unsteady(), painted(), JUDGE, from_means=is_mean) for is_mean in (False, True))
    assert mean["coherence/conditional/m0/m1"] == 1
    assert drawn["coherence/conditional/m0/m1"] < 0.7


def test_coherence_needs_labels():
    with pytest.raises(InputError, match="coherence needs labels"):
        coherence(Painter(), replace(painted(), labels=None), JUDGE)


def kappa_by_definition(votes: np.ndarray) -> float:
    rows, raters = votes.shape
    pairs = [(i, j) for i in range(raters) for j in range(raters) if i != j]
    observed = np.mean([np.mean([votes[r, i] == votes[r, j] for i, j in pairs]) for r in range(rows)])
    by_chance = sum((votes == c).mean() ** 2 for c in np.unique(votes))
    return (observed - by_chance) / (1 - by_chance)


@for_all(st.integers(2, 12), st.integers(2, 5), st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_fleiss_kappa_follows_its_definition(rows, raters, seed):
    votes = np.random.default_rng(seed).integers(0, 4, (rows, raters))
    votes[0, :2] = 0, 1
    assert fleiss_kappa(votes) == pytest.approx(kappa_by_definition(votes))


def test_fleiss_kappa_of_a_published_table():
    """The worked example of the Wikipedia article on Fleiss' kappa: 14 raters, 10 subjects, kappa .210."""
    table = """0 0 0 0 14/0 2 6 4 2/0 0 3 5 6/0 3 9 2 0/2 2 8 1 1/7 7 0 0 0/3 2 6 3 0/2 5 3 2 2/6 5 2 1 0/0 2 2 3 7"""
    votes = [np.repeat(np.arange(5), [int(n) for n in row.split()]) for row in table.split("/")]
    assert fleiss_kappa(np.stack(votes)) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_is_no_reward_for_blank_images():
    assert fleiss_kappa(np.full((50, 3), 8)) == 0
    assert fleiss_kappa(np.random.default_rng(0).integers(0, 10, (20_000, 3))) == pytest.approx(0, abs=0.01)


def test_a_collapse_is_warned_of():
    fine = {"coherence/joint": 0.8, "coherence/joint_kappa": 0.78, "coherence/joint_entropy": 2.2}
    fine |= {"coherence/joint_confidence": 0.9, "coherence/real_confidence": 0.98}
    fine |= {"coherence/chance": 0.1}
    assert warnings(fine) == {}
    assert warnings({}) == {}
    blank = fine | {"coherence/joint": 0.999, "coherence/joint_kappa": 0.01, "coherence/joint_entropy": 0.01}
    assert "collapsed" in warnings(blank)["coherence/joint"]
    assert "collapsed" in warnings(fine | {"coherence/joint_kappa": 0.3})["coherence/joint"], "agreement is by chance"
    assert "collapsed" in warnings(fine | {"coherence/joint_entropy": 1.1})["coherence/joint"], "three of ten classes"
    of_two = fine | {"coherence/chance": 0.5, "coherence/joint_entropy": math.log(2)}
    assert warnings(of_two) == {}, "two classes cannot have the entropy of ten"
