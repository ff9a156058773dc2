"""Latent use of models whose posteriors are known."""

import math

import numpy as np
import pytest
import torch

from polyvae import metrics, subsets
from polyvae.metrics.latent import mismatch
from polyvae.metrics.moments import Moments, moments
from support.linear import covariance, drawn, linear_model
from support.painters import (
    NAMES,
    painted,
    vae,
)


def test_latent_use_of_the_exact_model_is_known():
    model = linear_model(subsets.mvae)
    data = drawn(model, 4000)
    found = metrics.latent(model, data)
    assert found["latent/active_units/a+b+c"] == 2
    assert found["latent/collapsed/a"] == 0
    assert found["latent/mismatch/a+b+c"] == pytest.approx(0, abs=0.02), "true posteriors aggregate to the prior"
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance(model)))
    assert -found["latent/elbo/a+b+c"] == pytest.approx(entropy, abs=0.3), "a tight bound averages to the entropy"
    assert found["latent/rate/a"] < found["latent/rate/a+b"] < found["latent/rate/a+b+c"]


def test_an_encoder_that_ignores_its_input_has_collapsed():
    model = linear_model(subsets.mmvae)
    for encoder in model.encoders.values():
        encoder.forward = lambda x: (torch.zeros(len(x), 2).double(), torch.zeros(len(x), 2).double())
    found = metrics.latent(model, drawn(model, 50))
    assert [found[f"latent/{key}"] for key in ("active_units/a", "collapsed/a", "rate/a")] == [0, 2, 0]


def test_mismatch_is_the_divergence_of_gaussians():
    mean, root = np.array([1.0, -2.0]), np.array([[1.0, 0], [0.5, 2]])
    law = torch.distributions.MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(root @ root.T))
    prior = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    expected = float(torch.distributions.kl_divergence(law, prior))
    assert mismatch(Moments(10**6, mean, root @ root.T)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("rows", "dimension"), [(1000, 64), (200, 64), (1000, 300)])
def test_draws_of_the_prior_match_it_however_few(rows, dimension):
    rng = np.random.default_rng(0)
    found = [mismatch(moments(rng.normal(size=(rows, dimension)))) for _ in range(20)]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(20) + 1e-3


def test_latent_encodes_a_row_once_for_all_subsets():
    model, data, rows = vae(subsets.mopoe(NAMES)), painted(), []
    for encoder in model.encoders.values():
        encoder.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    metrics.latent(model, data)
    assert sum(rows) == len(model.names) * len(data)
