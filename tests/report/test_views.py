"""Figures of tables in the report."""

import json

import pytest

from polyvae import InputError, RunStore
from polyvae.report import write_report
from support.stores import add_run

VIEWS = {
    "codes": [{"x": i / 7, "y": -i / 5, "label": i % 3} for i in range(30)],
    "cells": {
        "m0": [{"truth": i / 3, "mean": i / 4, "low": i / 4 - 1, "high": i / 4 + 1} for i in range(10)],
        "m1": [],
    },
    "patterns": [{"present": ["m0"], "rows": 1234}, {"present": ["m0", "m1"], "rows": 56}],
}


@pytest.fixture
def store(tmp_path) -> RunStore:
    return RunStore(tmp_path / "runs")


def add(store: RunStore, views: dict, method: str = "mopoe") -> None:
    run_id = add_run(store, method)
    (store.folder(run_id) / "views.json").write_text(json.dumps(views))


def test_the_page_shows_codes_cells_and_patterns(store, tmp_path):
    add(store, VIEWS)
    add_run(store, "mvae")
    page = write_report(store, tmp_path / "report").read_text()
    for text in ("codes of MoPoE-VAE", "m0, true (sd)", "intervals hold 1.00 of 10 cells", "1,234"):
        assert text in page
    assert "codes of MVAE" not in page
    drawn = {path.name.split("-")[0] for path in (tmp_path / "report/figures").glob("*.svg")}
    assert {"codes", "cells", "patterns"} <= drawn


@pytest.mark.parametrize("labels", [[None] * 30, [0] * 30, list(range(30)), [None, *range(29)]])
def test_codes_of_any_classes_are_drawn(store, tmp_path, labels):
    add(store, VIEWS | {"codes": [code | {"label": label} for code, label in zip(VIEWS["codes"], labels, strict=True)]})
    assert "codes of MoPoE-VAE" in write_report(store, tmp_path / "report").read_text()


def test_runs_that_left_nothing_of_tables_have_no_such_part(store, tmp_path):
    add(store, {"codes": [], "cells": {}, "patterns": []})
    assert "<h3>Tables</h3>" not in write_report(store, tmp_path / "report").read_text()


@pytest.mark.parametrize("damage", [{"codes": [{"x": 1.0}]}, {"cells": {"m0": [{"truth": "a"}]}}, {"patterns": 3}])
def test_a_run_whose_tables_are_damaged_is_left_out(store, tmp_path, damage):
    add(store, VIEWS | damage)
    add_run(store, "mvae")
    damages: list[InputError] = []
    page = write_report(store, tmp_path / "report", damages.append).read_text()
    assert "views.json is damaged" in str(damages[0])
    assert "codes of MoPoE-VAE" not in page
