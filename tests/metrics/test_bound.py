"""The bound of a test set is the objective on it."""

from importlib import import_module

import numpy as np
import pytest
import torch

from polyvae import metrics, objectives, subsets
from polyvae.noise import RowNoise
from support.painters import NAMES, ROWS, painted, vae


@pytest.mark.parametrize("mixture", [subsets.mopoe(NAMES), subsets.mmvae(NAMES), subsets.mvae_plus(NAMES)])
def test_bound_is_the_objective_on_the_test_set(mixture):
    model, data = vae(mixture), painted()
    found = metrics.bound(model, data, beta=0.7, seed=3, batch_size=11)
    whole = RowNoise(3, "bound", tuple(range(ROWS)))
    batch = data.batch(range(ROWS))
    with torch.no_grad():
        expected = objectives.elbo(model, batch, mixture, beta=0.7, allocation="exact", generator=whole)
    assert found["bound/loss"] == pytest.approx(float(expected.loss), rel=1e-5)
    assert found["bound/loss"] == pytest.approx(found["bound/distortion"] + 0.7 * found["bound/rate"], rel=1e-5)
    reconstruction = sum(found[f"bound/log_likelihood/{name}"] for name in NAMES)
    assert reconstruction == pytest.approx(-found["bound/distortion"], rel=1e-5)


def test_a_bound_over_many_subsets_draws_one_per_row(monkeypatch):
    mixture = subsets.custom([(("m0",), 0.5), (NAMES, 0.5)], NAMES)
    data, exact = painted(), metrics.bound(vae(mixture), painted())
    monkeypatch.setattr(import_module("polyvae.metrics.bound"), "MOST_EXACT_TERMS", 1)
    drawn = [metrics.bound(vae(mixture), data, seed=seed, batch_size=13)["bound/rate"] for seed in range(40)]
    error = np.std(drawn) / np.sqrt(40)
    assert error > 0
    assert np.mean(drawn) == pytest.approx(exact["bound/rate"], abs=4 * error)
    assert metrics.bound(vae(mixture), data, seed=5, batch_size=ROWS)["bound/rate"] == pytest.approx(drawn[5], rel=1e-5)
