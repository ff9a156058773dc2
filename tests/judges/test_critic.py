"""Critics: they find partners, the same each time, and refuse changed files."""

import pytest
import torch

from polyvae import InputError, datasets, files
from polyvae.judges import critic as critics
from polyvae.judges.critic import contrast, critic_for, critic_path
from polyvae.metrics.label_free import own_ranks


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
