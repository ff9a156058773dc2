"""What metrics need beside a model: critics, shifted inputs; and scores added to a finished run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_metrics import JUDGE, NAMES, ROWS, painted

from polyvae import InputError, RunConfig, RunStore, datasets, files, metrics, run
from polyvae.cli import main
from polyvae.datasets.polymnist.shifted import shifted
from polyvae.judges import critic as critics
from polyvae.judges import digits as judges
from polyvae.judges.critic import contrast, critic_for, critic_path
from polyvae.metrics import readings
from polyvae.metrics.label_free import own_ranks
from polyvae.metrics.readings import read_data
from polyvae.runs.evaluation import evaluation_of
from polyvae.runs.finished import evaluate
from polyvae.runs.plan import make_plan

TOY = RunConfig(dataset="toy", modalities=3, train_size=300, test_size=60, epochs=1, latent_dim=2, metrics="bound")


@pytest.fixture
def hasty(monkeypatch):
    """Judges and critics of a few steps."""
    for recipe in (judges.RECIPE, critics.RECIPE):
        monkeypatch.setitem(recipe, "steps", 6)
        monkeypatch.setitem(recipe, "batch", 32)


# ---------------------------------------------------------------- critics


def test_a_critic_finds_partners_it_was_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.setitem(critics.RECIPE, "steps", 120)
    train, test = (datasets.load("toy", split=split, modalities=3, size=600) for split in ("train", "test"))
    critic = critic_for(train, tmp_path)
    batch = test.batch(slice(0, 300))
    a, b = critic.embed("m0", batch.values["m0"]), critic.embed("m1", batch.values["m1"])
    assert own_ranks([a], b).diagonal().mean() > 0.8
    assert own_ranks([a], b.roll(1, 0)).diagonal().mean() == pytest.approx(0.5, abs=0.08)
    torch.testing.assert_close(a.norm(dim=-1), torch.ones(300))


def test_a_critic_is_trained_once_and_the_same_each_time(tmp_path, hasty, monkeypatch):
    train = datasets.load("toy", modalities=2, size=100)
    threads = torch.get_num_threads()
    first, second = critic_for(train, tmp_path / "a"), critic_for(train, tmp_path / "b")
    assert first.weights_sha256 == second.weights_sha256
    assert torch.get_num_threads() == threads
    monkeypatch.setattr(critics, "_train", None)
    assert critic_for(train, tmp_path / "a").weights_sha256 == first.weights_sha256
    assert critic_path(train, tmp_path) != critic_path(train.rows(range(99)), tmp_path)


def test_a_changed_critic_and_too_few_tuples_are_refused(tmp_path, hasty):
    train = datasets.load("toy", modalities=2, size=100)
    critic_for(train, tmp_path)
    path = critic_path(train, tmp_path)
    weights, meta = files.read_tensors(path)
    name = next(iter(weights))
    files.write_tensors(path, {**weights, name: weights[name] + 1}, meta)
    with pytest.raises(InputError, match="was changed since"):
        critic_for(train, tmp_path)
    with pytest.raises(InputError, match="only 10 training rows have all modalities"):
        critic_for(train.rows(range(10)), tmp_path)


def test_the_contrast_is_cross_entropy_among_the_batch():
    codes = torch.nn.functional.normalize(torch.randn(5, 3), dim=-1)
    scores = codes @ codes.T / critics.RECIPE["temperature"]
    expected = -(scores.softmax(-1).diagonal().log().mean() + scores.softmax(0).diagonal().log().mean()) / 2
    assert contrast(codes, codes).item() == pytest.approx(expected.item(), rel=1e-5)
    apart = torch.eye(4)
    assert contrast(apart, apart).item() < 1e-3 < contrast(apart, apart.roll(1, 0)).item()


# ---------------------------------------------------------------- inputs unlike the training data


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
    assert (only._quadrant(placed.offset) == sampler.labels[placed.digit] % 4).all()
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


# ---------------------------------------------------------------- scores of a finished run


def test_evaluate_adds_to_the_record_and_keeps_what_was_there(tmp_path):
    first = run(TOY, tmp_path)
    record = evaluate(first.run_id, "latent,imputation", RunStore(tmp_path))
    assert record.metrics.items() >= first.metrics.items()
    assert {key.split("/")[0] for key in record.metrics} == {"bound", "latent", "imputation"}
    assert record.resolved["metrics"] == ["bound", "latent", "imputation"]
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


def test_no_metric_loses_a_run_whose_data_have_gaps(tmp_path, hasty):
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
    for method in ("mvae", "mmvae"):
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
    assert "220 rows; extrapolating" in result.notes["frechet_limit"]
    assert all(np.isfinite(value) for value in found.values())


def test_real_images_are_read_once_for_all_runs(tmp_path, monkeypatch):
    data = painted()
    first = read_data(data, NAMES, range(ROWS), JUDGE, 7, tmp_path)
    monkeypatch.setattr(readings, "_read_data", None)
    again = read_data(data, NAMES, range(ROWS), JUDGE, 9, tmp_path)
    for name in NAMES:
        for a, b in zip(first[name], again[name], strict=True):
            np.testing.assert_array_equal(a, b)
    others = (
        lambda: read_data(data, NAMES, range(30), JUDGE, 7, tmp_path),
        lambda: read_data(data, NAMES, range(ROWS), replace(JUDGE, weights_sha256="other"), 7, tmp_path),
        lambda: read_data(data.rows(range(ROWS - 1, -1, -1)), NAMES, range(ROWS), JUDGE, 7, tmp_path),
    )
    for other in others:
        with pytest.raises(TypeError):
            other()


def test_what_is_not_asked_for_is_not_made(hasty):
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
