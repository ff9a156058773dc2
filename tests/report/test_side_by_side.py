"""Runs side by side: what differs, and their grids in one picture."""

import numpy as np
import pytest
from PIL import Image

from polyvae import InputError, RunStore
from polyvae.cli import main
from polyvae.report import side_by_side
from support.stores import PAPER, add_run


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def test_settings_that_differ_and_metrics_of_each(store):
    names = [add_run(store, "mopoe", beta=2.0, network="mlp"), add_run(store, "mvae")]
    runs = side_by_side.read(store, names)
    found = {row.name: row.values for row in side_by_side.settings(runs)}
    assert found == {"method": ["mopoe", "mvae"], "beta": [2.0, 1.0], "network": ["mlp", "auto"]}
    rows = {row.name: row.values for row in side_by_side.metrics(runs, ["coherence/leave_one_out", "frechet"])}
    assert rows["coherence/leave_one_out"] == [PAPER["mopoe"][3], PAPER["mvae"][3]]
    assert {name.split("/")[0] for name in rows} == {"coherence", "frechet"}
    alone = side_by_side.read(store, [names[0], add_run(store, "unimodal")])
    assert {row.name: row.values for row in side_by_side.metrics(alone)}["coherence/joint"] == [PAPER["mopoe"][1], None]


def test_the_picture_holds_the_grids_of_every_run(store, tmp_path):
    runs = side_by_side.read(store, [add_run(store, method, samples=True) for method in ("mopoe", "mvae", "mmvae")])
    kinds = side_by_side.picture(runs, tmp_path / "compare.png")
    assert kinds == len(runs[0].samples)
    sheet = np.asarray(Image.open(tmp_path / "compare.png"))
    for run in runs:
        grid = np.asarray(Image.open(run.samples["unconditional"]).convert("RGB"))
        height, width = grid.shape[:2]
        places = np.argwhere((sheet[: -height + 1, : -width + 1] == grid[0, 0]).all(-1))
        assert any(np.array_equal(sheet[y : y + height, x : x + width], grid) for y, x in places)


def test_the_command(store, tmp_path, capsys):
    names = [add_run(store, method, samples=True) for method in ("mopoe", "mvae")]
    where = ["--store", str(store.root), "--out", str(tmp_path / "c.png")]
    main(["compare", *names, *where])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("coherence/leave_one_out", "0.780", "0.410", "side by side"))
    store.begin("half", side_by_side.read(store, names)[0].config)
    for wrong, message in ((names[:1], "at least two runs"), ([names[0], "half"], "not finished")):
        with pytest.raises(SystemExit) as status:
            main(["compare", *wrong, *where])
        assert (status.value.code, message in capsys.readouterr().err) == (2, True)


def test_a_grid_that_is_no_picture_is_named(store, tmp_path):
    runs = side_by_side.read(store, [add_run(store, method, samples=True) for method in ("mopoe", "mvae")])
    runs[0].samples["unconditional"].write_text("nothing")
    with pytest.raises(InputError, match="is not a picture"):
        side_by_side.picture(runs, tmp_path / "c.png")
