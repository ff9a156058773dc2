"""Ray and Slurm (submitit's local jobs) give the records that local processes give, also when a worker is killed."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from polyvae import InputError, RunStore, run
from polyvae.sweeps.executors import EXECUTORS, Resources
from polyvae.sweeps.sweep import sweep
from support.sweeping import CONFIGS, TINY, identity, kill_one, workers_of
from support.tasks import note_process

EPOCHS_IN_STORM = 300
DRIVER = """
import json, sys
from polyvae import RunConfig, RunStore
from polyvae.sweeps.executors import Resources
from polyvae.sweeps.sweep import sweep
if __name__ == "__main__":
    configs = [RunConfig.from_dict(c) for c in json.loads(sys.argv[3])]
    sweep(configs, RunStore(sys.argv[2]), executor=sys.argv[1], resources=Resources(cluster="local"), workers=2)
"""
LATE = """
import sys, time
from pathlib import Path
from polyvae.sweeps import executors
from polyvae.cli import main
first = executors.EXECUTORS["local"]
def slow(function, tasks, resources, on_poll):
    def told(running):
        Path(sys.argv[2], "polled").touch()
        on_poll(running)
    return first(function, tasks, resources, told)
executors.EXECUTORS = {"local": slow}
if __name__ == "__main__":
    main(["sweep", sys.argv[1], "--store", sys.argv[2] + "/runs", "--workers", "1"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["ray", "slurm"])
def test_a_killed_worker_of_a_cluster_is_replaced(executor, tmp_path, undisturbed):
    pytest.importorskip({"ray": "ray", "slurm": "submitit"}[executor])
    store = RunStore(tmp_path / "runs")
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    told = json.dumps([config.to_dict() for config in CONFIGS[:2]])
    process = subprocess.Popen([sys.executable, str(script), executor, str(store.root), told], start_new_session=True)
    kill_one(store, process)
    assert process.wait(timeout=300) == 0
    found = identity(store)
    assert found == {run_id: undisturbed[run_id] for run_id in found}
    assert len(found) == 2


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_twenty_kills_change_nothing(executor, tmp_path):
    """Workers, the driver, or all of them die at random moments; the same command in the end gives the records of
    undisturbed runs. Two workers in a row at most, since a run that kills three in one sweep counts as failed."""
    if executor == "ray":
        pytest.importorskip("ray")
    random.seed(0)
    configs = [TINY.with_(seed=seed, epochs=EPOCHS_IN_STORM) for seed in range(6)]
    store, reference = RunStore(tmp_path / "runs"), RunStore(tmp_path / "reference")
    for config in configs:
        run(config.with_(threads=1), reference)
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    command = [sys.executable, str(script), executor, str(store.root), json.dumps([c.to_dict() for c in configs])]
    process, kills = subprocess.Popen(command, start_new_session=True), 0
    while kills < 20:
        if process.poll() is not None:
            process = subprocess.Popen(command, start_new_session=True)
        victim = ("worker", "worker", "driver", "worker", "worker", "all")[kills % 6]
        kills += kill(victim, store, process)
    process.wait(timeout=300)
    assert subprocess.run(command, timeout=600).returncode == 0
    assert identity(store) == identity(reference)
    assert len(store.records()) == len(configs)


def kill(victim, store, process):
    """Whether it was there to be killed, once a worker was at work for a random while."""
    deadline = time.monotonic() + 300
    while not (pids := [pid for pid in workers_of(store) if pid != process.pid]):
        if process.poll() is not None:
            assert process.returncode != 0, "all runs were done before twenty kills: make them longer"
            return False
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.5))
    try:
        if victim == "worker":
            os.kill(pids[0], signal.SIGKILL)
        elif victim == "driver":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    if victim != "worker":
        process.wait(timeout=60)
    return True


def begun(tmp_path, epochs):
    """A sweep by the command, in a process of its own, that has begun its first run."""
    experiment = tmp_path / "mine.py"
    configs = [TINY.with_(seed=seed, epochs=epochs).to_dict() for seed in range(4)]
    experiment.write_text(
        f"from polyvae import RunConfig\ndef configs(): return [RunConfig.from_dict(c) for c in {configs!r}]\n"
    )
    script = tmp_path / "late.py"
    script.write_text(LATE)
    command = [sys.executable, str(script), str(experiment), str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    deadline = time.monotonic() + 300
    while not (tmp_path / "polled").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def test_a_job_that_cannot_be_submitted_ends_those_that_were(monkeypatch):
    ended = []
    job = SimpleNamespace(done=lambda: False, cancel=lambda: ended.append("first"))
    jobs = [job]

    def submit(function, task):
        if not jobs:
            raise RuntimeError("the queue is full")
        return jobs.pop()

    queue = SimpleNamespace(submit=submit)
    monkeypatch.setattr(sys.modules["polyvae.sweeps.executors.on_slurm"], "_queue", lambda resources: queue)
    with pytest.raises(RuntimeError, match="the queue is full"):
        list(EXECUTORS["slurm"](len, ["a", "b"], Resources(workers=2), print))
    assert ended == ["first"]


def is_alone(process):
    """Whether nothing is left of the process group of a process that has ended."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_worker_does_several_tasks_and_one_that_dies_takes_no_other_with_it(tmp_path):
    file = str(tmp_path / "processes")
    tasks = [(word, file) for word in ("a", "b", "die", "c", "d")]
    ended = list(EXECUTORS["local"](note_process, tasks, Resources(workers=1), print))
    assert [(word, status) for (word, _), status in ended] == [
        ("a", 0), ("b", 0), ("die", -signal.SIGKILL), ("c", 0), ("d", 0)
    ]  # fmt: skip
    first, *rest = (tmp_path / "processes").read_text().split()
    assert rest == [first, first, rest[-1], rest[-1]]
    assert first != rest[-1]


def test_a_worker_that_has_worked_long_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["polyvae.sweeps.executors.local"], "WORKING_SECONDS", 0.0)
    tasks = [(word, str(tmp_path / "processes")) for word in "ab"]
    assert [status for _, status in EXECUTORS["local"](note_process, tasks, Resources(), print)] == [0, 0]
    assert len(set((tmp_path / "processes").read_text().split())) == 2


def test_no_worker_outlives_a_sweep_that_is_killed(tmp_path):
    process = begun(tmp_path, epochs=100_000)
    process.kill()
    process.communicate(timeout=90)
    store, deadline = RunStore(tmp_path / "runs"), time.monotonic() + 30
    while workers_of(store) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert workers_of(store) == []


@pytest.mark.parametrize("twice", [pytest.param(False, marks=pytest.mark.slow), True])
def test_ctrl_c_once_finishes_what_is_under_way_and_twice_stops_at_once(twice, tmp_path):
    process = begun(tmp_path, epochs=100_000 if twice else 40)
    process.send_signal(signal.SIGINT)
    while "no other is started" not in (line := process.stdout.readline()):
        assert line, "the sweep ended without saying that it stops"
    if twice:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the same command resumes" in errors
    assert is_alone(process)
    store = RunStore(tmp_path / "runs")
    assert [record.status for record in store.records()] == ([] if twice else ["done"])
    assert workers_of(store) == []


def test_termination_ends_the_workers_at_once(tmp_path):
    process = begun(tmp_path, epochs=100_000)
    process.terminate()
    _, errors = process.communicate(timeout=90)
    assert (process.returncode, "the same command resumes" in errors, is_alone(process)) == (130, True, True)
    store = RunStore(tmp_path / "runs")
    assert (workers_of(store), store.records()) == ([], [])


def test_what_an_executor_cannot_do_is_an_error_before_compute(tmp_path):
    for wrong, message in (
        ({"executor": "dask"}, "no executor 'dask'; choose local, ray, slurm"),
        ({"workers": 0}, "--workers is 0"),
    ):
        with pytest.raises(InputError, match=message):
            sweep([TINY], RunStore(tmp_path), **wrong)
    for wrong in ({"cpus": 0}, {"cpus": math.nan}, {"gpus": -1}, {"gpus": math.inf}, {"minutes": 0}, {"workers": -1}):
        (flag, value), *_ = wrong.items()
        with pytest.raises(InputError, match=f"--{flag} is {value}"):
            Resources(**wrong)
    assert list(tmp_path.iterdir()) == []


def test_without_slurm_the_executor_says_so(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="use local or ray here"):
        list(EXECUTORS["slurm"](len, [[]], Resources(folder=tmp_path), print))
