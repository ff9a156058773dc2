"""`polyvae watch`: what runs are doing, from their files alone."""

import os
import re
import time
from contextlib import closing
from pathlib import Path

import pytest

from polyvae import RunConfig, RunStore, files
from polyvae.cli import main
from polyvae.cli import watch as command
from polyvae.cli.watch import sparkline
from polyvae.runs import watching
from polyvae.runs.plan import make_plan
from polyvae.runs.run import steps_of
from polyvae.runs.watching import sights
from support.stores import put
from support.sweeping import TINY


@pytest.fixture(scope="module")
def half_done(tmp_path_factory, shared_cache):
    """(store, run id) of a run that was stopped after 22 of 48 steps, and left a checkpoint."""
    store = RunStore(tmp_path_factory.mktemp("watched"))
    plan = make_plan(TINY.with_(epochs=12))
    with closing(steps_of(plan, store)) as taken:
        for _ in range(22):
            next(taken)
    return store, plan.run_id


def age(folder, seconds):
    """As if nothing had been written for so long."""
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def test_a_run_is_running_while_a_process_holds_it_and_then_waits(half_done):
    store, run_id = half_done
    age(store.folder(run_id), 1000)
    with store.lock(run_id, wait=True):
        (sight,) = sights(store)
    assert (sight.run_id, sight.state, sight.note) == (run_id, "running", "")
    (sight,) = sights(store)
    history = store.history(run_id)
    assert sight.state == "waiting"
    assert (len(history), sight.step, sight.steps) == (5, 22, 48), "the checkpoint knows more than the history"
    assert sight.losses == tuple(line["loss"] for line in history)
    pace = sum(line["seconds"] for line in history[-5:]) / 20
    assert sight.left == pytest.approx(26 * pace)


def test_a_lock_may_go_while_it_is_looked_at(half_done, monkeypatch):
    store, run_id = half_done
    age(store.folder(run_id), 1000)
    lock, is_file = store.root / ".locks" / run_id, Path.is_file
    lock.unlink(missing_ok=True)
    monkeypatch.setattr(Path, "is_file", lambda path: path == lock or is_file(path))
    assert [sight.state for sight in sights(store)] == ["waiting"]


def test_where_locks_are_not_seen_a_fresh_file_tells(half_done, monkeypatch, tmp_path):
    store, run_id = half_done
    monkeypatch.setattr(watching, "LOCKS", tmp_path / "none")
    age(store.folder(run_id), 10)
    (sight,) = sights(store)
    assert sight.state == "running"
    assert "a process that this machine does not show" in sight.note
    (store.folder(run_id) / "model.safetensors").touch()
    assert sights(store)[0].state == "scoring"
    (store.folder(run_id) / "model.safetensors").unlink()


def test_watching_writes_nothing_and_takes_no_lock(half_done, monkeypatch, capsys):
    store, run_id = half_done

    def refused(*arguments, **options):
        raise AssertionError("a lock or a file")

    for name in ("lock", "atomic"):
        monkeypatch.setattr(files, name, refused)
    main(["watch", "--store", str(store.root)])
    shown = capsys.readouterr().out
    assert run_id in shown
    assert "███░░░ 46%" in shown


def test_failures_come_with_their_reason_and_finished_runs_last(tmp_path, capsys):
    store = RunStore(tmp_path)
    names = [put(store, seed=seed) for seed in range(12)]
    failed = put(store, "failed", seed=99)
    broken = RunConfig(seed=100).run_id()
    store.begin(broken, RunConfig(seed=100))
    (store.folder(broken) / "history.jsonl").write_text("{")
    seen = sights(store)
    assert [sight.state for sight in seen] == ["failed", "damaged", *["done"] * 12]
    main(["watch", "--once", "--store", str(store.root)])
    shown = capsys.readouterr().out
    assert re.search(rf"^ ?{failed} +failed +took 4 s$", shown, re.M)
    assert f"\n{failed}: loss is not finite\n" in shown
    assert "history.jsonl is damaged" in shown
    assert shown.count("took 4 s") == 11
    assert sum(name in shown for name in names) == 10
    assert "1 failed, 1 damaged, 12 done (the 10 latest are shown)" in shown


def test_finished_runs_are_read_once(tmp_path, monkeypatch):
    store, ended = RunStore(tmp_path), {}
    put(store, seed=0)
    first = sights(store, ended)
    monkeypatch.setattr(watching.Record, "read", None)
    assert sights(store, ended) == first


def test_a_sparkline_runs_from_the_lowest_to_the_highest():
    assert sparkline([7, 6, 5, 4, 3, 2, 1, 0]) == "█▇▆▅▄▃▂▁"
    assert sparkline([3, 3]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline(range(1000), 8) == "▁▂▃▄▅▆▇█"


def test_ctrl_c_ends_it_and_is_no_error(tmp_path, monkeypatch, capsys):
    put(RunStore(tmp_path), seed=0)
    looks = []

    def interrupted(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(command.Terminal, "is_redrawn", True)
    monkeypatch.setattr(command.time, "sleep", interrupted)
    main(["watch", "--store", str(tmp_path), "--seconds", "5"])
    assert looks == [5.0, 5.0]
    assert "1 done" in capsys.readouterr().out


def test_a_store_that_is_not_there_is_named(tmp_path, capsys):
    for arguments, said in ((["--store", str(tmp_path / "x")], "there is no store"), (["--seconds", "0"], "--seconds")):
        with pytest.raises(SystemExit) as status:
            main(["watch", *arguments])
        assert status.value.code == 2
        assert said in capsys.readouterr().err
