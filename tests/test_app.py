"""The page on which a model is asked."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import polyvae as pv
from polyvae import InputError, RunConfig, app
from polyvae.cli import main

TINY = {"epochs": 1, "latent_dim": 2, "batch_size": 16, "metrics": "none", "network": "mlp"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rng = np.random.default_rng(0)
    kinds = np.arange(40) % 4
    data = {
        "image": rng.integers(0, 255, (40, 5, 6), np.uint8),
        "kind": kinds,
        "table": rng.standard_normal((40, 3)),
    }
    place = tmp_path_factory.mktemp("app")
    np.savez(place / "mine.npz", **data)
    return pv.run(RunConfig(dataset="arrays", data=str(place / "mine.npz"), **TINY), place / "runs")


@pytest.fixture(scope="module")
def world(run):
    rows = pv.datasets.load("arrays", data=run.record.config.data, split="test")
    return run.load(), rows


def test_an_answer_has_what_the_row_has_and_draws_that_the_seed_repeats(world):
    model, rows = world
    first = app.answer(model, rows, 2, ["image"], 5, 0)
    for name, (has, drawn) in first.items():
        assert drawn.shape == (5, *has.shape[1:])
        torch.testing.assert_close(has[0], rows.rows([2]).values[name][0].float() / (255 if name == "image" else 1))
        assert not torch.equal(drawn[0], drawn[1])
        assert torch.equal(app.answer(model, rows, 2, ["image"], 5, 0)[name][1], drawn)
        assert not torch.equal(app.answer(model, rows, 2, ["image"], 5, 1)[name][1], drawn)
    prior = app.answer(model, rows, 2, [], 5, 0)
    assert torch.equal(app.answer(model, rows, 3, [], 5, 0)["image"][1], prior["image"][1])


def test_what_a_row_lacks_is_not_shown_and_cannot_be_given(world):
    model, rows = world
    present = rows.present.clone()
    present[1, 0] = False
    lacking = replace(rows, present=present)
    assert app.answer(model, lacking, 1, ["kind"], 2, 0)["image"][0] is None
    with pytest.raises(InputError, match="row 1 has no image"):
        app.answer(model, lacking, 1, ["image"], 2, 0)


def test_values_are_shown_as_pictures_shares_and_lines(world):
    model, rows = world
    image, kind, table = model.modalities
    answers = app.answer(model, rows, 0, ["table"], 9, 0)
    (picture,) = app.shown(image, answers["image"][0])
    assert picture.shape == (5, 6, 3)
    assert np.array_equal(picture[..., 0], rows.values["image"][0, 0].numpy())
    shares = app.shown(kind, answers["kind"][1])
    assert sum(shares.values()) == pytest.approx(1)
    lines = np.array(app.shown(table, answers["table"][1]))
    assert lines.shape == (3, 4)
    assert (lines[:, 2] < lines[:, 3]).all()
    np.testing.assert_allclose(lines[:, 1], answers["table"][1].mean(0), atol=1e-3)
    assert app.shown(table, None) is None


def test_classes_and_features_are_called_what_the_data_call_them(world):
    _, kind, table = world[0].modalities
    values = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0]])
    assert app.shown(kind, values) == {"0": 0.5, "1": 0, "2": 0.5, "3": 0}
    kinds = ("ant", "bee", "cat", "dog")
    assert app.shown(replace(kind, feature_names=kinds), values) == dict(zip(kinds, (0.5, 0, 0.5, 0), strict=True))
    lines = app.shown(replace(table, feature_names=("weight", "height", "age")), torch.ones(2, 3))
    assert lines == [[name, 1, 1, 1] for name in ("weight", "height", "age")]


def test_only_this_machine_reaches_the_page_unless_it_is_said(run, monkeypatch, capsys):
    launched = []
    monkeypatch.setattr(app, "page", lambda *asked: SimpleNamespace(launch=lambda **said: launched.append(said)))
    command = ["serve", str(run.folder), "--port", "7999"]
    main(command)
    main([*command, "--host", "0.0.0.0", "--data", run.record.config.data])
    assert [said["server_name"] for said in launched] == ["127.0.0.1", "0.0.0.0"]
    assert not any(said["share"] for said in launched)
    assert "http://127.0.0.1:7999" in capsys.readouterr().out


def test_the_page_has_a_part_for_every_modality(world, monkeypatch):
    pytest.importorskip("gradio")
    blocks = app.page(*world, "a run")
    labels = [part.label for part in blocks.blocks.values() if getattr(part, "label", None)]
    assert labels.count("in the data") == labels.count("by the model") == 3


def test_without_gradio_it_says_how_to_get_it(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"pip install 'polyvae\[app\]'"):
        app.page(*world, "a run")
