"""Imputation scores of the exact model."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from polyvae import Batch, RunConfig, datasets, imputation, impute, metrics, subsets
from polyvae.metrics.imputation import DRAWN, gain, standard_error
from polyvae.models.contract import NotDefined
from polyvae.runs.plan import make_plan
from support.linear import SD, covariance, drawn, linear_model
from support.painters import (
    NAMES,
    painted,
    vae,
)


def test_imputation_of_the_exact_model_is_calibrated():
    every = subsets.custom(
        [subsets.Term(g, 1 / 3, prior_expert=True) for g in (("a", "b"), ("a", "c"), ("b", "c"))], ("a", "b", "c")
    )
    model = linear_model(lambda names: every)
    data = drawn(model, 600)
    found = metrics.imputation(model, data, data, draws=100)
    full = covariance(model)
    block, rest = full[6:, 6:], full[6:, :6]
    conditional = block - rest @ torch.linalg.solve(full[:6, :6], rest.T)
    assert found["imputation/a+b/c/rmse"] == pytest.approx(math.sqrt(conditional.diagonal().mean()), rel=0.05)
    assert found["imputation/a+b/c/coverage"] == pytest.approx(0.8, abs=3 * found["imputation/a+b/c/coverage_se"])
    assert 0 < found["imputation/a+b/c/coverage_se"] < 0.4 / math.sqrt(600)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * conditional)) / 3
    assert found["imputation/a+b/c/nll"] == pytest.approx(entropy, abs=0.05)
    assert found["imputation/mean/c/rmse"] == pytest.approx(math.sqrt(block.diagonal().mean()), rel=0.05)
    assert SD < found["imputation/a+b/c/rmse"] < found["imputation/mean/c/rmse"]


def test_validation_rows_are_scored_as_test_rows_are():
    model = linear_model(subsets.mvae)
    data = drawn(model, 60)
    found = metrics.imputation(model, data, data, validation=data)
    held = {key for key in found if key.endswith("/validation")}
    assert {"imputation/a+b/c/validation", "imputation/ridge/c/validation"} <= held
    for key in held:
        assert found[key] == pytest.approx(found[key.replace("validation", "rmse")], rel=1e-6)


def test_imputation_needs_a_table():
    with pytest.raises(NotDefined, match="no table"):
        metrics.imputation(vae(subsets.mopoe(NAMES)), painted(), painted())


def test_classes_are_scored_by_their_probabilities():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 400)
    table = np.eye(3)[kind] + 0.3 * rng.normal(size=(400, 3))
    kinds = np.array(["red", "green", "blue"])[np.where(rng.random(400) < 0.1, rng.integers(0, 3, 400), kind)]
    parts = [datasets.load("arrays", data={"table": table, "kind": kinds}, split=split) for split in ("train", "test")]
    model = make_plan(RunConfig(dataset="arrays", metrics="none"), parts[0], test=parts[1]).build().eval()
    found = metrics.imputation(model, parts[1], parts[0])
    batch = parts[1].batch(slice(None))
    drawn = impute(model, Batch(batch.values, torch.tensor([[True, False]]).expand(80, -1)), draws=50)["kind"].mean
    right = (drawn.argmax(1) == batch.values["kind"].argmax(1)).double().mean()
    assert found["imputation/table/kind/accuracy"] == pytest.approx(float(right), abs=0.05)
    brier = (drawn - batch.values["kind"]).square().mean()
    assert found["imputation/table/kind/rmse"] == pytest.approx(math.sqrt(brier), abs=0.01)
    shares = parts[0].values["kind"].float().mean(0)
    frequent = (batch.values["kind"].argmax(1) == shares.argmax()).double().mean()
    assert found["imputation/mean/kind/accuracy"] == pytest.approx(float(frequent))
    assert "imputation/table/kind/coverage" not in found


def test_surer_classes_do_not_outweigh_worse_tables():
    """Between probabilities of .99 and .9999 of the true class, the error that chooses weights hardly falls."""
    rng = np.random.default_rng(0)
    arrays = {"table": rng.normal(size=(80, 3)), "kind": np.array(["red", "green"] * 40)}
    parts = [datasets.load("arrays", data=arrays, split=split) for split in ("train", "test")]
    model = make_plan(RunConfig(dataset="arrays", metrics="none"), parts[0], test=parts[1]).build().eval()

    def error(share):
        kind = model.modalities[1]
        true = parts[1].batch(slice(None)).values["kind"]
        logits = torch.where(true > 0, math.log(share), math.log(1 - share))
        decode = model.decode
        model.decode = lambda codes: {**decode(codes), "kind": kind.distribution(logits)}
        found = metrics.imputation_error(model, parts[1])
        model.decode = decode
        return found

    assert 0 < error(0.99) - error(0.9999) < 0.01
    assert error(0.5) - error(0.99) > 0.5


def test_rows_of_a_group_count_together_in_the_standard_error():
    a, b = torch.from_numpy(np.random.default_rng(0).random((2, 50)))
    twice, groups = [values.repeat(2) for values in (a, b)], np.tile([f"patient {i}" for i in range(50)], 2)
    assert gain(*twice, groups) == pytest.approx(gain(a, b)), "a copy of a row tells nothing new"
    assert gain(*twice)[1] < 0.75 * gain(a, b)[1]
    assert gain(a, b, np.arange(50)) == pytest.approx(gain(a, b))
    assert math.isnan(gain(a, b, np.zeros(50))[1])


def test_the_coverage_has_the_standard_error_of_a_share():
    """Of rows with one value each: sqrt(share (1 - share) / (n - 1)). Rows without a value do not count."""
    inside = torch.tensor([1.0] * 40 + [0.0] * 10 + [math.nan] * 7)
    assert standard_error(inside) == pytest.approx(math.sqrt(0.8 * 0.2 / 49))
    pairs = np.repeat(np.arange(57), 2)
    assert standard_error(inside.repeat_interleave(2), pairs) == pytest.approx(standard_error(inside), rel=1e-6)


def test_the_gain_over_another_method_varies_as_its_standard_error_says():
    """Against the spread over 2,000 draws of 80 rows, whose errors go together."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(2000, 80))
    squared, of_other = (torch.from_numpy((shared + s * rng.normal(size=(2000, 80))) ** 2) for s in (0.5, 0.8))
    found = np.array([gain(a, b) for a, b in zip(squared, of_other, strict=True)])
    assert found[:, 0].mean() == pytest.approx(1 - math.sqrt(1.25 / 1.64), abs=0.01)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.1)
    assert all(map(math.isnan, gain(squared[0], torch.zeros(80))))


def test_the_error_that_chooses_weights_is_that_of_imputation_in_parts_that_fit_into_memory(monkeypatch):
    model = linear_model(subsets.mvae)
    data, decoded = drawn(model, 400), []
    scores = metrics.imputation(model, data, data)
    expected = np.mean([2 * math.log(scores[f"imputation/{key}/rmse"]) for key in ("b+c/a", "a+c/b", "a+b/c")])
    whole, decode = metrics.imputation_error(model, data), model.decode
    width = sum(math.prod(modality.shape) for modality in model.modalities)
    monkeypatch.setattr(imputation, "MOST_VALUES", 7 * DRAWN * width)
    monkeypatch.setattr(model, "decode", lambda codes: decoded.append(len(next(iter(codes.values())))) or decode(codes))
    in_parts = metrics.imputation_error(model, data)
    assert max(decoded) == 7
    assert sum(decoded) == 3 * DRAWN * 400
    assert (whole, in_parts) == pytest.approx((expected, expected), abs=0.05)
    assert metrics.imputation_error(model, data) == in_parts


def test_classes_and_pictures_count_in_the_error_that_chooses_weights_and_texts_do_not():
    rng = np.random.default_rng(0)
    kinds = np.array(["red", "green", "blue"])[rng.integers(0, 3, 80)]
    words = np.array([f"a {kind} bird with wing {i}" for i, kind in enumerate(kinds)])
    pictures = rng.integers(0, 255, (80, 1, 8, 8), dtype=np.uint8)
    arrays = {"table": rng.normal(size=(80, 3)), "kind": kinds, "picture": pictures, "words": words}
    parts = (datasets.load("arrays", data=arrays, split=split) for split in ("train", "test"))
    plan = make_plan(RunConfig(dataset="arrays", latent_dim=4, metrics="none"), next(parts), test=next(parts))
    assert plan.config.best_by == "loss"  # as there are words
    model, start = plan.build().eval(), metrics.imputation_error(plan.build().eval(), plan.test)
    assert [m.vocabulary is not None for m in model.modalities] == [name == "words" for name in model.names]
    for name in model.names:
        before = {key: value.clone() for key, value in model.state_dict().items()}
        for parameter in model.decoders[name].parameters():
            parameter.data.mul_(1.5)
        assert (metrics.imputation_error(model, plan.test) != start) == (name != "words")
        model.load_state_dict(before)


def test_the_error_that_chooses_weights_skips_gaps_but_not_a_model_that_says_nothing():
    model = linear_model(subsets.mvae)
    data = drawn(model, 50)
    values = {**data.values, "c": data.values["c"].clone()}
    values["c"][0, 0] = math.nan
    model.encoders["c"].register_forward_pre_hook(lambda _, given: tuple(value.nan_to_num() for value in given))
    assert math.isfinite(metrics.imputation_error(model, replace(data, values=values)))
    for parameter in model.decoders["c"].parameters():
        parameter.data.fill_(math.nan)
    assert math.isnan(metrics.imputation_error(model, data))
