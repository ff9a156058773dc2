"""Trackers get what records hold: read back with each tracker's own reader, where it is installed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from polyvae import InputError, RunConfig, RunError, RunStore
from polyvae.cli import main
from polyvae.runs import trackers
from polyvae.runs.record import Record
from support.trackers import Recorded

METRICS = {"bound/loss": 12.5, "coherence/conditional/m0+m1/m2": 0.75}
LINE = {"epoch": 0, "step": 8, "loss": 20.0, "log_likelihood": {"m0": -7.0}, "validation": {"loss": 21.0}, "stage": "a"}


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path / "runs")
    for seed, status in ((0, "done"), (1, "done"), (2, "failed")):
        config = RunConfig(seed=seed)
        run_id = config.run_id()
        store.begin(run_id, config)
        lines = [LINE, LINE | {"epoch": 1, "step": 16, "loss": 10.0}]
        (store.folder(run_id) / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        store.finish(Record(run_id=run_id, config=config, status=status, metrics=METRICS))
    return store


def run_id(seed):
    return RunConfig(seed=seed).run_id()


@pytest.fixture
def told(monkeypatch):
    """What a tracker called `mine` is told."""
    kind, told = Recorded.kind()
    monkeypatch.setitem(trackers.TRACKERS, "mine", kind)
    return told


def test_a_tracker_is_told_settings_metrics_and_curves(store, tmp_path, told):
    assert trackers.export(store, store.records(), "mine", tmp_path / "out") == 2
    assert [run.run_id for run in told] == sorted([run_id(0), run_id(1)]), "the failed run has nothing to tell"
    run = told[0]
    assert (run.settings["dataset"], run.metrics, run.end) == ("polymnist", METRICS, "done")
    assert None not in run.settings.values()
    assert run.points[0] == (8, {"train/loss": 20.0, "train/log_likelihood/m0": -7.0, "validation/loss": 21.0})
    assert [(step, numbers["train/loss"]) for step, numbers in run.points] == [(8, 20.0), (16, 10.0)]


def test_a_run_with_a_damaged_history_takes_no_other_with_it(store, tmp_path, told):
    damages = []
    (store.folder(run_id(0)) / "history.jsonl").write_text("{")
    assert trackers.export(store, store.records(), "mine", tmp_path / "out", damages.append) == 1
    assert [run.run_id for run in told] == [run_id(1)]
    assert run_id(0) in str(damages[0])


def test_a_tracker_that_fails_is_closed_and_named(store, tmp_path, told, monkeypatch):
    closed = []
    kind = trackers.TRACKERS["mine"]._replace(open=lambda *arguments: 1 / 0, close=closed.append)
    monkeypatch.setitem(trackers.TRACKERS, "mine", kind)
    with pytest.raises(RunError, match=r"--to mine failed \(ZeroDivisionError: .* remove it and try again"):
        trackers.export(store, store.records(), "mine", tmp_path / "out")
    assert len(closed) == 1


def test_what_cannot_be_exported_is_said(store, tmp_path, monkeypatch):
    records = store.records()
    with pytest.raises(InputError, match="--to 'aim' is not a tracker; choose tensorboard, mlflow, trackio, wandb"):
        trackers.export(store, records, "aim", tmp_path / "out")
    with pytest.raises(InputError, match="is not empty"):
        trackers.export(store, records, "wandb", store.root)
    with pytest.raises(InputError, match="no finished run"):
        trackers.export(store, records[:0], "wandb", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"--to wandb needs it installed .*pip install 'polyvae\[wandb\]'"):
        trackers.export(store, records, "wandb", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def export(store: RunStore, tracker: str, out: Path) -> None:
    main(["export", "--to", tracker, "--out", str(out), "--store", str(store.root), "--where", "seed = 0"])


def test_tensorboard_reads_it_back(store, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    export(store, "tensorboard", tmp_path / "out")
    (folder,) = (tmp_path / "out").iterdir()
    found = reader.EventAccumulator(str(folder)).Reload()
    assert folder.name == run_id(0)
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [(8, 20.0), (16, 10.0)]
    assert found.Scalars("coherence/conditional/m0+m1/m2")[0].value == 0.75


def test_mlflow_reads_it_back(store, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    export(store, "mlflow", tmp_path / "out")
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "out").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("polyvae").experiment_id])
    assert (found.info.run_name, found.data.params["seed"], found.info.status) == (run_id(0), "0", "FINISHED")
    assert found.data.metrics["coherence/conditional/m0.m1/m2"] == 0.75
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(8, 20.0), (16, 10.0)]


def test_mlflow_goes_on_with_a_run_that_was_interrupted(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tmp_path.as_uri())
    client = mlflow.MlflowClient()

    def runs():
        return client.search_runs([client.get_experiment_by_name("polyvae").experiment_id])

    for steps, end, status in (([1, 2], "interrupted", "KILLED"), ([1, 2, 3], "done", "FINISHED")):
        told = trackers.TRACKERS["mlflow"].open(mlflow, "a'b", {"seed": 0}, None)
        for step in steps:
            told.log(step, {"train/loss": 10.0 - step})
        told.finish({}, end)
        (found,) = runs()
        assert found.info.status == status
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 9.0), (2, 8.0), (3, 7.0)], "no point twice"
    trackers.TRACKERS["mlflow"].open(mlflow, "a'b", {"seed": 0}, None)
    assert len(runs()) == 2, "a finished run is left as it is"


def test_wandb_keeps_it_offline(store, tmp_path):
    pytest.importorskip("wandb")
    export(store, "wandb", tmp_path / "out")
    (log,) = (tmp_path / "out").glob("wandb/offline-run-*/*.wandb")
    assert run_id(0) in log.name
    assert b"m0+m1/m2" in log.read_bytes()


def test_trackio_reads_it_back(store, tmp_path):
    """In processes of their own: where it keeps runs is settled when it is imported."""
    if find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    out = tmp_path / "out"
    command = ["export", "--to", "trackio", "--out", str(out), "--store", str(store.root), "--where", "seed = 0"]
    python(f"from polyvae.cli import main; main({command!r})")
    read = "import trackio; r, = trackio.Api().runs('polyvae'); print('read', r.name, r.config['seed'])"
    assert f"read {run_id(0)} 0" in python(read, TRACKIO_DIR=str(out))


def python(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    how = {"capture_output": True, "text": True, "timeout": 120, "check": True}
    return subprocess.run(command, env=os.environ | environment, **how).stdout
