"""Runs and sweeps: nothing lost, nothing done twice, the same records however they were made."""

import signal
import sys
import time

import pytest

from polyvae import RunError, RunStore
from polyvae import run as run_single
from polyvae.cli import main
from polyvae.runs.plan import make_plan
from polyvae.sweeps.sweep import Watcher, sweep
from support.sweeping import CONFIGS, TINY, driver, identity, kill_one, workers_of


def test_a_sweep_gives_the_same_records_as_runs_one_by_one(tmp_path, undisturbed):
    store = RunStore(tmp_path / "runs")
    seen, prepared = [], []
    records = sweep(
        CONFIGS,
        store,
        workers=2,
        watcher=Watcher(lambda *what: prepared.append(what), lambda record: seen.append(record.run_id)),
    )
    kinds = {(config.dataset, config.modalities) for config in CONFIGS}
    assert [done for _, done, _ in prepared] == list(range(len(kinds)))
    assert identity(store) == undisturbed
    assert sorted(seen) == sorted(undisturbed)
    assert [record.config.method for record in records] == [config.method for config in CONFIGS]
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")}
    assert sweep(CONFIGS, store, workers=2, watcher=Watcher(on_record=seen.append)) == records
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")} == before, "nothing is done again"


def test_what_any_of_the_runs_is_scored_with_is_made_before_them(tmp_path, monkeypatch, in_this_process):
    module, prepared = sys.modules["polyvae.sweeps.sweep"], []
    monkeypatch.setattr(module, "evaluation_of", lambda plan: prepared.append(plan.metrics))
    configs = [TINY.with_(epochs=1, method=m, metrics=k) for m in ("mvae", "mopoe") for k in ("bound", "bound,latent")]
    sweep(configs, RunStore(tmp_path))
    assert prepared == [("bound",), ("bound", "latent")]


@pytest.mark.parametrize(
    ("changes", "names", "count"),
    [
        ({"data_seed": 1}, "bound", 2),
        ({"train_size": 60}, "bound", 2),
        ({"test_size": 19}, "bound", 2),
        ({"data_dir": "elsewhere"}, "bound", 2),
        ({"only": "m0,m1"}, "bound", 1),
        ({"only": "m1,m0"}, "label_free", 2),
        ({"validation_fraction": 0.2}, "label_free", 2),
        ({"likelihood_scale": "0.5"}, "label_free", 2),
        ({"seed": 1, "beta": 2.0, "method": "mvae"}, "label_free", 1),
    ],
)
def test_a_judge_and_a_critic_are_made_for_each_of_the_data_they_learn_from(
    changes, names, count, tmp_path, monkeypatch
):
    module, prepared = sys.modules["polyvae.sweeps.sweep"], []
    monkeypatch.setattr(module, "evaluation_of", prepared.append)
    monkeypatch.setattr(module._Queue, "run", lambda queue: None)
    config = TINY.with_(metrics=names)
    sweep([config, config.with_(**changes)], RunStore(tmp_path))
    assert len(prepared) == count


def test_a_sweep_that_is_stopped_while_it_prepares_goes_no_further(tmp_path, monkeypatch):
    module, prepared = sys.modules["polyvae.sweeps.sweep"], []
    monkeypatch.setattr(module, "evaluation_of", prepared.append)
    configs = [TINY.with_(data_seed=seed) for seed in range(3)]
    assert sweep(configs, RunStore(tmp_path), watcher=Watcher(is_stopping=lambda: len(prepared) == 1)) == []
    assert len(prepared) == 1


def test_a_sweep_adds_the_metrics_that_finished_runs_lack(tmp_path, in_this_process):
    store, config = RunStore(tmp_path), TINY.with_(epochs=1)
    (before,) = sweep([config], store)
    (after,) = sweep([config.with_(metrics="bound,latent")], store)
    assert before.metrics.items() < after.metrics.items()
    assert "latent/active_units/m0" in after.metrics
    (tmp_path / before.run_id / "model.safetensors").unlink()
    assert sweep([config.with_(metrics="all")], store) == [after], "a record alone is what there is"


def test_a_failed_run_that_another_sweep_does_again_ends_no_sweep(tmp_path, in_this_process):
    store, failing = RunStore(tmp_path), TINY.with_(epochs=1, learning_rate=1e30)
    (failed,) = sweep([failing], store)
    assert not failed.is_done
    other = TINY.with_(epochs=1)

    def begun_elsewhere(record):
        (tmp_path / failed.run_id / "record.json").unlink(missing_ok=True)

    records = sweep([failing, other], store, watcher=Watcher(on_record=begun_elsewhere))
    assert [record.is_done for record in records] == [False, True]


def test_a_killed_worker_is_replaced(tmp_path, undisturbed):
    store = RunStore(tmp_path / "runs")
    process = driver(store.root, CONFIGS[:1], workers=1)
    kill_one(store, process)
    process.communicate(timeout=120)
    assert process.returncode == 0
    (run_id,) = found = identity(store)
    assert found == {run_id: undisturbed[run_id]}


@pytest.mark.parametrize(
    ("status", "times", "said"),
    [(-signal.SIGKILL, 3, "process died, see its messages (exit status -9;"), (1, 1, "failed, see its messages (exit")],
)
def test_a_run_that_kills_three_workers_or_raises_in_one_is_recorded_as_failed(
    status, times, said, tmp_path, monkeypatch
):
    started = []

    def deadly(function, tasks, resources, on_poll):
        for task in tasks:
            started.append(task.run_id)
            yield task, status

    monkeypatch.setattr("polyvae.sweeps.executors.EXECUTORS", {"local": deadly})
    (record,) = sweep([TINY], RunStore(tmp_path / "runs"))
    assert started == [record.run_id] * times
    assert (record.status, said in record.error) == ("failed", True)


@pytest.mark.slow
def test_two_sweeps_on_one_store_lose_and_repeat_nothing(tmp_path, undisturbed):
    store = RunStore(tmp_path / "runs")
    both = [driver(store.root, CONFIGS, workers=1), driver(store.root, CONFIGS, workers=1)]
    outputs = [process.communicate(timeout=600)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert identity(store) == undisturbed
    assert sorted(outputs[0]) == sorted(outputs[1]) == sorted(undisturbed), "both report all runs, whoever made them"
    assert sorted((tmp_path / "begun").read_text().split()) == sorted(undisturbed), "each is begun once"


def test_a_failing_run_is_recorded_and_stops_no_other(tmp_path, in_this_process):
    """A step size that blows up: float32 overflows, the loss is not finite, the run says where."""
    store = RunStore(tmp_path / "runs")
    failing = TINY.with_(learning_rate=1e38, likelihood="normal")
    good, bad = sweep([TINY, failing], store)
    assert (good.status, bad.status) == ("done", "failed")
    assert "not finite" in bad.error
    marked = store.folder(bad.run_id) / "record.json"
    stamp = marked.stat().st_mtime_ns
    sweep([TINY, failing], store)
    assert marked.stat().st_mtime_ns == stamp, "a failed run is left alone"
    sweep([TINY, failing], store, retry_failed=True)
    assert marked.stat().st_mtime_ns > stamp
    with pytest.raises(RunError, match="not finite"):
        run_single(failing, store)


def test_a_damaged_checkpoint_fails_its_run_and_stops_no_other(tmp_path, in_this_process):
    store = RunStore(tmp_path / "runs")
    run_id = make_plan(TINY).run_id
    checkpoint = store.begin(run_id, TINY) / "checkpoint" / "state.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"x" * 100)
    bad, good = sweep([TINY, TINY.with_(seed=1)], store)
    assert (bad.status, good.status) == ("failed", "done")
    assert "state.safetensors is damaged" in bad.error
    checkpoint.unlink()
    assert sweep([TINY], store, retry_failed=True)[0].status == "done"


def test_the_command_says_which_runs_failed_with_status_1(tmp_path, capsys, in_this_process):
    experiment = tmp_path / "mine.py"
    experiment.write_text(
        "from polyvae import RunConfig\n"
        f"TINY = RunConfig.from_dict({TINY.with_(epochs=2).to_dict()!r})\n"
        "def configs(): return [TINY.with_(learning_rate=1e38, likelihood='normal'), TINY]\n"
    )
    for more in ([], ["--retry-failed"]):
        with pytest.raises(SystemExit) as status:
            main(["sweep", str(experiment), "--store", str(tmp_path / "runs"), "--workers", "2", *more])
        assert status.value.code == 1
        assert "1 of 2 runs failed" in capsys.readouterr().err
    assert len(RunStore(tmp_path / "runs").records()) == 2


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_the_sweep_goes_on_later(tmp_path, undisturbed):
    store = RunStore(tmp_path / "runs")
    process = driver(store.root, CONFIGS)
    deadline = time.monotonic() + 300
    while not workers_of(store) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=90)
    assert process.returncode != 0
    assert not workers_of(store)
    sweep(CONFIGS, store, workers=2)
    assert identity(store) == undisturbed


def test_a_record_alone_counts_as_done(tmp_path):
    store = RunStore(tmp_path / "runs")
    result = run_single(TINY, store)
    for path in result.folder.rglob("*"):
        if path.is_file() and path.name != "record.json":
            path.unlink()
    again = run_single(TINY, store)
    assert again.record == result.record
    assert not (result.folder / "model.safetensors").exists()
    assert store.existing(result.run_id[:20]) == result.folder
    assert make_plan(TINY).run_id == result.run_id
