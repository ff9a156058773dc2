"""Settings that the data choose: only those that nobody else has chosen, and by the same run id."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import polyvae as pv
from polyvae.config import RELEASED
from polyvae.likelihoods import Normal
from polyvae.modality import Modality
from polyvae.runs.plan import make_plan, make_plans
from polyvae.runs.suited import numbers_of_codes, suited

OPEN_OBJECT = pv.RunConfig(dataset="arrays")
OPEN = pv.RunConfig(dataset="arrays", data="a.npz")
TABLES = [Modality(name, (20,), Normal(None)) for name in ("a", "b")]


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "two.npz", a=rng.normal(size=(100, 4)), b=rng.normal(size=(100, 3)))
    return str(tmp_path / "two.npz")


def test_what_is_said_stands():
    given = {"method": "mvae", "latent_dim": 3, "patience": 7, "network": "mlp", "best_by": "loss", "average_epochs": 1}
    found = suited(OPEN.with_(**given), 500, TABLES, {})
    assert not set(found) & set(given)
    assert {"epochs", "batch_size", "learning_rate", "validation_fraction"} == set(found)


def test_a_config_that_names_all_sizes_is_as_it_was_before_they_could_be_left_open(data):
    sizes = {name: value for name, value in RELEASED.items() if name != "method"}
    config = pv.RunConfig(data=data, metrics="none", **sizes)
    assert not config.is_open
    assert suited(config, 500, TABLES, {}) == {"method": "mopoe"}
    plan = make_plan(config)
    assert plan.run_id == make_plan(config.with_(method="mopoe")).run_id
    assert plan.is_said.startswith(
        "method mopoe: with all of --latent-dim, --epochs, --batch-size, --learning-rate given"
    )


@pytest.mark.parametrize("rows", [4, 16, 122, 480, 1600, 20_000, 1_000_000])
def test_sizes_grow_with_the_rows(rows):
    found = suited(OPEN, rows, TABLES, {})
    assert 2 <= found["latent_dim"] <= 40
    assert 16 <= found["batch_size"] <= 256
    assert 20 <= found["epochs"] <= 200
    assert found["patience"] <= found["epochs"]
    assert 0.1 <= found["validation_fraction"] <= 0.25
    averaged = {200: (10, 50), 160: (8, 40), 51: (2, 12), 20: (None, 5)}  # epochs -> epochs of the average, patience
    assert (found.get("average_epochs"), found["patience"]) == averaged[found["epochs"]]
    assert suited(OPEN.with_(average_epochs=1), rows, TABLES, {})["patience"] == max(5, found["epochs"] // 8)
    assert not {"patience", "average_epochs"} & set(suited(OPEN.with_(validation_fraction=0.0), rows, TABLES, {}))


@pytest.fixture(scope="module")
def of_three():
    """Two views of a linear Gaussian model of three numbers."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 3))
    arrays = {name: z @ rng.normal(size=(3, p)) + 0.7 * rng.normal(size=(400, p)) for name, p in (("a", 12), ("b", 8))}
    return pv.datasets.load("arrays", data=arrays, split="train")


def test_few_latent_dimensions_where_views_share_few_whatever_the_seed_and_the_test_rows(of_three):
    config = OPEN_OBJECT.with_(metrics="none")
    rows, others = of_three.rows(range(240)), [of_three.rows(range(first, first + 40)) for first in (240, 280)]
    plans = [make_plan(config.with_(seed=seed), rows, test=test) for seed, test in enumerate(others)]
    for plan in plans:
        assert plan.blueprint.latent_dim == plan.config.latent_dim == plan.chosen["latent_dim"] == 8
        assert plan.build().latent_dim == 8
        assert ", 8 latent dimensions (of 8 to 20, by cross-validation)," in plan.is_said
    assert plans[0].tried == plans[1].tried
    assert make_plan(plans[0].config, rows, test=others[0]).run_id == plans[0].run_id


def test_few_rows_with_several_views_do_not_choose(of_three):
    present = torch.ones(len(of_three), 2, dtype=torch.bool)
    present[:-40, 0], present[:150, :] = False, torch.tensor([True, False])
    plan = make_plan(OPEN_OBJECT.with_(metrics="none"), replace(of_three, present=present))
    assert (plan.tried, plan.chosen["latent_dim"]) == ({}, 16)


def test_a_latent_dimension_that_is_given_is_not_chosen(of_three):
    plan = make_plan(OPEN_OBJECT.with_(metrics="none", latent_dim=7), of_three)
    assert (plan.blueprint.latent_dim, plan.tried) == (7, {})
    assert "latent_dim" not in plan.chosen


def test_factor_analysis_has_no_say_where_the_relation_is_not_linear():
    """Cosines of normal numbers are uncorrelated with them."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 6))
    views = {"straight": z @ rng.normal(size=(6, 8)), "bent": np.cos(2 * z) @ rng.normal(size=(6, 8))}
    arrays = {name: view + 0.3 * rng.normal(size=view.shape) for name, view in views.items()}
    plan = make_plan(OPEN_OBJECT.with_(metrics="none"), pv.datasets.load("arrays", data=arrays, split="train"))
    assert plan.chosen["latent_dim"] == plan.blueprint.latent_dim == 16


def test_numbers_that_are_tried():
    """With fewer than 8 codes a linear model may do well where a trained one, of a bent relation, cannot."""
    assert numbers_of_codes(100, TABLES, 5) == [5, 8, 12, 16, 24, 25]
    assert numbers_of_codes(400, TABLES, 25)[:3] == [8, 12, 16]
    assert numbers_of_codes(2, TABLES, 2) == [2]


def test_pictures_and_generated_data_keep_the_released_settings():
    picture = Modality("photo", (3, 32, 32), Normal(0.75))
    found = suited(OPEN, 500, [TABLES[0], picture], {})
    assert (found["method"], found["latent_dim"], found["learning_rate"]) == ("mopoe", 64, 5e-4)
    assert found["network"] == "a=linear_mlp"
    generated = pv.RunConfig()
    assert suited(generated, 500, TABLES, {}) == {}
    assert (generated.method, *generated.sizes) == tuple(RELEASED.values())


def test_a_run_is_known_by_the_settings_that_were_chosen(data):
    """Whether the data choose them or the user, it is the same run; and a record says which it was."""
    open_, chosen = pv.RunConfig(data=data, metrics="none"), None
    plan = make_plan(open_)
    chosen = open_.with_(**plan.chosen)
    assert make_plan(chosen).run_id == plan.run_id
    assert make_plan(chosen).chosen == {}
    assert [p.run_id for p in make_plans([open_, chosen])] == [plan.run_id] * 2
    alone = make_plan(open_.with_(method="unimodal", only="a"))
    again = make_plan(open_.with_(method="unimodal", only="a", **alone.chosen))
    assert (again.run_id, again.blueprint.latent_dim) == (alone.run_id, alone.blueprint.latent_dim)
    assert plan.is_said.startswith(
        "100 rows: 60 to train, 20 to validate, 20 to test; mopoe_dense, 5 latent dimensions (of 5 to 7, by "
        "cross-validation), batch 16, at most 200 epochs, stops after"
    )


def test_data_that_are_passed_choose_whatever_they_are_called(data):
    mine = replace(pv.datasets.load("arrays", data=data), name="mine")
    chosen, released = (make_plan(config.with_(metrics="none"), mine) for config in (OPEN_OBJECT, pv.RunConfig()))
    assert (chosen.config.dataset, chosen.config.method) == ("mine", "mopoe_dense")
    assert (released.config.method, *released.config.sizes) == tuple(RELEASED.values())
    assert make_plan(chosen.config, mine).run_id == chosen.run_id


def test_weights_that_fill_in_best_are_kept(data, tmp_path):
    result = pv.run(pv.RunConfig(data=data, epochs=4, metrics="none"), tmp_path / "store")
    assert result.record.resolved.chosen["best_by"] == "imputation"
    lines = pv.RunStore(tmp_path / "store").history(result.run_id)
    errors = [line["validation"]["error"] for line in lines]
    assert all(np.isfinite(errors))
