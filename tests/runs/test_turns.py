"""Runs that take turns, step by step, in one process."""

import torch

from polyvae import RunConfig, RunStore
from polyvae.runs.plan import make_plan
from polyvae.runs.run import run_one, steps_of
from polyvae.runs.saving import load

CONFIGS = [
    RunConfig(dataset="toy", modalities=2, train_size=40, test_size=10, batch_size=8, epochs=2, latent_dim=3,
              metrics="none", method=method)
    for method in ("mvae", "mmvae", "mopoe")
]  # fmt: skip


def in_turns(plans, store):
    """The records of runs that take one step each in turn."""
    under_way = {plan.run_id: steps_of(plan, store) for plan in plans}
    records = {}
    while under_way:
        for run_id, steps in list(under_way.items()):
            try:
                next(steps)
            except StopIteration as end:
                records[run_id] = end.value
                del under_way[run_id]
    return records


def weights(store, run_id):
    return load(store.folder(run_id)).state_dict()


def test_runs_in_turns_are_the_runs_one_by_one(tmp_path):
    plans = [make_plan(config) for config in CONFIGS]
    one_by_one, turns = RunStore(tmp_path / "a"), RunStore(tmp_path / "b")
    for plan in plans:
        run_one(plan, one_by_one)
    records = in_turns(plans, turns)
    for run_id, record in records.items():
        assert record.is_done
        for name, value in weights(one_by_one, run_id).items():
            assert torch.equal(value, weights(turns, run_id)[name])


def test_each_run_keeps_its_number_of_threads(tmp_path):
    """Also while another one begins and ends: it is part of what fixes the last bits of a result."""
    before, seen = torch.get_num_threads(), {1: set(), 2: set()}
    store = RunStore(tmp_path)

    def watched(threads, epochs):
        plan = make_plan(CONFIGS[0].with_(threads=threads, epochs=epochs))
        yield from steps_of(plan, store, on_step=lambda *_: seen[threads].add(torch.get_num_threads()))

    taken = [watched(2, 2), watched(1, 4)]
    while taken:
        taken = [steps for steps in taken if next(steps, "ended") is None]
        assert torch.get_num_threads() == before
    assert seen == {1: {1}, 2: {2}}


def test_one_that_fails_takes_no_other_with_it(tmp_path):
    store = RunStore(tmp_path)
    wild = CONFIGS[0].with_(learning_rate=1e18, beta=1e30)
    records = in_turns([make_plan(wild), make_plan(CONFIGS[1])], store)
    assert sorted(record.status for record in records.values()) == ["done", "failed"]


def test_closed_it_leaves_a_checkpoint_and_goes_on_from_there(tmp_path):
    plan = make_plan(CONFIGS[2])
    whole, store = RunStore(tmp_path / "a"), RunStore(tmp_path / "b")
    run_one(plan, whole)
    steps = steps_of(plan, store)
    for _ in range(3):
        next(steps)
    steps.close()
    assert store.record(plan.run_id) is None
    assert (store.folder(plan.run_id) / "checkpoint" / "state.safetensors").is_file()
    done = []
    assert run_one(plan, store, on_step=lambda step, total, loss: done.append(step)).is_done
    assert done[0] == 4
    for name, value in weights(whole, plan.run_id).items():
        assert torch.equal(value, weights(store, plan.run_id)[name])
