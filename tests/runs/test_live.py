"""A tracker is told of runs under way, which do not notice it."""

import sys

import pytest

import polyvae as pv
from polyvae import InputError, RunStore
from polyvae.cli import main
from polyvae.runs import live, trackers
from polyvae.runs.trackers import point
from polyvae.sweeps import sweep as sweeps
from support.sweeping import CONFIGS, TINY, identity
from support.trackers import Recorded, fake_trackio, fake_wandb

CONFIG = TINY.with_(epochs=13)  # 52 steps
RUN = "run --dataset toy --modalities 2 --train-size 64 --test-size 20 --batch-size 16 --epochs 13 --latent-dim 3"
COMMAND = [*RUN.split(), "--metrics", "bound", "--quiet", "--store"]


@pytest.fixture
def told(monkeypatch):
    """The runs of a tracker in place of wandb."""
    kind, told = Recorded.kind()
    monkeypatch.setitem(trackers.TRACKERS, "wandb", kind)
    return told


def losses(points):
    return [(step, numbers["train/loss"]) for step, numbers in points if "step/loss" not in numbers]


def curves(store, run_id):
    return [point(line) for line in store.history(run_id)]


def test_a_run_is_told_as_it_goes_and_does_not_notice(tmp_path, told):
    plain, store = RunStore(tmp_path / "plain"), RunStore(tmp_path / "told")
    each = {}
    pv.run(CONFIG, plain, on_step=lambda done, total, loss: each.update({done: loss}))
    seen = []
    pv.run(CONFIG, store, log="wandb", on_step=lambda done, total, loss: seen.append(len(told[0].points)))
    assert identity(plain) == identity(store), "ids, metrics, weights and history"
    (run,), (record,) = told, store.records()
    assert (run.run_id, run.settings["method"], run.end) == (record.run_id, "mopoe", "done")
    assert [p for p in run.points if "step/loss" not in p[1]] == curves(store, run.run_id)
    assert [p for p in run.points if "step/loss" in p[1]] == [(50, {"step/loss": each[50]})]
    assert run.points == sorted(run.points, key=lambda p: p[0]), "steps never fall"
    assert run.metrics == record.metrics
    assert seen == sorted(seen)
    assert 0 < seen[20] < seen[50], "while it trains, not in the end"


def test_an_interrupted_run_goes_on_in_the_tracker(tmp_path, told):
    store = RunStore(tmp_path)

    def stop(done, total, loss):
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pv.run(CONFIG, store, log="wandb", on_step=stop)
    assert (told[0].end, told[0].metrics) == ("interrupted", {})
    pv.run(CONFIG, store, log="wandb")
    assert (told[0].run_id, told[1].end) == (told[1].run_id, "done")
    early, whole = (losses(run.points) for run in told)
    assert whole == losses(curves(store, told[0].run_id))
    assert 5 < len(early) < len(whole) == 13
    assert early == whole[: len(early)]


def test_a_sweep_tells_of_its_runs_and_of_none_twice(tmp_path, told, monkeypatch):
    monkeypatch.setattr(sweeps, "_share_a_gpu", lambda plans: True)  # in this process, which is quicker
    experiment, store = tmp_path / "mine.py", RunStore(tmp_path / "runs")
    experiment.write_text(
        "from polyvae import RunConfig\n"
        f"def configs():\n    return [RunConfig(**c) for c in {[c.to_dict() for c in CONFIGS[:2]]!r}]\n"
    )
    command = ["sweep", str(experiment), "--store", str(store.root), "--workers", "2", "--quiet", "--log", "wandb"]
    main(command)
    records = store.records()
    assert sorted(run.run_id for run in told) == [record.run_id for record in records]
    for run in told:
        assert run.points == curves(store, run.run_id)
        assert run.metrics == store.record(run.run_id).metrics
    main(command)
    assert len(told) == 2


@pytest.mark.parametrize("where", ["log", "finish", "close"])
def test_a_tracker_that_fails_costs_no_run(where, tmp_path, told, monkeypatch):
    said = []

    def broken(*arguments):
        raise OSError("the network is down")

    if where == "close":
        monkeypatch.setitem(trackers.TRACKERS, "wandb", trackers.TRACKERS["wandb"]._replace(close=broken))
    else:
        monkeypatch.setattr(Recorded, where, broken)
    result = pv.run(CONFIG, tmp_path, log="wandb", say=said.append)
    assert result.record.is_done
    assert [line for line in said if "--log" in line] == [
        "--log wandb failed (the network is down): nothing more is logged, and the runs go on"
    ]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (None, r"--log wandb needs it installed .*pip install 'polyvae\[wandb\]'"),
        ("closed", "--log wandb cannot start: no key"),
    ],
)
def test_what_cannot_start_is_said_before_anything_is_computed(tmp_path, monkeypatch, module, reason):
    def closed(**how):
        raise RuntimeError("no key\nand more")

    if module:
        module = fake_wandb([])
        module.init = closed
    monkeypatch.setitem(sys.modules, "wandb", module)
    with pytest.raises(InputError, match=reason):
        pv.run(CONFIG, tmp_path, log="wandb")
    assert not list(tmp_path.glob("toy-*"))


def test_wandb_gets_its_calls_once(tmp_path, monkeypatch):
    calls, store = [], RunStore(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(calls))
    for _ in range(2):  # the second time it is finished
        main([*COMMAND, str(tmp_path), "--log", "wandb"])
    run_id = store.records()[0].run_id
    assert {name for _, name, *_ in calls[:-1]} == {run_id}
    how = calls[0][2]
    assert (how["project"], how["id"], how["resume"], how["config"]["seed"]) == ("polyvae", run_id, "allow", 0)
    assert "mode" not in how, "the user's own settings say where it goes"
    logged = [call[2:] for call in calls if call[0] == "log" and "step/loss" not in call[3]]
    assert logged == curves(store, run_id)
    assert calls[-3:] == [("summary", run_id, store.records()[0].metrics), ("finish", run_id, 0), ("teardown",)]


def test_runs_side_by_side_stay_open_in_trackio(tmp_path, monkeypatch):
    calls, store = [], RunStore(tmp_path)
    monkeypatch.setitem(sys.modules, "trackio", fake_trackio(calls))
    records = [pv.run(config, store).record for config in CONFIGS[:2]]
    with live.live("trackio", store, print) as told:
        told.poll([record.run_id for record in records])
        for record in records:
            told.finished(record)
    for record in records:
        own = [call for call in calls if call[1] == record.run_id]
        assert [call[0] for call in own] == ["init", *["log"] * 5, "finish"]
        assert own[-2][2:] == (17, record.metrics), "after the last step"


def test_tensorboard_reads_it_from_the_store(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    store = RunStore(tmp_path / "runs")
    main([*COMMAND, str(store.root), "--log", "tensorboard"])
    run_id = store.records()[0].run_id
    found = reader.EventAccumulator(str(store.folder(run_id))).Reload()
    expected = [(step, pytest.approx(numbers["train/loss"])) for step, numbers in curves(store, run_id)]
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == expected
    assert [event.step for event in found.Scalars("step/loss")] == [50]
    assert found.Scalars("bound/loss")[0].value == pytest.approx(store.records()[0].metrics["bound/loss"])
    main(["store", "check", "--store", str(store.root)])
