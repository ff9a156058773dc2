"""Ray and Slurm (submitit's local jobs) give the records that local processes give, also when a worker is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from test_sweep import CONFIGS, TINY, identity, kill_one, undisturbed, workers_of  # noqa: F401

from polyvae import InputError, RunStore, run
from polyvae.cli import main
from polyvae.cli.progress import SweepTable
from polyvae.config import RunConfig
from polyvae.methods import METHODS
from polyvae.runs.plan import make_plan
from polyvae.runs.record import Record
from polyvae.sweeps import costs
from polyvae.sweeps.executors import EXECUTORS, Resources
from polyvae.sweeps.sweep import sweep

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


@pytest.mark.parametrize("executor", ["ray", "slurm"])
def test_a_killed_worker_of_a_cluster_is_replaced(executor, tmp_path, undisturbed):  # noqa: F811
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
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (tmp_path / "polled").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def test_a_job_that_cannot_be_submitted_ends_those_that_were(monkeypatch):
    ended = []
    job = SimpleNamespace(done=lambda: False, cancel=lambda: ended.append("first"))
    answers = iter([job])
    queue = SimpleNamespace(submit=lambda function, task: next(answers))
    monkeypatch.setattr(sys.modules["polyvae.sweeps.executors.on_slurm"], "_queue", lambda resources: queue)
    with pytest.raises((RuntimeError, StopIteration)):
        list(EXECUTORS["slurm"](len, ["a", "b"], Resources(workers=2), print))
    assert ended == ["first"]


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_once_finishes_what_is_under_way_and_twice_stops_at_once(twice, tmp_path):
    process = begun(tmp_path, epochs=100_000 if twice else 40)
    process.send_signal(signal.SIGINT)
    while "no further one is started" not in (line := process.stdout.readline()):
        assert line, "the sweep ended without saying that it stops"
    if twice:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    store = RunStore(tmp_path / "runs")
    assert [record.status for record in store.records()] == ([] if twice else ["done"])
    assert workers_of(store) == []


def test_termination_ends_the_workers_at_once(tmp_path):
    process = begun(tmp_path, epochs=100_000)
    process.terminate()
    _, errors = process.communicate(timeout=90)
    assert (process.returncode, "the same command goes on" in errors) == (130, True)
    store = RunStore(tmp_path / "runs")
    assert (workers_of(store), store.records()) == ([], [])


def test_what_an_executor_cannot_do_is_an_error_before_compute(tmp_path):
    for wrong, message in (
        ({"executor": "dask"}, "no executor 'dask'; choose local, ray, slurm"),
        ({"resources": Resources(cpus=0)}, "--cpus is 0"),
        ({"resources": Resources(gpus=-1)}, "--gpus is -1"),
        ({"workers": 0}, "--workers is 0"),
    ):
        with pytest.raises(InputError, match=message):
            sweep([TINY], RunStore(tmp_path), **wrong)
    assert list(tmp_path.iterdir()) == []


def test_without_slurm_the_executor_says_so(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="use local or ray here"):
        list(EXECUTORS["slurm"](len, [[]], Resources(folder=tmp_path), print))


# Costs


def measured(config, seconds, error=None):
    return Record(
        run_id=config.run_id(),
        config=config,
        status="failed" if error else "done",
        error=error,
        seconds={"train": seconds - 1.0, "evaluate": 1.0},
    )


def test_costs_are_those_of_runs_that_differ_in_seed_and_beta():
    small, large = RunConfig(epochs=10, modalities=2), RunConfig(epochs=30, modalities=4)
    records = [measured(small, 30.0), measured(small.with_(seed=1, beta=2.0), 50.0), measured(small, 900.0, "broken")]
    asked = [small.with_(seed=7), large]
    known, scaled = costs.estimate(asked, records)
    assert known == 40.0
    assert scaled == pytest.approx(40.0 * 3 * 2), "three times the epochs, twice the modalities"
    assert costs.estimate(asked, []) is None


def test_the_longest_come_first_and_equal_ones_stay_in_order():
    short, long = RunConfig(epochs=10), RunConfig(epochs=30)
    listed = [short, long, short.with_(seed=1), long.with_(seed=1)]
    assert costs.longest_first(listed, []) == [listed[i] for i in (1, 3, 0, 2)]
    slow = [measured(short, 500.0), measured(long, 5.0)]
    assert costs.longest_first(listed, slow) == [listed[i] for i in (0, 2, 1, 3)], "measured times win"


def test_the_time_left_is_that_of_runs_without_a_record():
    listed = [RunConfig(seed=seed) for seed in range(4)]
    done = [measured(listed[0].with_(threads=1), 30.0), measured(listed[1], 50.0)]
    failed = measured(listed[2], 5.0, "failed")
    assert costs.left(listed, [*done, failed]) == 40.0, "a failed run is not waited for"
    assert costs.left(listed, [failed]) is None
    assert costs.left(listed[:3], [*done, failed]) == 0
    own = [RunConfig(method="custom", subsets=f"{name}.json") for name in "abc"]
    assert costs.left(own, [measured(own[0], 100.0)]) == 200.0, "files tell them apart, not their ids"


def test_the_table_of_a_sweep_counts_runs_by_state(tmp_path):
    listed = [RunConfig(seed=seed) for seed in range(5)]
    table = SweepTable(RunStore(tmp_path), listed, workers=2, quiet=True)
    assert table.summary(2) == "0 done, 0 failed, 2 running, 3 waiting"
    table.left_at = -100.0  # the time left is looked up every 20 seconds
    table.finished(measured(listed[0], 60.0))
    table.finished(measured(listed[1], 1.0, "broken"))
    assert table.summary(2) == "1 done, 1 failed, 2 running, 1 waiting, about 90 s left"


def test_costs_are_those_of_the_method_table():
    """At three modalities: what a step decodes, and each of several samples as half of one."""
    mvae = costs.work(RunConfig(method="mvae", modalities=3))
    work = {name: costs.work(RunConfig(method=name, modalities=3)) / mvae for name in METHODS}
    assert work["mopoe"] == work["mmvae"] == 1
    assert work["mvae_plus"] == 2
    assert work["mmvae_official"] == METHODS["mmvae_official"].samples * 3 / 2
    iwae = costs.work(RunConfig(method="mopoe", modalities=3, objective="iwae"))
    assert iwae / mvae == METHODS["mopoe"].samples / 2
    assert costs.work(RunConfig(method="mopoe", modalities=32)) > 0, "no table of 2^32 subsets"


def test_runs_of_methods_that_are_not_known_here_say_nothing_of_others():
    foreign, known = RunConfig(method="of_a_plug_in"), RunConfig(method="mvae")
    assert costs.estimate([known], [measured(foreign, 9.0)]) is None
    assert costs.estimate([known], [measured(foreign, 9.0), measured(known, 40.0)]) == [40.0]


def test_samples_drawn_from_one_modality_cost_a_share():
    config = RunConfig(method="mmvae_official", modalities=3, objective_samples=4)
    assert costs.work(config) == pytest.approx(3 * costs.work(config.with_(allocation="systematic")))


def test_a_dry_run_counts_failed_runs_that_would_be_done_again(tmp_path, capsys):
    experiment = tmp_path / "mine.py"
    experiment.write_text(
        "from polyvae import RunConfig\n"
        f"TINY = RunConfig.from_dict({TINY.to_dict()!r})\n"
        "def configs(): return [TINY, TINY.with_(seed=1)]\n"
    )
    store = RunStore(tmp_path / "runs")
    run_id = make_plan(TINY).run_id
    store.finish(Record.failed(run_id, TINY, "killed"))
    for more, todo in (([], 1), (["--retry-failed"], 2)):
        main(["sweep", str(experiment), "--store", str(store.root), "--dry-run", *more])
        assert f"2 runs, {todo} to do" in capsys.readouterr().out


@pytest.mark.parametrize(("cores", "has_gpu", "workers"), [(1, False, 1), (2, False, 2), (64, False, 2), (64, True, 1)])
def test_two_runs_at_a_time_are_the_default_without_a_gpu(cores, has_gpu, workers, tmp_path, capsys, monkeypatch):
    experiment = tmp_path / "mine.py"
    config = TINY.with_(device="cpu").to_dict()
    experiment.write_text(f"from polyvae import RunConfig\ndef configs(): return [RunConfig.from_dict({config!r})]\n")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    main(["sweep", str(experiment), "--store", str(tmp_path / "runs"), "--dry-run"])
    assert f"time with {workers} at a time" in capsys.readouterr().out


def test_a_dry_run_shows_the_plan_and_does_nothing(tmp_path, capsys):
    experiment = tmp_path / "mine.py"
    experiment.write_text(
        "from polyvae import RunConfig\n"
        f"TINY = RunConfig.from_dict({TINY.to_dict()!r})\n"
        "def configs(): return [TINY.with_(seed=s) for s in range(3)]\n"
    )
    arguments = ["sweep", str(experiment), "--store", str(tmp_path / "runs")]
    main([*arguments, "--dry-run", "--workers", "1"])
    assert "3 runs, 3 to do; time with 1 at a time: unknown" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    sweep([TINY], RunStore(tmp_path / "runs"))
    main([*arguments, "--dry-run", "--workers", "2"])
    shown = capsys.readouterr().out
    assert "3 runs, 2 to do" in shown
    assert "unknown" not in shown
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == 1
