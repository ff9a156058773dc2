"""Scores added to a finished run, and what they need beside a model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polyvae import InputError, RunConfig, RunStore, metrics, run
from polyvae.cli import main
from polyvae.runs.evaluation import evaluation_of
from polyvae.runs.finished import evaluate
from polyvae.runs.plan import make_plan
from support.slow import slow_unless

TOY = RunConfig(dataset="toy", modalities=3, train_size=300, test_size=60, epochs=1, latent_dim=2, metrics="bound")


def test_evaluate_adds_to_the_record_and_keeps_what_was_there(tmp_path):
    first = run(TOY, tmp_path)
    record = evaluate(first.run_id, "latent,imputation", RunStore(tmp_path))
    assert record.metrics.items() >= first.metrics.items()
    assert {key.split("/")[0] for key in record.metrics} == {"bound", "latent", "imputation"}
    assert record.resolved.metrics == ("bound", "latent", "imputation")
    assert RunStore(tmp_path).record(first.run_id) == record
    again = evaluate(first.run_id, "latent", RunStore(tmp_path))
    assert again.metrics == record.metrics, "the same seed gives the same numbers"


def test_everything_that_a_table_allows(tmp_path, capsys, hasty):
    result = run(TOY.with_(metrics="none"), tmp_path)
    main(["evaluate", result.run_id, "--store", str(tmp_path)])
    record = RunStore(tmp_path).record(result.run_id)
    kinds = {key.split("/")[0] for key in record.metrics}
    assert kinds >= {"bound", "latent", "imputation", "log_likelihood", "label_free"}
    assert record.notes["coherence"] == "data set 'toy' has no labels"
    assert record.notes["frechet"] == "there is no judge for data set 'toy'"
    assert record.notes["linear_probe"] == "data set 'toy' has no labels"
    assert "bound/loss" in capsys.readouterr().out


@pytest.mark.parametrize("method", slow_unless(lambda method: method == "mmvae", ["mvae", "mmvae"]))
def test_no_metric_loses_a_run_whose_data_have_gaps(method, tmp_path, hasty):
    """No row is complete, one class is rare: what cannot be scored says why, all else is scored."""
    rng = np.random.default_rng(0)
    shown = np.arange(300) % 2 == 0
    label = np.where(np.arange(300) < 3, 7, rng.integers(0, 2, 300))
    picture = rng.random((300, 8, 8)).astype(np.float32)
    np.savez(
        tmp_path / "gaps.npz",
        **{"a": rng.normal(size=(300, 3)), "a.mask": shown, "b": picture, "b.mask": ~shown, "label": label},
    )
    config = RunConfig(dataset="arrays", data=str(tmp_path / "gaps.npz"), epochs=1, latent_dim=2, metrics="all")
    result = run(config.with_(method=method), tmp_path)
    assert "bound/loss" in result.metrics
    assert "log_likelihood/modality/a" in result.metrics
    assert {"label_free", "latent", "coherence"} <= set(result.notes)
    assert any(key.startswith("linear_probe/") for key in result.metrics)
    assert all(np.isfinite(list(result.metrics.values())))


def test_a_score_that_is_not_finite_is_a_note(monkeypatch, tmp_path):
    broken = replace(metrics.METRICS["latent"], measure=lambda scoring: {"latent/x": float("nan"), "latent/y": 1.0})
    monkeypatch.setitem(metrics.METRICS, "latent", broken)
    result = run(TOY.with_(metrics="bound,latent"), tmp_path)
    assert result.metrics["latent/y"] == 1
    assert result.notes["latent/x"] == "it came out as nan"
    assert "bound/loss" in result.metrics


def test_a_rescore_replaces_all_that_a_metric_said_and_nothing_else(monkeypatch, tmp_path):
    first = run(TOY.with_(metrics="bound"), tmp_path)
    store = RunStore(tmp_path)
    others = {"frechet/inception/unconditional/m0": 3.0, "prior/gmm/latent/x": 0.5}
    old = {"log_likelihood/legacy": -1.0, "latent/x": 1.0} | others
    notes = {"log_likelihood/legacy": "old", "latent/gone": "old", "frechet_inception": "kept"}
    store.finish(replace(first.record, metrics=first.metrics | old, notes=notes))
    broken = replace(metrics.METRICS["latent"], measure=lambda scoring: {"latent/x": float("nan")})
    monkeypatch.setitem(metrics.METRICS, "latent", broken)
    record = evaluate(first.run_id, "latent,log_likelihood", store)
    assert record.metrics.keys() & old.keys() == others.keys() | {"log_likelihood/legacy"}
    assert record.metrics.items() >= first.metrics.items()
    assert record.notes["log_likelihood/legacy"] == "old"
    assert record.notes["latent/x"] == "it came out as nan"
    assert "latent/gone" not in record.notes
    assert record.notes["frechet_inception"] == "kept"
    record = evaluate(first.run_id, "legacy_likelihood", store)
    assert record.metrics["log_likelihood/legacy"] != -1
    assert "log_likelihood/legacy" not in record.notes
    assert "log_likelihood/joint" in record.metrics


def test_metrics_are_taken_out_by_owner():
    facts = dict.fromkeys(
        ("prdc", "recall/judge/unconditional/a", "frechet", "frechet/judge/floor/a", "frechet/new/floor/a", "kid"), 1.0
    )
    assert list(metrics.not_of(["prdc"], facts)) == [*facts][2:]
    assert list(metrics.not_of(["frechet"], facts)) == [[*facts][i] for i in (0, 1, 4, 5)]


def test_images_get_every_key_of_the_contract(tmp_path, hasty, monkeypatch):
    monkeypatch.setattr("polyvae.judges.extractors.TRUSTED_FROM", 0.0)
    config = RunConfig(modalities=2, network="mlp", train_size=200, test_size=220, epochs=1, latent_dim=4)
    names = "coherence,frechet,kid,prdc,diversity,linear_probe,log_likelihood,latent,bound,ood,frechet_limit"
    result = run(config.with_(metrics=names + ",coherence_from_means,legacy_likelihood"), tmp_path)
    found = result.metrics
    wanted = [
        *("frechet/digits/unconditional/m0", "frechet/digits/conditional/m0/m1", "frechet/digits/floor/m1"),
        *("coherence/joint", "coherence/joint_kappa", "coherence/leave_one_out", "coherence/conditional/m1/m0"),
        *("coherence/by_inputs/1", "coherence/self/m0", "coherence/ceiling/m1", "coherence/chance"),
        *("log_likelihood/joint", "log_likelihood/conditional/m0", "log_likelihood/modality/m1"),
        *("linear_probe/m0", "linear_probe/joint", "bound/loss", "bound/distortion", "bound/rate"),
        *(f"{kind}/digits/unconditional/m0" for kind in ("precision", "recall", "density", "coverage", "kid")),
        *("diversity/digits/m0/m1", "latent/active_units/m0+m1", "log_likelihood/legacy"),
        "ood/unseen_backgrounds/leave_one_out",
        *("coherence_from_means/leave_one_out", "log_likelihood/unconditional", "log_likelihood/joint_ess"),
    ]
    assert not [key for key in wanted if key not in found]
    keys = {**found, **result.notes}
    owners = {key: [name for name, metric in metrics.METRICS.items() if metric.owns(name, key)] for key in keys}
    assert not {key: names for key, names in owners.items() if len(names) != 1}, "each key is of one metric"
    assert "220 rows; extrapolating" in result.notes["frechet_limit"]
    assert all(np.isfinite(value) for value in found.values())


def test_what_is_not_asked_for_is_not_made():
    plan = make_plan(RunConfig(modalities=2, train_size=100, test_size=30, metrics="bound"))
    found = evaluation_of(plan)
    assert found.judge is None
    assert found.critic is None
    assert found.extractors == {} == found.shifted


def test_a_missing_extractor_is_found_before_training(tmp_path, monkeypatch):
    monkeypatch.delenv("POLYVAE_INCEPTION", raising=False)
    config = RunConfig(modalities=1, train_size=30, test_size=30, metrics="frechet_inception")
    with pytest.raises(InputError, match="POLYVAE_INCEPTION"):
        run(config, tmp_path)
    assert not list(tmp_path.glob("*/record.json"))


def test_every_key_of_the_published_records_is_of_one_metric():
    records = Path(__file__).parents[2].glob("docs/results/records/*/record.json")
    keys = {key for path in records for part in ("metrics", "notes") for key in json.loads(path.read_text())[part]}
    owners = {key: [name for name, metric in metrics.METRICS.items() if metric.owns(name, key)] for key in keys}
    fitted = {key for key in keys if key.startswith("prior/")}
    assert keys
    assert {key for key, names in owners.items() if len(names) != 1} == fitted
