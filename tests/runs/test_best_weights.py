"""A run with validation rows is scored, used and calibrated with its best weights; the record says so."""

import json

import numpy as np
import pytest
import torch

import polyvae as pv
from polyvae import files, metrics
from polyvae.runs import finished, saving, upkeep
from polyvae.runs.store import RunStore

CONFIG = pv.RunConfig(
    dataset="toy",
    modalities=3,
    train_size=200,
    test_size=60,
    epochs=12,
    batch_size=20,
    learning_rate=0.03,
    latent_dim=4,
    validation_fraction=0.2,
    metrics="imputation",
)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return pv.run(CONFIG, tmp_path_factory.mktemp("runs"))


def same(model, weights, folder):
    tensors, _ = files.read_tensors(folder / f"{weights}.safetensors")
    return all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


def test_scores_are_those_of_the_best_weights_with_its_calibration(result):
    plan, model = finished.plan_of(result.folder), pv.load(result.folder)
    assert result.record.resolved.scored_weights == "model_best"
    assert same(model, "model_best", result.folder)
    assert not same(model, "model", result.folder), "else this run shows nothing"
    calibration = pv.load_calibration(result.folder)
    held = {"calibration": calibration, "validation": plan.validation}
    again = metrics.imputation(model, plan.test, plan.train, **held)
    assert result.metrics == pytest.approx(again)
    plain = metrics.imputation(model, plan.test, plan.train)
    assert any(again[key] != value for key, value in plain.items())
    assert calibration == metrics.calibrate(model, plan.validation, plan.train)


def test_a_start_that_training_makes_worse_is_kept(tmp_path):
    """Factor analysis of a linear model, and steps far too large: the weights before the first one are the best."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 2))
    np.savez(tmp_path / "two.npz", a=z @ rng.normal(size=(2, 5)) + rng.normal(size=(200, 5)), b=z)
    config = pv.RunConfig(data=str(tmp_path / "two.npz"), learning_rate=0.3, epochs=20, patience=3, metrics="none")
    result = pv.run(config, tmp_path / "runs")
    assert (result.record.resolved.scored_weights, result.record.resolved.best_epoch) == ("model_best", -1)
    assert same(finished.plan_of(result.folder).build(), "model_best", result.folder)
    assert len(RunStore(tmp_path / "runs").history(result.run_id)) == 3, "patience counts from the start"


def test_a_later_scoring_takes_the_same_weights_and_calibration(result):
    before = dict(result.metrics)
    record = finished.evaluate(result.run_id, "imputation", RunStore(result.folder.parent))
    assert record.metrics == pytest.approx(before)


def test_a_run_that_cannot_be_calibrated_is_kept_and_says_so(tmp_path, monkeypatch):
    def refused(*arguments, **options):
        raise pv.InputError("codes do not fit")

    monkeypatch.setattr(metrics, "calibrate", refused)
    result = pv.run(CONFIG.with_(epochs=1), tmp_path)
    assert result.record.doubts["calibration"] == "intervals are the model's own: codes do not fit"
    assert "imputation/m0+m1/m2/rmse" in result.metrics
    assert pv.load_calibration(result.folder) is None


def test_without_validation_rows_the_last_weights_count(tmp_path):
    result = pv.run(CONFIG.with_(validation_fraction=None, epochs=1), tmp_path)
    assert result.record.resolved.scored_weights == "model"
    assert pv.load_calibration(result.folder) is None
    assert same(result.load(), "model", result.folder)


def test_records_of_earlier_releases_are_of_the_last_weights(result, tmp_path):
    content = result.record.to_json()
    del content["resolved"]["scored_weights"]
    files.write_json(tmp_path / "record.json", content)
    assert saving.scored_weights(tmp_path) == "model"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda content: content["factors"]["m0"]["m1"].pop(), "'m1' has 4 features"),
        (lambda content: content["factors"].update(mine={}), "no modality 'mine'"),
        (lambda content: content["factors"]["m0"].update(m1=[-1.0] * 4), "at least 0"),
    ],
)
def test_a_changed_calibration_is_named(result, tmp_path, change, fault):
    store = RunStore(tmp_path)
    files.write_json(store.folder("x") / "config.json", {})
    for name in ("model.json", "calibration.json"):
        files.write_json(tmp_path / "x" / name, json.loads((result.folder / name).read_text()))
    content = json.loads((tmp_path / "x" / "calibration.json").read_text())
    change(content)
    files.write_json(tmp_path / "x" / "calibration.json", content)
    with pytest.raises(pv.InputError, match=fault):
        pv.load_calibration(tmp_path / "x")


def test_the_store_checks_the_calibration(result):
    store, path = RunStore(result.folder.parent), result.folder / "calibration.json"
    assert upkeep.check(store) == []
    kept = path.read_text()
    path.write_text(kept.replace("0.8", "0.9", 1))
    (problem,) = upkeep.check(store)
    assert "checksum" in problem.problem
    path.unlink()
    assert "missing" in upkeep.check(store)[0].problem
    path.write_text(kept)


def test_impute_prints_the_interval_that_was_scored(result, tmp_path, monkeypatch):
    from polyvae.cli import main

    monkeypatch.chdir(tmp_path)
    rows = finished.plan_of(result.folder).test
    np.savez("mine.npz", m0=rows.values["m0"].numpy(), m1=rows.values["m1"].numpy())
    for weights in ("auto", "model_best", "model"):
        main(["impute", str(result.folder), "--data", "mine.npz", "--weights", weights, "--out", f"{weights}.npz"])
    with np.load("auto.npz") as found, np.load("model_best.npz") as best, np.load("model.npz") as last:
        truth = rows.values["m2"].numpy()
        held = ((found["m2.low"] <= truth) & (truth <= found["m2.high"])).mean()
        assert held == pytest.approx(result.metrics["imputation/m0+m1/m2/coverage"], abs=0.05)
        np.testing.assert_array_equal(found["m2.low"], best["m2.low"])
        assert (found["m2.low"] != last["m2.low"]).any()
