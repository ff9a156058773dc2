"""Models with private codes, untrained, under what proves without labels that they share a class."""

from dataclasses import replace

import pytest
import torch

import polyvae as pv
from polyvae import metrics
from polyvae.metrics.pairs import few_pairs
from polyvae.metrics.readings import read_model
from polyvae.models.contract import NotDefined
from polyvae.runs.plan import make_plan
from support.painters import CRITIC, JUDGE, NAMES, agreeing
from support.slow import slow_unless

DATA = agreeing(70)
TINY = pv.RunConfig(
    dataset="polymnist", modalities=3, network="mlp", train_size=60, test_size=20, latent_dim=4, metrics="none",
)  # fmt: skip
PRIVATE = ("mmvae_plus", "idmvae", "dmvae", "hoelder_plus", "hoelder_plusplus")


@pytest.fixture(scope="module")
def made():
    """method -> its untrained model, made once."""
    return {name: make_plan(TINY.with_(method=name)).build() for name in (*PRIVATE, "aligned_flows")}


@pytest.mark.parametrize(
    "method",
    slow_unless(lambda method: method in ("mmvae_plus", "hoelder_plusplus"), [*PRIVATE, "aligned_flows"]),
)
def test_scores_are_there_and_do_not_depend_on_batches(made, method):
    model, pairs = made[method], few_pairs(NAMES, NAMES)

    def scores(**options):
        readings = read_model(model, DATA, JUDGE, moment_pairs=pairs, **options)
        found = metrics.diversity(readings) | metrics.label_free(model, DATA, CRITIC, **options)
        return found | metrics.code_probe(model, DATA, replace(DATA, places={}), **options)

    found = scores()
    assert found["diversity/digits/mean"] > 0
    assert 0 < found["label_free/leave_one_out_p"] <= 1
    assert found["label_free/real/m0/m1"] > 0.9
    assert {f"code_probe/{code}/label/m2" for code in ("shared", "private", "chance")} <= set(found)
    in_parts = scores(batch_size=33)
    assert set(in_parts) == set(found)
    for key, value in in_parts.items():  # of 70 rows, the one nearest to the boundary of a probe may change sides
        assert value == pytest.approx(found[key], rel=1e-4, abs=1.5 / 70 if key.startswith("code_probe") else 1e-4), key


@pytest.mark.parametrize("method", PRIVATE)
def test_both_codes_of_a_row_are_swapped(made, method):
    model = made[method]
    found = metrics.swap(model, DATA, JUDGE)
    assert {f"swap/{part}/{name}" for part in ("shared", "private") for name in NAMES} <= set(found)
    assert metrics.swap(model, DATA, JUDGE, batch_size=9) == pytest.approx(found)


def test_decoders_of_aligned_flows_read_no_shared_code(made):
    with pytest.raises(NotDefined, match="nothing to swap"):
        metrics.swap(made["aligned_flows"], DATA, JUDGE)


def test_codes_of_aligned_flows_are_those_of_its_two_posteriors(made):
    model, batch = made["aligned_flows"].eval(), DATA.batch(range(9))
    found, own = model.code_means(batch), model.vaes.encode(batch)
    for index, name in enumerate(NAMES):
        torch.testing.assert_close(found[name].private, own.mean[index])
        torch.testing.assert_close(found[name].shared.norm(dim=-1), torch.ones(9))
        drawn = torch.stack([found[n].shared for n in NAMES])
        torch.testing.assert_close(drawn, model.directions(batch))


def test_places_of_a_run_reach_the_probe():
    plan = make_plan(TINY.with_(dataset="translated_polymnist", scale=0.75, method="aligned_flows", train_size=200))
    found = metrics.code_probe(plan.build(), plan.train, plan.test)
    for name in NAMES:
        assert {f"code_probe/{code}/place/{name}" for code in ("shared", "private", "chance")} <= set(found)
        assert set(plan.train.places[name].tolist()) == {0, 1, 2, 3}
