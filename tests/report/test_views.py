"""Figures of tables in the report."""

import json

import pytest

from polyvae import InputError, RunStore
from polyvae.report import write_report
from polyvae.report.reading import read_run
from polyvae.report.runs import Series
from polyvae.report.style import Look
from polyvae.report.views import codes
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
    points = [CodeFile(x=code["x"], y=code["y"], label=label) for code, label in zip(CODES, labels, strict=True)]
    figure = codes(points, Series("MoPoE-VAE", Look("MoPoE-VAE", "#009e73", "D"), "mopoe", (), None))
    (axes,) = figure.axes
    drawn = [len(line.get_xdata()) for line in axes.lines] + [len(dots.get_offsets()) for dots in axes.collections]
    assert sum(drawn) == 30


@pytest.mark.parametrize("damage", [{"codes": [{"x": 1.0}]}, {"cells": {"m0": [{"truth": "a"}]}}, {"patterns": 3}])
def test_tables_of_another_form_are_damaged(store, damage):
    run_id = add(store, VIEWS | damage)
    with pytest.raises(InputError, match=r"views\.json is damaged"):
        read_run(store, run_id)
    assert any("views.json is damaged" in found.problem for found in upkeep.check(store))
    assert read_run(store, add_run(store, "mvae")).views is None
