"""Progress on a terminal and elsewhere; the table of a sweep."""

from dataclasses import replace

from polyvae import RunStore
from polyvae.cli.progress import Bar, SweepTable
from polyvae.config import RunConfig
from support.stores import measured


def test_the_table_of_a_sweep_counts_runs_by_state(tmp_path):
    listed = [RunConfig(seed=seed) for seed in range(5)]
    table = SweepTable(RunStore(tmp_path), listed, workers=2, quiet=True)
    assert table.summary(2) == "0 done, 0 failed, 2 running, 3 waiting"
    table.left_at = -100.0  # the time left is looked up every 20 seconds
    table.finished(measured(listed[0], 60.0))
    table.finished(measured(listed[1], 1.0, "broken"))
    assert table.summary(2) == "1 done, 1 failed, 2 running, 1 waiting, about 90 s left"


def test_a_sweep_says_doubts_once_and_reasons_never(tmp_path, capsys):
    listed = [RunConfig(seed=seed) for seed in range(2)]
    table = SweepTable(RunStore(tmp_path), listed, workers=1, quiet=False)
    notes = {"data/x": "row 3 is wild", "bound/loss": "no better than the mean", "coherence": "no labels"}
    for config in listed:
        table.finished(replace(measured(config, 1.0), metrics={"bound/loss": 1.0}, notes=notes))
    shown = capsys.readouterr().out
    assert shown.count("  x: row 3 is wild") == shown.count("bound/loss: no better than the mean") == 1
    assert "no labels" not in shown


def test_colours_asked_for_in_a_notebook_redraw_no_lines(monkeypatch, capsys):
    """What a cell shows is no terminal, though `!polyvae` has one: every redrawn bar would stay as a line."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with Bar(quiet=False) as bar:
        bar.say("reading")
        bar.step(1, 2, 0.5)
    assert capsys.readouterr().out == "reading\n"
