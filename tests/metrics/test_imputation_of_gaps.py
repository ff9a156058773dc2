"""Imputation is scored on what there is, and says where it is no better than the column mean."""

from dataclasses import replace

import torch

from polyvae import keys, metrics, subsets
from polyvae.metrics import Evaluation
from polyvae.metrics.imputation import warnings
from support.linear import drawn, linear_model

MODEL = linear_model(subsets.mvae)
DATA = drawn(MODEL, 90)


def masked(present: torch.Tensor):
    return replace(DATA, present=present)


def test_without_a_complete_row_what_most_rows_have_is_given():
    gap = torch.arange(90) % 3  # every row lacks one of three
    present = torch.stack([gap != i for i in range(3)], 1)
    present[gap == 2] = torch.tensor([True, False, False])  # b is seen beside c alone
    found = metrics.imputation(MODEL, masked(present), DATA)
    assert {key.rsplit("/", 1)[0] for key in found if key.split("/")[1] not in keys.BASELINES} == {
        "imputation/c/a",
        "imputation/c/b",
        "imputation/b/c",
    }
    assert all(value == value for value in found.values())


def test_without_two_rows_to_score_there_is_a_reason():
    present = torch.zeros(90, 3, dtype=torch.bool)
    present[:, 0] = True
    data = masked(present)
    values, notes = metrics.evaluate(MODEL, Evaluation(data, DATA), ["imputation", "log_likelihood"])
    assert "2 test rows" in notes["imputation"]
    assert notes["log_likelihood/joint"] == "0 test rows have every modality; 2 are needed"
    assert "log_likelihood/joint" not in values
    present[:40, 1] = True
    found, notes = metrics.evaluate(MODEL, Evaluation(masked(present), DATA), ["imputation"])
    assert "imputation/a/b/rmse" in found
    assert notes["imputation/a+b/c/rmse"] == "it came out as nan"


def constant(*features: int, at: float = 0.0):
    values = DATA.values["c"].clone()
    values[:, list(features)] = at
    return replace(DATA, values={**DATA.values, "c": values})


def test_constant_features_move_no_score():
    found = [metrics.imputation(MODEL, data, data) for data in (constant(1), constant(1, at=5.0))]
    of_c = [{key: value for key, value in scores.items() if "/c/" in key} for scores in found]
    assert of_c[0] == of_c[1]
    assert found[0]["imputation/a+b/c/nll"] != metrics.imputation(MODEL, DATA, DATA)["imputation/a+b/c/nll"]
    _, notes = metrics.evaluate(MODEL, Evaluation(constant(0, 1, 2), constant(0, 1, 2)), ["imputation"])
    assert "imputation/a+b/c/rmse" in notes


def test_a_model_that_fills_in_the_mean_has_the_error_of_the_mean_whatever_rows_lack():
    model = linear_model(subsets.mvae)
    model.modalities = tuple(replace(m, has_gaps=True) for m in model.modalities)
    torch.nn.init.zeros_(model.decoders["c"].weight)
    gaps = torch.zeros(90, 3, dtype=torch.bool)
    gaps[:60, :2] = True
    seen = (DATA.values["c"] * torch.tensor([1.0, 1.0, 3.0])).masked_fill(gaps, torch.nan)
    values = {**DATA.values, "c": seen - seen.nanmean(0)}
    data = replace(DATA, modalities=model.modalities, values=values)
    found = metrics.imputation(model, data, data)
    assert abs(found["imputation/a+b/c/rmse"] - found["imputation/mean/c/rmse"]) < 1e-6


def test_a_model_that_is_worse_than_the_mean_is_named():
    scores = {
        "imputation/a/b/rmse": 1.2,
        "imputation/mean/b/rmse": 1.0,
        "imputation/b/a/rmse": 0.3,
        "imputation/mean/a/rmse": 1.0,
    }
    assert list(warnings(scores)) == ["imputation/a/b/rmse"]
    assert "no better than the mean of the training rows (1.0000)" in warnings(scores)["imputation/a/b/rmse"]
    assert not warnings({**scores, "imputation/a/b/rmse": 0.5, "imputation/ridge/b/rmse": 0.47})
    behind = warnings({**scores, "imputation/a/b/rmse": 0.5, "imputation/ridge/b/rmse": 0.4})
    assert "ridge is far better (0.4000, here 0.5000)" in behind["imputation/a/b/rmse"]
    assert "--modality-weights b=10" in behind["imputation/a/b/rmse"]
    both = warnings({**scores, "imputation/a/b/rmse": 0.5, **{f"imputation/ridge/{name}/rmse": 0.2 for name in "ab"}})
    assert len(both) == 2
    assert not any("weight" in text for text in both.values()), "no other table has taken the capacity"
