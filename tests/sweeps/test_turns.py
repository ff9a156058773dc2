"""Sweeps whose runs take turns in one process, and sweeps that must end in time."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from polyvae import InputError, RunError, RunStore
from polyvae.sweeps import sweep as sweeps
from polyvae.sweeps.sweep import Watcher, sweep
from support.sweeping import CONFIGS, TINY, identity

LONG = TINY.with_(epochs=100_000, metrics="none")


@pytest.fixture
def shared(monkeypatch):
    """As if all runs were on one GPU."""
    monkeypatch.setattr(sweeps, "_share_a_gpu", lambda plans: True)


def test_runs_in_turns_are_those_of_processes(tmp_path, shared):
    turns, processes = RunStore(tmp_path / "turns"), RunStore(tmp_path / "processes")
    assert len(sweep(CONFIGS, turns, workers=3)) == len(CONFIGS)
    for config in CONFIGS:
        sweep([config], processes, workers=1)
    assert identity(turns) == identity(processes)


def test_a_run_that_fails_takes_no_other_with_it(tmp_path, shared):
    wild = TINY.with_(learning_rate=1e30, beta=1e30)
    records = sweep([wild, *CONFIGS[:2]], RunStore(tmp_path), workers=3)
    assert [record.status for record in records] == ["failed", "done", "done"]


@pytest.fixture
def ticking(monkeypatch):
    """A clock that goes on by a second whenever a sweep looks at it, which it does after every step."""
    clock = SimpleNamespace(time=itertools.count().__next__, sleep=lambda seconds: None)
    monkeypatch.setattr(sweeps, "time", clock)


def test_at_the_deadline_runs_leave_checkpoints_and_go_on_later(tmp_path, shared, ticking):
    whole, store = RunStore(tmp_path / "whole"), RunStore(tmp_path / "parts")
    config = TINY.with_(epochs=30)
    sweep([config], whole)
    assert sweep([config, LONG], store, workers=2, minutes=1) == []
    checkpoints = list(store.root.glob("toy-*/checkpoint/state.safetensors"))
    assert len(checkpoints) == 2
    sweep([config], store)
    assert identity(store) == identity(whole)


def test_a_run_that_no_longer_ends_by_the_deadline_waits(tmp_path, shared, ticking, monkeypatch):
    """Each would end within the minute, but not one after the other; the one that has a checkpoint goes on."""
    first, second = CONFIGS[:2]
    monkeypatch.setattr(sweeps.costs, "estimate", lambda configs, records: [45.0] * len(configs))
    store, said = RunStore(tmp_path / "one"), []
    records = sweep([first, second], store, workers=1, minutes=1, watcher=Watcher(on_note=said.append))
    assert [record.config for record in records] == [first]
    assert len(list(store.root.glob("toy-*"))) == 1
    assert said == []
    sweep([second.with_(epochs=1000)], store, workers=1, minutes=1)
    assert len(list(store.root.glob("toy-*/checkpoint"))) == 1
    sweep([second.with_(epochs=1000)], store, workers=1, minutes=0.7)
    assert len(list(store.root.glob("toy-*/checkpoint"))) == 1


@pytest.mark.slow
def test_a_worker_process_stops_at_the_deadline_too(tmp_path):
    store = RunStore(tmp_path)
    assert sweep([LONG], store, minutes=0.06) == []
    (folder,) = store.root.glob("toy-*")
    assert (folder / "checkpoint" / "state.safetensors").is_file()


def test_no_run_starts_that_cannot_end_in_time(tmp_path, shared):
    store = RunStore(tmp_path)
    sweep(CONFIGS[:1], store)
    with pytest.raises(InputError, match=r"too short for any run.*use --minutes"):
        sweep([LONG], store, minutes=1e-3)
    said = []
    short = TINY.with_(seed=5, epochs=1)
    records = sweep([LONG, short], store, minutes=0.5, watcher=Watcher(on_note=said.append))
    assert [record.config for record in records] == [short]
    assert said == ["runs that take longer than --minutes 0.5, and wait: 1"]


def test_out_of_memory_halves_the_workers(tmp_path, shared, monkeypatch):
    under_way, most, said = set(), [], []
    real = sweeps.steps_of

    def crowded(plan, store, **options):
        under_way.add(plan.run_id)
        most.append(len(under_way))
        try:
            for count, _ in enumerate(real(plan, store, **options)):
                if count == 1 and len(under_way) > 2:
                    raise_out_of_memory(plan, store)
                    return
                yield
        finally:
            under_way.discard(plan.run_id)

    def raise_out_of_memory(plan, store):
        store.finish(sweeps.Record.failed(plan.run_id, plan.config, "OutOfMemoryError: CUDA out of memory"))

    monkeypatch.setattr(sweeps, "steps_of", crowded)
    records = sweep(CONFIGS, RunStore(tmp_path), workers=4, watcher=Watcher(on_note=said.append))
    assert [record.status for record in records] == ["done"] * 4
    assert max(most[4:]) <= 2
    (note,) = said
    assert "ran out of memory; going on with 2 at a time" in note


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="torch before 2.8 tells no lost device apart")
def test_a_gpu_that_is_gone_is_no_fault_of_its_runs(tmp_path, shared, monkeypatch):
    store = RunStore(tmp_path)
    sweep(CONFIGS[:1], store)

    def gone(*arguments, **options):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.optim.Adam, "step", gone)
    with pytest.raises(RunError, match="the GPU no longer answers"):
        sweep(CONFIGS, store, workers=2)
    assert len(store.records()) == 1
