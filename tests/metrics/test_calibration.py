"""Intervals of imputed tables given every pattern: by the exact model, and by one whose scale is wrong by 2."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from polyvae import Batch, InputError, RunConfig, datasets, impute, metrics, subsets
from polyvae.likelihoods import Normal
from polyvae.models.contract import NotDefined
from polyvae.runs.plan import make_plan
from support.linear import NAMES, SD, drawn, linear_model
from support.slow import slow_unless

PATTERNS = [given for count in (1, 2) for given in combinations(NAMES, count)]
MODEL, TEST = linear_model(subsets.mvae), drawn(linear_model(subsets.mvae), 3000, seed=3)


def misspecified(factor):
    """The exact model, but that its likelihood is `factor` times as wide as the data's."""
    model = linear_model(subsets.mvae)
    model.modalities = tuple(replace(m, likelihood=Normal(factor * SD)) for m in model.modalities)
    return model


def coverage(model, given, draws, calibration=None, test=TEST):
    """Target -> share of the truth in the interval that `impute` gives."""
    batch = test.batch(slice(None))
    present = torch.tensor([name in given for name in NAMES]).expand(len(test), -1)
    filled = impute(
        model,
        Batch(batch.values, present),
        draws=draws,
        generator=torch.Generator().manual_seed(0),
        calibration=calibration,
    )
    inside = {n: (f.low <= batch.values[n]) & (batch.values[n] <= f.high) for n, f in filled.items() if n not in given}
    return {name: float(held.double().mean()) for name, held in inside.items()}


@pytest.mark.parametrize("draws", slow_unless(lambda draws: draws < 200, [5, 20, 200]))
def test_the_exact_model_covers_what_it_says_given_every_pattern(draws):
    for given in PATTERNS:
        for held in coverage(MODEL, given, draws).values():
            assert held == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("factor", slow_unless(lambda factor: factor < 1, [0.5, 2.0]))
def test_a_wrong_scale_misses_until_rows_that_were_held_out_calibrate_it(factor):
    model, rows = misspecified(factor), drawn(MODEL, 500, seed=4)
    found = metrics.calibrate(model, rows, rows)
    assert set(found.factors) == set(PATTERNS)
    for given in PATTERNS:
        assert all(abs(held - 0.8) > 0.05 for held in coverage(model, given, 50).values())
        for held in coverage(model, given, 50, found).values():
            assert held == pytest.approx(0.8, abs=0.035)  # 500 rows and 3 features: a standard error of .015


@pytest.mark.parametrize("scale", ["0.05", "2.0"])
def test_single_values_miss_too_until_they_are_calibrated(scale):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 2))
    whole = {
        name: z @ rng.normal(size=(2, count)) + 0.3 * rng.normal(size=(2000, count))
        for name, count in (("a", 6), ("b", 4))
    }
    gaps = {name: np.where(rng.random(value.shape) < 0.1, np.nan, value) for name, value in whole.items()}
    train, test = (datasets.load("arrays", data=gaps, split=part, test_size=1600) for part in ("train", "test"))
    config = RunConfig(dataset="arrays", likelihood="normal", likelihood_scale=scale, metrics="none")
    model = make_plan(config, train, test=test).build()  # starts as factor analysis
    found = metrics.calibrate(model, test.rows(torch.arange(500)), train)
    assert set(found.factors) == {("a",), ("b",), ("a", "b")}
    rows = torch.arange(500, 1600)
    truth = {name: torch.from_numpy(value[test.ids[rows]]) for name, value in whole.items()}

    def held(calibration):
        filled = impute(model, test.batch(rows), generator=torch.Generator().manual_seed(0), calibration=calibration)
        inside = {n: (f.low <= truth[n]) & (truth[n] <= f.high) for n, f in filled.items()}
        return {n: float(inside[n][np.isnan(gaps[n][test.ids[rows]])].double().mean()) for n in filled}

    assert all(abs(share - 0.8) > 0.1 for share in held(None).values())
    for share in held(found).values():
        assert share == pytest.approx(0.8, abs=0.04)  # of some 550 values: a standard error of .017


def test_the_metric_scores_the_interval_that_impute_gives():
    model, rows, test = misspecified(0.5), drawn(MODEL, 200, seed=4), TEST.rows(torch.arange(500))
    for calibration in (None, metrics.calibrate(model, rows, rows)):
        scored = metrics.imputation(model, test, rows, calibration=calibration)["imputation/a+b/c/coverage"]
        assert scored == pytest.approx(coverage(model, ("a", "b"), 50, calibration, test)["c"], abs=0.03)


def test_rows_that_lack_the_target_or_the_given_do_not_count():
    rows = drawn(MODEL, 60, seed=4)
    present = torch.ones(60, 3, dtype=torch.bool)
    present[:57, 2] = False  # three rows have c
    found = metrics.calibrate(MODEL, type(rows)("linear", rows.modalities, rows.values, present), rows)
    assert not any("c" in targets for targets in found.factors.values())
    assert all("c" not in given for given in found.factors)
    assert len(found.factors["a",]["b"]) == 3


def test_a_pattern_without_a_posterior_has_no_factors_and_any_other_error_is_told():
    model, rows = linear_model(subsets.mvae), drawn(MODEL, 20, seed=4)
    known = model.code_posterior

    def raising(error):
        def posterior(batch, given=None, experts=None):
            if batch.present[0].tolist() == [False, True, False]:
                raise error("no law of z given b")
            return known(batch, given, experts)

        return posterior

    model.code_posterior = raising(NotDefined)
    assert set(metrics.calibrate(model, rows, rows, draws=9).factors) == set(PATTERNS) - {("b",)}
    model.code_posterior = raising(InputError)
    with pytest.raises(InputError, match="given b"):
        metrics.calibrate(model, rows, rows, draws=9)


def test_of_many_modalities_those_patterns_count_that_rows_have():
    names = tuple("abcdef")
    present = torch.ones(10, 6, dtype=torch.bool)
    present[:4, :2] = False
    found = metrics.calibration._patterns(names, present)
    assert len(found) == 7
    assert ("c", "d", "e", "f") in found
    assert all(tuple(n for n in names if n != name) in found for name in names)
