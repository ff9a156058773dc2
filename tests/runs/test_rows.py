"""Rows of a run on their device."""

import pytest
import torch

from polyvae import InputError, RunConfig, waiting
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
