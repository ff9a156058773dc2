"""What commands print into a log or a pipe: every row whole on one line, however narrow it is; and their --threads."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import polyvae as pv
from polyvae.cli import COMMANDS, main
from polyvae.config import RunConfig
from polyvae.threads import CORES, cores

TOY = RunConfig(dataset="toy", modalities=2, latent_dim=3, epochs=1, train_size=60, test_size=20, metrics="imputation")
EXPERIMENT = f"from polyvae import RunConfig\ndef configs(): return [RunConfig.from_dict({TOY.to_dict()!r})]\n"
PRINTING = (
    "methods",
    "metrics",
    "data list",
    "data info toy",
    "run --dataset toy --modalities 2 --latent-dim 3 --epochs 1 --train-size 60 --test-size 20 --metrics imputation",
    "evaluate RUN --metrics bound",
    "sweep mine.py --dry-run",
    "records",
    "watch",
    "compare RUN OTHER --metrics all",
    "claims",
    "store check",
    "theory discrepancy random --symbols 3",
    "theory tradeoff random",
    "theory audit RUN --rows 20",
    "advise --dataset toy --modalities 9",
    "generate RUN --count 2",
    "impute RUN --data gaps.npz --draws 2",
    "embed RUN",
    "fit-prior RUN --components 1",
)
WRITING = {"report", "export", "pack"}  # print one path
AWAY = {"push", "pull", "serve"}  # ask a hub or a browser (tests/runs/test_sharing.py, tests/test_app.py)


@pytest.fixture(scope="module")
def place(tmp_path_factory, shared_cache):
    """A folder with a store of two runs, an experiment, and rows to fill in."""
    folder = tmp_path_factory.mktemp("logs")
    torch.set_num_threads(1)
    runs = [
        pv.run(TOY.with_(seed=seed, method=method), folder / "runs") for seed, method in ((0, "mopoe"), (1, "mvae"))
    ]
    (folder / "mine.py").write_text(EXPERIMENT)
    np.savez(folder / "gaps.npz", m0=pv.datasets.load("toy", modalities=2, size=5).values["m0"].numpy())
    return folder, [run.run_id for run in runs]


@pytest.mark.parametrize("command", PRINTING)
def test_a_log_is_the_same_at_every_width(command, place, capsys, monkeypatch):
    folder, (first, other) = place
    monkeypatch.chdir(folder)
    words = [{"RUN": first, "OTHER": other}.get(word, word) for word in command.split()]
    shown = []
    for columns in (40, 80, 5000):
        monkeypatch.setenv("COLUMNS", str(columns))
        main(words)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] == shown[2] != ""
    assert "…" not in shown[0]


def test_a_run_on_tables_says_the_verdict_and_what_to_do_next_before_all_metrics(place, capsys, monkeypatch):
    folder, (run_id, _) = place
    monkeypatch.chdir(folder)
    words = next(line for line in PRINTING if line.startswith("run")).split()
    main(words)
    said = capsys.readouterr().out
    first, second = (said.index(part) for part in ("Filling in tables", "next: polyvae report"))
    assert first < second < said.index(f"{run_id}: done")
    assert re.search("80 % intervals hold .* of the truth", said)
    assert "imputation/m1/m0/nll" not in said
    main([*words, "--print-metrics"])
    assert "imputation/m1/m0/nll" in capsys.readouterr().out


def test_every_command_is_looked_at():
    assert {command.split()[0] for command in PRINTING} | WRITING | AWAY == set(COMMANDS)


COMPUTING = ("run", "sweep", "evaluate", "theory", "generate", "impute", "embed", "fit-prior")


@pytest.mark.parametrize("command", COMPUTING)
def test_what_computes_takes_threads(command, place, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--threads" in capsys.readouterr().out
    folder, (run_id, _) = place
    monkeypatch.chdir(folder)
    words = next(line for line in PRINTING if line.startswith(command)).replace("RUN", run_id).split()
    with pytest.raises(SystemExit) as status:
        main([*words, "--threads", "0"])
    assert status.value.code == 2
    assert "--threads is 0" in capsys.readouterr().err


def test_threads_are_those_asked_for_or_the_cores_at_hand(place, monkeypatch, capsys):
    folder, (run_id, _) = place
    monkeypatch.chdir(folder)
    for flags, threads in ((["--threads", "3"], 3), ([], min(CORES, int(os.environ.get("OMP_NUM_THREADS", CORES))))):
        main(["generate", run_id, "--count", "2", *flags])
        assert torch.get_num_threads() == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_core_takes_one_thread_and_waits_asleep():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import polyvae.threads as n\n"
    code += "print(n.CORES, n.THREADS, os.environ['OMP_WAIT_POLICY'])"
    free = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    found = subprocess.run([sys.executable, "-c", code], env=free, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "1", "passive"]


def test_the_quota_of_a_container_counts(tmp_path):
    for quota, allowed in (
        ("max 100000", CORES),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("9999900000 100000", CORES),
    ):
        (tmp_path / "cpu.max").write_text(quota)
        assert cores(tmp_path / "cpu.max") == allowed
    assert cores(tmp_path / "none") == CORES
