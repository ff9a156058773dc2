"""Rows of a run on their device."""

import numpy as np
import pytest
import torch

from polyvae import InputError, RunConfig, datasets, waiting
from polyvae.dataset import cut
from polyvae.runs.plan import make_plan
from polyvae.runs.rows import on_device


def test_runs_share_the_copy_of_their_rows_on_a_device(monkeypatch):
    train = make_plan(RunConfig(dataset="toy", train_size=8, test_size=4, metrics="none")).train
    here = torch.device("cpu")
    assert on_device(train, here) is train
    monkeypatch.setattr(waiting, "is_free", lambda device: False)  # as on an accelerator,
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor.clone())  # which needs copies
    first, second = on_device(train, here), on_device(train.select(["m0"]), here)
    assert first.values["m0"] is second.values["m0"]
    assert first.values["m0"] is not train.values["m0"]


def test_own_test_rows_are_scored_and_none_of_the_data_are_cut_off():
    config = RunConfig(dataset="toy", validation_fraction=0.0, metrics="none")
    whole = make_plan(RunConfig(dataset="toy", train_size=30, test_size=4, metrics="none")).train
    data, test = whole.rows(range(20)), whole.rows(range(20, 30))
    plan = make_plan(config, data, test=test)
    assert torch.equal(plan.train.values["m0"], data.values["m0"])
    assert torch.equal(plan.test.values["m0"], test.values["m0"])
    assert plan.run_id != make_plan(config, data, test=test.rows(range(5))).run_id
    with pytest.raises(InputError, match="--test-size is a share of the data"):
        make_plan(config.with_(test_size=3), data, test=test)
    with pytest.raises(InputError, match="other modalities"):
        make_plan(config, data, test=test.select(["m0"]))


def test_arrays_in_place_of_a_data_set_are_told_how_to_become_one():
    arrays = {"x": np.zeros((30, 2)), "y": np.zeros((30, 2))}
    with pytest.raises(InputError, match=r'not dict; make them of arrays with pv.datasets.load\("arrays"'):
        make_plan(RunConfig(dataset="arrays"), arrays)


def test_no_split_takes_a_group_apart():
    rng = np.random.default_rng(0)
    patients = np.array([f"patient {i}" for i in rng.geometric(0.1, 200)])
    data = {"x": rng.standard_normal((200, 3)), "y": rng.standard_normal((200, 2)), "patient": patients}
    for seed in range(5):
        parts = [
            datasets.load("arrays", data=data, group="patient", split=split, seed=seed) for split in ("train", "test")
        ]
        assert [m.name for m in parts[0].modalities] == ["x", "y"]
        plan = make_plan(RunConfig(metrics="none", data_seed=seed), parts[0], test=parts[1])
        of_parts = [set(part.groups.tolist()) for part in (plan.train, plan.validation, plan.test)]
        assert sum(map(len, of_parts)) == len(set(patients.tolist()))
        assert set.union(*of_parts) == set(patients.tolist())
        assert sum(map(len, (plan.train, plan.validation, plan.test))) == 200
        cut_again = make_plan(RunConfig(metrics="none", data_seed=seed), parts[0])
        assert set(cut_again.test.groups.tolist()).isdisjoint(cut_again.train.groups.tolist())


def test_held_out_groups_have_about_the_rows_that_were_asked_for_and_are_any():
    groups, seen = np.repeat(np.arange(40), 5), set()
    for seed in range(60):
        order = np.random.default_rng(seed).permutation(200)
        rest, held = cut(order, 22, groups)
        assert len(held) == 20
        assert sorted([*rest, *held]) == list(range(200))
        seen |= set(groups[held].tolist())
    assert seen == set(range(40))
    uneven = np.repeat([0, 1], [199, 1])  # a large group is held out no more often than a small one
    counts = [len(cut(np.random.default_rng(seed).permutation(200), 20, uneven)[1]) for seed in range(200)]
    assert np.mean(np.array(counts) == 1) == pytest.approx(0.5, abs=0.15)
    with pytest.raises(InputError, match="all 5 rows are in group 'a'; a split needs two groups"):
        cut(np.arange(5), 1, np.array(["a"] * 5))
