"""Judges: the same weights from the same recipe, refusal of changed files, and how well the real ones read."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from polyvae import datasets, files
from polyvae.errors import InputError
from polyvae.judges import digits as judges
from polyvae.judges.digits import judge_for, judge_path


@pytest.fixture(scope="module")
def sampler():
    return datasets.sampler("polymnist", modalities=2)


@pytest.fixture(scope="module")
def test_data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return datasets.load("polymnist", split="test", modalities=2, size=60)


def test_the_same_recipe_gives_the_same_judge(hasty, sampler, test_data, tmp_path):
    torch.manual_seed(1)
    a = judge_for(sampler, test_data, tmp_path / "a")
    torch.manual_seed(2)
    state = torch.get_rng_state()
    b = judge_for(sampler, test_data, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), state)
    assert a.weights_sha256 == b.weights_sha256
    assert a.accuracy == b.accuracy


def test_a_judge_is_trained_once(hasty, sampler, test_data, tmp_path, monkeypatch):
    first = judge_for(sampler, test_data, tmp_path)
    monkeypatch.setattr(judges, "_train", None)
    again = judge_for(sampler, test_data, tmp_path)
    assert again.weights_sha256 == first.weights_sha256
    images = test_data.batch(range(20)).values["m1"]
    assert torch.equal(first.read("m1", images)[1], again.read("m1", images)[1])


def test_each_generator_and_recipe_has_its_own_judge(sampler, tmp_path, monkeypatch):
    others = [
        datasets.sampler("polymnist", modalities=3),
        datasets.sampler("translated_polymnist", modalities=2),
        datasets.sampler("repeated_polymnist", modalities=2),
        replace(sampler, labels=sampler.labels[::-1]),
    ]
    paths = {judge_path(s, tmp_path) for s in (sampler, *others)}
    assert len(paths) == 5
    assert judge_path(datasets.sampler("polymnist", modalities=2), tmp_path) in paths
    monkeypatch.setitem(judges.RECIPE, "version", 99)
    assert judge_path(sampler, tmp_path) not in paths


def test_a_changed_or_truncated_file_is_refused(hasty, sampler, test_data, tmp_path):
    judge_for(sampler, test_data, tmp_path)
    path = judge_path(sampler, tmp_path)
    content = path.read_bytes()
    weights, meta = files.read_tensors(path)
    files.write_tensors(path, {**weights, "digit.bias": weights["digit.bias"] + 1e-3}, meta)
    with pytest.raises(InputError, match="was changed since"):
        judge_for(sampler, test_data, tmp_path)
    files.write_tensors(path, {k: v for k, v in weights.items() if k != "digit.bias"}, meta)
    with pytest.raises(InputError, match="was changed since"):
        judge_for(sampler, test_data, tmp_path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is damaged"):
        judge_for(sampler, test_data, tmp_path)


def test_a_judge_reads_each_image_by_itself_whatever_its_mode(hasty, sampler, test_data, tmp_path):
    judge = judge_for(sampler, test_data, tmp_path)
    images = test_data.batch(range(30)).values["m0"]
    judge.networks["m0"].train()  # batch statistics would make rows depend on each other
    features, together = judge.read("m0", images)
    alone = torch.cat([judge.read("m0", image[None])[1] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together.sum(-1), torch.ones(30))
    assert not features.requires_grad


def test_accuracy_is_what_is_read(hasty, sampler, test_data, tmp_path):
    judge = judge_for(sampler, test_data, tmp_path)
    for name in test_data.names:
        read = judge.read(name, test_data.batch(range(60)).values[name])[1].argmax(-1)
        assert judge.accuracy[name] == pytest.approx((read == test_data.labels).double().mean().item())
    assert judge.doubt  # six steps teach nothing
    assert "at least 90 %" in judge.doubt


def test_features_see_digit_and_background(hasty, sampler, test_data, tmp_path):
    judge = judge_for(sampler, test_data, tmp_path)
    images = test_data.batch(range(10)).values["m0"]
    features, probabilities = judge.read("m0", images)
    digit, background = features.split(judges.WIDTH, -1)
    torch.testing.assert_close(judge.networks["m0"].digit(digit).softmax(-1), probabilities)
    assert judge.networks["m0"].cell(background).shape == (10, sampler.cells)


def test_a_judge_needs_labelled_test_data(hasty, sampler, test_data, tmp_path):
    with pytest.raises(InputError, match="no labels"):
        judge_for(sampler, replace(test_data, labels=None), tmp_path)
    assert not judge_path(sampler, tmp_path).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "modalities", "mean"),
    [("polymnist", 3, 0.97), ("polymnist", 5, 0.95), ("translated_polymnist", 3, 0.9)],
)
def test_real_judges_read_real_test_images(name, modalities, mean, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYVAE_CACHE", str(tmp_path))
    test = datasets.load(name, split="test", modalities=modalities)
    judge = judge_for(datasets.sampler(name, modalities=modalities), test)
    assert np.mean(list(judge.accuracy.values())) >= mean
    assert judge.doubt is None


@pytest.mark.slow
def test_every_way_of_spoiling_images_raises_the_distance(tmp_path):
    """The curves of docs/metrics.md: blur, average and swapped backgrounds, wrong digits, dropped modes."""
    tool = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "sensitivity.py"))
    sampler = datasets.sampler("polymnist", modalities=3)
    judge = judge_for(sampler, datasets.load("polymnist", split="test", modalities=3), tmp_path)
    found = tool["curves"](judge, datasets.sampler("polymnist", split="test", modalities=3), 2000)
    assert len(found) == 5
    for way, distances in found.items():
        assert (np.diff(distances) > 0).all(), f"{way}: {distances}"
