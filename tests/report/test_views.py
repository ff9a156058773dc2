"""Figures of tables in the report."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest

from polyvae import InputError, RunStore
from polyvae.cli import main
from polyvae.report import write_report
from polyvae.report.reading import read_run
from polyvae.report.runs import Series
from polyvae.report.style import Look
from polyvae.report.views import codes, plane
from polyvae.runs import upkeep
from polyvae.schema import CodeFile
from support.stores import add_run

CODES = [{"x": i / 7, "y": -i / 5, "label": i % 3} for i in range(30)]
VIEWS = {
    "codes": CODES,
    "cells": {
        "m0": [{"truth": i / 3, "mean": i / 4, "low": i / 4 - 1, "high": i / 4 + 1} for i in range(10)],
        "m1": [],
    },
    "patterns": [{"present": ["m0"], "rows": 1234}, {"present": ["m0", "m1"], "rows": 56}],
}


@pytest.fixture
def store(tmp_path) -> RunStore:
    return RunStore(tmp_path / "runs")


def add(store: RunStore, views: dict) -> str:
    run_id = add_run(store, "mopoe")
    (store.folder(run_id) / "views.json").write_text(json.dumps(views))
    return run_id


def test_the_page_shows_codes_cells_and_patterns(store, tmp_path):
    add(store, VIEWS)
    add_run(store, "mvae")
    page = write_report(store, tmp_path / "report").read_text()
    for text in ("codes of MoPoE-VAE", "m0, true (sd)", "intervals hold 1.00 of 10 cells", "1,234"):
        assert text in page
    assert "codes of MVAE" not in page
    drawn = {path.name.split("-")[0] for path in (tmp_path / "report/figures").glob("*.svg")}
    assert {"codes", "cells", "patterns"} <= drawn


def test_the_legend_names_classes_where_they_have_names(store, tmp_path):
    add(store, VIEWS | {"label_names": ["T cell", "B cell", "NK cell"]})
    page = write_report(store, tmp_path / "report").read_text()
    assert all(name in page for name in ("T cell", "B cell", "NK cell"))


@pytest.mark.parametrize("labels", [[None] * 30, [0] * 30, list(range(30)), [-1, 1] * 15])
def test_codes_of_any_classes_are_drawn(labels):
    series = Series("MoPoE-VAE", Look("MoPoE-VAE", "#009e73", "D"), "mopoe", (), None)
    figure = codes(*plane(CODES), series, labels)
    (axes,) = figure.axes
    drawn = [len(line.get_xdata()) for line in axes.lines] + [len(dots.get_offsets()) for dots in axes.collections]
    assert sum(drawn) == 30


@pytest.mark.parametrize(("labels", "pictures"), [({}, 2), ({"label": None}, 1)])
def test_codes_are_coloured_by_their_covariate_and_by_class_where_they_have_one(store, tmp_path, labels, pictures):
    levels = {"covariate": "site", "levels": ["Oslo", "Rome"]}
    add(store, VIEWS | levels | {"codes": [code | labels | {"level": i % 2} for i, code in enumerate(CODES)]})
    page = write_report(store, tmp_path / "report").read_text()
    assert all(name in page for name in ("site", "Oslo", "Rome"))
    assert len(list((tmp_path / "report/figures").glob("codes-*.svg"))) == pictures


@pytest.mark.parametrize(("count", "further", "by_umap"), [(60, 1, True), (49, 1, False), (60, 0, False)])
def test_codes_are_placed_by_umap_where_it_is_installed_and_has_enough(count, further, by_umap, monkeypatch):
    class UMAP:
        def __init__(self, **settings):
            assert settings["random_state"] == 0

        def fit_transform(self, codes):
            return -codes[:, 1:]

    module = ModuleType("umap")
    module.UMAP, module.__spec__ = UMAP, ModuleSpec("umap", None)
    monkeypatch.setitem(sys.modules, "umap", module)
    points = [CodeFile(x=i, y=2 * i, further=[3 * i] * further, label=None) for i in range(count)]
    places, names = plane(points)
    np.testing.assert_array_equal(places, [[-2 * i, -3 * i] if by_umap else [i, 2 * i] for i in range(count)])
    assert names == (("UMAP 1", "UMAP 2") if by_umap else ("first principal component", "second"))


def test_codes_of_different_lengths_leave_the_run_out_in_one_sentence(store, tmp_path, capsys):
    add(store, VIEWS | {"codes": [*CODES, CODES[0] | {"further": [1.0]}]})
    add_run(store, "mvae")
    assert main(["report", "--store", str(store.root), "--out", str(tmp_path / "report")]) is None
    said = capsys.readouterr().err
    assert "views.json is damaged (its codes is [{...}, " in said
    assert "it must be codes with equally many components); delete it" in said
    assert "MVAE" in (tmp_path / "report/index.html").read_text()


@pytest.mark.parametrize(
    "damage",
    [
        {"codes": [{"x": 1.0}]},
        {"cells": {"m0": [{"truth": "a"}]}},
        {"patterns": 3},
    ],
)
def test_tables_of_another_form_are_damaged(store, damage):
    run_id = add(store, VIEWS | damage)
    with pytest.raises(InputError, match=r"views\.json is damaged"):
        read_run(store, run_id)
    assert any("views.json is damaged" in found.problem for found in upkeep.check(store))
    assert read_run(store, add_run(store, "mvae")).views is None
