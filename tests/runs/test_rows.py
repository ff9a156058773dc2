"""Rows of a run on their device."""

import torch

from polyvae import RunConfig, waiting
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
