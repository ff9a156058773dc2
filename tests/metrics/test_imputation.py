"""Imputation scores of the exact model."""

import math

import pytest
import torch

from polyvae import metrics, subsets
from polyvae.models.contract import NotDefined
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
    assert found["imputation/a+b/c/coverage"] == pytest.approx(0.8, abs=0.03)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * conditional)) / 3
    assert found["imputation/a+b/c/nll"] == pytest.approx(entropy, abs=0.05)
    assert found["imputation/mean/c/rmse"] == pytest.approx(math.sqrt(block.diagonal().mean()), rel=0.05)
    assert SD < found["imputation/a+b/c/rmse"] < found["imputation/mean/c/rmse"]


def test_imputation_needs_a_table():
    with pytest.raises(NotDefined, match="no table"):
        metrics.imputation(vae(subsets.mopoe(NAMES)), painted(), painted())
