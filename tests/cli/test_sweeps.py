"""`polyvae sweep --dry-run`: the plan, without doing anything."""

import re

import numpy as np
import pytest
import torch

from polyvae import RunConfig, RunStore, run
from polyvae.cli import main, sweeps
from polyvae.runs import plan
from polyvae.runs.plan import make_plan
from polyvae.runs.record import Record, duration
from polyvae.sweeps import sweep as sweeping
from support.stores import measured
from support.sweeping import TINY


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


@pytest.mark.parametrize(("cores", "has_gpu", "workers"), [(1, False, 1), (2, False, 2), (64, False, 2), (64, True, 8)])
def test_two_runs_at_a_time_are_the_default_and_eight_on_a_gpu(cores, has_gpu, workers, tmp_path, capsys, monkeypatch):
    experiment = tmp_path / "mine.py"
    config = TINY.with_(device="cpu").to_dict()
    experiment.write_text(f"from polyvae import RunConfig\ndef configs(): return [RunConfig.from_dict({config!r})]\n")
    monkeypatch.setattr(sweeps, "CORES", cores)
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
    run(TINY, tmp_path / "runs")
    main([*arguments, "--dry-run", "--workers", "2"])
    shown = capsys.readouterr().out
    assert "3 runs, 2 to do" in shown
    assert "unknown" not in shown
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == 1
    main([*arguments, "--dry-run", "--threads", "2"])
    assert "3 runs, 3 to do" in capsys.readouterr().out, "on more threads they are other runs"


def test_a_dry_run_counts_finished_runs_that_lack_metrics(tmp_path, capsys):
    experiment, store = tmp_path / "mine.py", tmp_path / "runs"
    run(TINY, store)
    for metrics, todo in (("bound", 0), ("bound,latent", 1)):
        config = TINY.with_(metrics=metrics).to_dict()
        experiment.write_text(f"from polyvae import RunConfig\ndef configs(): return [RunConfig(**{config!r})]\n")
        main(["sweep", str(experiment), "--store", str(store), "--dry-run"])
        shown = capsys.readouterr().out
        assert f"1 runs, {todo} to do" in shown
        assert shown.count("done, needs more metrics") == todo


def test_a_preset_for_a_gpu_says_what_it_would_take_there(tmp_path, capsys):
    experiment = tmp_path / "mine.py"
    config = "RunConfig(dataset='polymnist', train_size=9600, network='conv_half', modalities=3, epochs=1000)"
    experiment.write_text(f"from polyvae import RunConfig\ndef configs(preset): return [{config}]\n")
    main(["sweep", str(experiment), "--preset", "gpu", "--store", str(tmp_path / "runs"), "--dry-run"])
    # 28.8 million decoded rows at 2.5 microseconds, and the scoring
    assert "about 79 s on one H200, from step times measured there" in capsys.readouterr().out


def test_a_dry_run_on_a_new_cpu_says_whose_times_it_has(tmp_path, capsys):
    experiment = tmp_path / "mine.py"
    experiment.write_text(
        "from polyvae import RunConfig\n"
        "def configs(): return [RunConfig(modalities=2, network='conv_half', device='cpu', metrics='bound')]\n"
    )
    main(["sweep", str(experiment), "--store", str(tmp_path / "runs"), "--dry-run"])
    assert re.search(
        r"at a time: \d+ .*, estimated from runs on AMD EPYC, .* scaled for 1 of 1", capsys.readouterr().out
    )


def test_the_data_are_planned_once_and_workers_record_what_they_chose(tmp_path, monkeypatch):
    data, experiment, store = str(tmp_path / "own.npz"), tmp_path / "mine.py", RunStore(tmp_path / "runs")
    np.savez(data, a=np.random.default_rng(0).normal(size=(80, 3)), b=np.random.default_rng(1).normal(size=(80, 2)))
    given = {"data": data, "epochs": 1, "metrics": "none"}
    experiment.write_text(f"from polyvae import RunConfig\ndef configs(): return [RunConfig(**{given!r})]\n")
    planned = []
    monkeypatch.setattr(sweeping, "_share_a_gpu", lambda plans: True)  # in this process
    monkeypatch.setattr(plan, "make_plan", lambda config: planned.append(config) or make_plan(config))
    main(["sweep", str(experiment), "--workers", "1", "--quiet", "--store", str(store.root)])
    (record,) = store.records()
    alone = make_plan(RunConfig(**given))
    assert record.resolved.chosen == alone.chosen != {}
    assert list(map(int, record.resolved.tried["latent_dim"])) == list(alone.tried["latent_dim"])
    assert len(planned) == 1


def test_the_time_left_is_known_where_the_data_choose_the_settings(tmp_path, capsys, monkeypatch):
    data, experiment = str(tmp_path / "own.npz"), tmp_path / "mine.py"
    np.savez(data, a=np.random.default_rng(0).normal(size=(60, 3)), b=np.random.default_rng(1).normal(size=(60, 2)))
    experiment.write_text(
        "from polyvae import RunConfig\n"
        f"def configs(): return [RunConfig(data={data!r}, seed=seed, metrics='none') for seed in range(3)]\n"
    )
    done = measured(make_plan(RunConfig(data=data, metrics="none")).config, 100.0)
    monkeypatch.setattr(sweeps, "sweep", lambda *arguments, **options: [done])
    main(["sweep", str(experiment), "--workers", "1", "--store", str(tmp_path / "runs")])
    assert f"time is up: 1 runs done, 2 left (about {duration(200.0)} with 1 at a time)" in capsys.readouterr().out
