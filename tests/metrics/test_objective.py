"""What a run minimises, on the test set."""

import numpy as np
import pytest
import torch

from polyvae import metrics, objectives, subsets
from polyvae.methods.mvae_plus_random import elbo_with_random_subsets
from polyvae.metrics import Evaluation
from support.painters import NAMES, painted, vae


def minimised(model, function, **options):
    return lambda batch, noise: function(model, batch, model.mixture, generator=noise, **options)


def test_the_objective_of_an_elbo_run_is_its_bound_where_all_terms_are_decoded():
    model, data = vae(subsets.mmvae(NAMES)), painted()
    exact = minimised(model, objectives.elbo, beta=0.7, allocation="exact")
    losses = [metrics.objective(model, data, exact, seed=seed)["objective/loss"] for seed in range(20)]
    bounds = [metrics.bound(model, data, beta=0.7, seed=seed)["bound/loss"] for seed in range(20)]
    assert np.mean(losses) == pytest.approx(np.mean(bounds), abs=4 * (np.std(losses) + np.std(bounds)) / np.sqrt(20))


@pytest.mark.parametrize("name", ["iwae", "dreg_looser", "dreg_looser_official"])
@pytest.mark.parametrize("allocation", ["exact", "systematic"])
def test_the_objective_of_importance_weighted_runs_is_tighter_and_belongs_to_rows(name, allocation):
    model, data = vae(subsets.mmvae(NAMES)), painted()
    options = {"samples": 6, "allocation": allocation}
    function = minimised(model, objectives.objective_named(name).function, **options)
    loss = metrics.objective(model, data, function, seed=1)["objective/loss"]
    assert metrics.objective(model, data, function, seed=1, batch_size=7)["objective/loss"] == pytest.approx(loss)
    loose = minimised(model, objectives.elbo, allocation=allocation)
    assert loss < metrics.objective(model, data, loose, seed=1)["objective/loss"]


def test_an_objective_that_draws_for_the_whole_batch_is_reproducible_too():
    model, data = vae(subsets.mvae_plus(NAMES)), painted()
    function = minimised(model, elbo_with_random_subsets, allocation="exact")
    torch.manual_seed(1)
    first = metrics.objective(model, data, function)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert metrics.objective(model, data, function) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_the_objective_is_scored_in_eval_mode_without_gradients():
    model, data, seen = vae(subsets.mopoe(NAMES)).train(), painted(), []

    def function(batch, noise):
        seen.append((model.training, torch.is_grad_enabled()))
        return objectives.elbo(model, batch, model.mixture, generator=noise)

    found, notes = metrics.evaluate(model, Evaluation(data, data, objective=function), ["objective"])
    assert set(found) == {"objective/loss"}
    assert notes == {}
    assert seen == [(False, False)]
    assert model.training
    _, notes = metrics.evaluate(model, Evaluation(data, data), ["objective"])
    assert notes == {"objective": "no objective was given"}
