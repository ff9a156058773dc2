"""Text of users on its way to a terminal, a page, a table, a file name."""

import csv
import os
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from polyvae import InputError, Record, RunConfig, RunStore, escapes
from polyvae.cli import main
from polyvae.cli.common import Terminal, say, table_of
from polyvae.report import write_report
from polyvae.runs.plan import device_named
from polyvae.runs.record import Resolved

NASTY = "[/x][bold]\x1b[31m:smile:\x07\u202e<b>&\ud800"


def test_a_terminal_obeys_nothing(capsys):
    shown = table_of(NASTY)
    shown.add_row(NASTY)
    Terminal(width=200).print(shown)
    Terminal(width=200).print(NASTY)
    say(NASTY)
    out = capsys.readouterr().out
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out)
    assert out.count(r"[/x][bold]\x1b[31m:smile:\x07\u202e<b>&\ud800") == 4
    assert escapes.terminal("two\nlines\tßé") == "two\nlines\tßé"


def test_a_spreadsheet_computes_nothing(tmp_path):
    record = Record.failed("=cmd", RunConfig(), "@SUM(1)", metrics={"-1+2": -3.0})
    RunStore(tmp_path / "runs").finish(record)
    main(["records", "--store", str(tmp_path / "runs"), "--out", str(tmp_path / "x.csv")])
    (row,) = csv.DictReader((tmp_path / "x.csv").read_text().splitlines())
    assert (row["run_id"], row["error"], row["'-1+2"]) == ("'=cmd", "'@SUM(1)", "-3.0")


def test_file_names_fit_and_differ():
    assert escapes.file_name("conditional_m0_m1") == "conditional_m0_m1"
    long = [escapes.file_name("ä" * 300 + end) for end in "ab"]
    assert len(set(long)) == 2
    assert max(len(name.encode()) for name in long) <= escapes.MOST_BYTES
    assert escapes.file_name("../x") == "_.._x"
    run_id = RunConfig(dataset="x" * 400, method="a/../b").run_id()
    assert len(run_id) < 240
    assert "/" not in run_id


def test_labels_are_seen_and_differ():
    assert escapes.label("mine") == "mine"
    assert escapes.label("_mine") == " _mine"
    long = {escapes.label("x" * 200 + end) for end in "ab"}
    assert {len(label) for label in long} == {escapes.LABEL}
    assert len(long) == 2


def test_figures_and_pages_are_well_formed_and_do_not_overwrite_each_other(tmp_path):
    store = RunStore(tmp_path / "runs")
    metrics = {"bound/loss": 2.0, "coherence/leave_one_out": 0.5, "frechet/digits/unconditional/m0": 10.0}
    for place, dataset in enumerate(("日本", "中国", "a\x1b\x08b", 'c href="#x" url(#y #1c1e22')):
        config = RunConfig(dataset=dataset, method=f"m\x1b{place}")
        record = Record(
            run_id=f"r{place}", config=config, status="done", metrics=metrics, resolved=Resolved(modalities=("m0",))
        )
        store.finish(record)
    page = write_report(store, tmp_path / "report").read_text()
    figures = list((tmp_path / "report" / "figures").glob("trade-off-*.svg"))
    assert len(figures) == 4
    for figure in figures:
        ElementTree.parse(figure)
    ids = re.findall(r'(?<![\w-])id="([^"]*)"', page)
    assert len(set(ids)) == len(ids)
    assert not re.search("[\x00-\x08\x0b-\x1f]", page)
    assert "c href=&#34;#x&#34; url(#y #1c1e22" in page


@pytest.mark.parametrize("device", ["privateuseone", "cpu:9", "cpu:0", "meta", "CPU", "cuda:-1", "x" * 50])
def test_devices_are_refused_by_name(device):
    with pytest.raises(InputError, match=f"--device {device}"):
        device_named(device)


LONG = "1" * 30
OUT_IS_A_FOLDER = (
    ["records"],
    ["claims"],
    ["compare", "a", "b"],
    ["generate", "a"],
    ["impute", "a", "--data", "x.npz"],
    ["theory", "discrepancy", "xor"],
    ["data", "preview", "toy"],
)
SEEDED = (
    ["generate", "toy"],
    ["impute", "toy", "--data", "x.npz"],
    ["fit-prior", "toy"],
    ["theory", "discrepancy", "xor"],
    ["data", "info", "toy"],
    ["run", "--dataset", "toy"],
)
OF_A_RUN = (
    ["generate"],
    ["impute", "--data", "x.npz"],
    ["fit-prior"],
    ["theory", "audit"],
    ["evaluate"],
    ["compare", "toy-a"],
)


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as status:
        main(arguments)
    assert status.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    np.savez("x.npz", m0=np.ones((2, 16)))
    store = RunStore("runs")
    for name in ("toy-a", "toy-b"):
        store.begin(name, RunConfig())
        store.finish(Record(run_id=name, config=RunConfig(), status="done"))


@pytest.mark.parametrize("command", OUT_IS_A_FOLDER, ids=" ".join)
def test_out_that_is_a_folder_is_refused_by_every_command(command, place, capsys):
    assert "--out folder.npz is a folder" in refused([*command, "--out", "folder.npz"], capsys)


def test_out_that_is_a_pipe_is_not_replaced(place, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.json")
    for command in (["claims"], ["theory", "discrepancy", "xor"], ["data", "preview", "toy"]):
        assert "--out pipe.json is a pipe or a device" in refused([*command, "--out", "pipe.json"], capsys)
    assert (tmp_path / "pipe.json").is_fifo()


SIZES = (
    (["theory", "discrepancy", "xor", "--modalities", "1" * 30], "--modalities is 1"),
    (["theory", "discrepancy", "xor", "--modalities", "1000"], "at most 32 axes"),
    (["theory", "tradeoff", "xor", "--points", "1" * 30], "at most 1,000"),
    (["data", "info", "toy", "--size", "1" * 30], "below 2^31"),
    (["sweep", "quick", "--dry-run", "--workers", "0"], "--workers is 0"),
    (["sweep", "quick", "--dry-run", "--cpus", "nan"], "--cpus is nan"),
    (["store", "copy", "--store", "nowhere", "--out", "copy"], "there is no store nowhere"),
    (["store", "copy", "--store", "runs", "--out", "folder.npz/../runs"], "is the store itself"),
    (["theory", "floors", "--store", "nowhere"], "there is no store nowhere"),
    (["records", "--columns", "a\0b"], r"control character '\x00'"),
    (["run", "--posterior", "\x1b[31m"], r"control character '\x1b'"),
)


@pytest.mark.parametrize(
    ("command", "reason"), SIZES, ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else ""
)
def test_what_no_command_can_do_is_told_at_once(command, reason, place, capsys):
    assert reason in refused(command, capsys)


@pytest.mark.parametrize("command", SEEDED, ids=" ".join)
def test_a_seed_of_thirty_digits_is_refused_by_every_command(command, place, capsys):
    assert f"--seed is {LONG}" in refused([*command, "--seed", LONG], capsys)


@pytest.mark.parametrize("command", OF_A_RUN, ids=" ".join)
def test_the_start_of_several_run_ids_is_refused_by_every_command(command, place, capsys):
    assert "2 runs start with 'toy'" in refused([*command, "toy"], capsys)


@pytest.mark.parametrize("command", [["evaluate", "toy-a"], ["run", "--dataset", "toy"]], ids=" ".join)
def test_none_and_other_metrics_are_refused_by_every_command(command, place, capsys):
    assert "names none, and others too" in refused([*command, "--metrics", "all,none"], capsys)
