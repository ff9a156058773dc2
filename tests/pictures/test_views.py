"""What a run leaves of its tables for a report."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import polyvae as pv
from polyvae import RunConfig, files
from polyvae.models import MultimodalVAE
from polyvae.pictures.views import CELLS, ROWS, write_views
from polyvae.runs.plan import make_plan
from polyvae.schema import ViewsFile

TINY = {"epochs": 1, "latent_dim": 3, "batch_size": 16, "metrics": "none", "train_size": 80, "test_size": 60}


@pytest.fixture(scope="module")
def world():
    """(model, test rows, training rows) of two tables, untrained."""
    plan = make_plan(RunConfig(dataset="toy", modalities=2, method="mvae", **TINY))
    return plan.build().eval(), plan.test, plan.train


def test_codes_are_the_principal_components_of_posterior_means(world, tmp_path):
    model, test, train = world
    assert isinstance(model, MultimodalVAE)
    named = {"label_names": ["a", "b", "c"]}
    labelled = replace(test, labels=torch.arange(len(test)) % 3, info=dict(test.info) | named)
    written = write_views(model, labelled, train, tmp_path / "views.json")
    assert files.read_object(tmp_path / "views.json", ViewsFile) == written
    with torch.no_grad():
        means = model.embed(test.batch(slice(None))).double().numpy()
    components = np.array([[code["x"], code["y"], *code["further"]] for code in written["codes"]])
    np.testing.assert_allclose(np.abs(components), np.abs(PCA(3).fit_transform(means)), atol=2e-4)
    assert [code["label"] for code in written["codes"]] == labelled.labels.tolist()
    assert written.get("label_names") == named["label_names"]


def test_codes_name_the_level_of_their_covariate(tmp_path):
    rng = np.random.default_rng(0)
    table = {
        "a": rng.normal(size=(90, 3)),
        "b": rng.normal(size=(90, 2)),
        "site": np.array(["Oslo", "Rome", "Kyiv"] * 30),
    }
    train, test = (pv.datasets.load("arrays", data=table, split=split, covariate="site") for split in ("train", "test"))
    result = pv.run(RunConfig(dataset="arrays", epochs=1, metrics="none"), tmp_path, data=train, test=test)
    views = files.read_object(result.folder / "views.json", ViewsFile)
    assert (views["covariate"], views["levels"]) == ("site", ["Kyiv", "Oslo", "Rome"])
    assert [views["levels"][code["level"]] for code in views["codes"]] == table["site"][test.ids].tolist()


def test_cells_are_of_the_rows_and_their_own_modality_is_not_given(world, tmp_path):
    model, test, train = world
    first = write_views(model, test, train, tmp_path / "views.json")["cells"]
    assert set(first) == {"m0", "m1"}
    known = {round(value, 4) for value in test.values["m0"].flatten().tolist()}
    assert {cell["truth"] for cell in first["m0"]} <= known
    assert len(first["m0"]) == min(CELLS, ROWS * 4)
    assert all(cell["low"] <= cell["high"] for cells in first.values() for cell in cells)
    moved = replace(test, values={**test.values, "m0": test.values["m0"] + 7})
    second = write_views(model, moved, train, tmp_path / "views.json")["cells"]["m0"]
    for before, after in zip(first["m0"], second, strict=True):
        assert after["truth"] == pytest.approx(before["truth"] + 7, abs=1e-3)
        assert {**after, "truth": 0} == {**before, "truth": 0}


def test_patterns_count_the_training_rows(world, tmp_path):
    model, test, train = world
    present = torch.ones_like(train.present)
    present[:30, 0], present[70:, 1] = False, False
    written = write_views(model, test, replace(train, present=present), tmp_path / "views.json")
    assert written["patterns"] == [
        {"present": ["m0", "m1"], "rows": 40},
        {"present": ["m1"], "rows": 30},
        {"present": ["m0"], "rows": 10},
    ]
    assert write_views(model, test, train, tmp_path / "views.json")["patterns"] == []


@pytest.mark.parametrize("method", ["jnf", "mld", "mmvae_plus", "unimodal"])
def test_models_of_every_kind_leave_what_they_have(method, tmp_path):
    special = {
        "unimodal": {"only": "m0"},
        "mld": {"method_options": "steps=2"},
        "jnf": {"method_options": "iterations=2"},
    }
    config = RunConfig(dataset="toy", modalities=2, method=method, **TINY, **special.get(method, {}))
    result = pv.run(config, tmp_path)
    assert result.notes == {}
    views = files.read_object(result.folder / "views.json", ViewsFile)
    assert bool(views["codes"]) == (method != "mld")
    assert bool(views["cells"]) == (method != "unimodal")


def test_a_run_without_tables_of_numbers_leaves_none(tmp_path):
    assert not (pv.run(RunConfig(dataset="symbols", **TINY), tmp_path).folder / "views.json").exists()
