"""Products of experts, KL and mixtures against densities and torch.distributions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from polyvae import InputError
from polyvae.gaussian import Gaussian, GaussianMixture, bounded, kl_to_prior, product_of_experts
from polyvae.posteriors import kl

numbers = st.floats(-3, 3)


def random_experts(modalities: int, batch: int, latent: int, seed: int = 0) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(modalities, batch, latent, generator=generator, dtype=torch.float64)
    return Gaussian(mean, torch.randn(modalities, batch, latent, generator=generator, dtype=torch.float64))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4), st.booleans())
def test_product_agrees_with_a_density_grid(experts, prior_expert):
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    parts = [Normal(mean, math.exp(0.5 * logvar)) for mean, logvar in experts]
    parts += [Normal(0.0, 1.0)] if prior_expert else []
    log_density = sum(part.log_prob(grid) for part in parts)
    density = (log_density - log_density.max()).exp()
    density /= density.sum()
    mean = (density * grid).sum()
    variance = (density * (grid - mean) ** 2).sum()
    stacked = torch.tensor(experts, dtype=torch.float64).T[:, :, None, None]
    product = product_of_experts(Gaussian(*stacked), torch.ones(len(experts), dtype=torch.bool), prior_expert)
    assert product.mean.item() == pytest.approx(mean.item(), abs=1e-6)
    assert product.logvar.exp().item() == pytest.approx(variance.item(), rel=1e-5)


@pytest.mark.parametrize("logvar", [-100.0, -30.0, 0.0, 30.0, 100.0])
def test_one_expert_is_itself_exactly(logvar):
    experts = Gaussian(torch.full((2, 3, 4), 0.3), torch.full((2, 3, 4), logvar))
    product = product_of_experts(experts, torch.tensor([True, False]), prior_expert=False)
    assert torch.equal(product.mean, experts.mean[0])
    assert torch.equal(product.logvar, experts.logvar[0])


def test_order_of_experts_is_irrelevant():
    experts = random_experts(5, 7, 3)
    member = torch.rand(7, 5, generator=torch.Generator().manual_seed(1)) > 0.4
    member[:, 0] = True
    order = torch.tensor([3, 1, 4, 0, 2])
    a = product_of_experts(experts, member, True)
    b = product_of_experts(Gaussian(experts.mean[order], experts.logvar[order]), member[:, order], True)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6), st.booleans())
def test_product_and_its_gradient_are_finite_in_float32(logvars, prior_expert):
    logvar = torch.tensor(logvars, dtype=torch.float32)[:, None, None].requires_grad_()
    mean = torch.full_like(logvar, 2.0).requires_grad_()
    product = product_of_experts(Gaussian(mean, logvar), torch.ones(len(logvars), dtype=torch.bool), prior_expert)
    assert product.mean.isfinite().all()
    assert product.logvar.isfinite().all()
    (product.mean.sum() + product.logvar.sum()).backward()
    assert mean.grad.isfinite().all()
    assert logvar.grad.isfinite().all()


def test_gradients_are_finite_where_experts_are_left_out():
    experts = random_experts(3, 4, 2)
    leaves = Gaussian(experts.mean.requires_grad_(), experts.logvar.requires_grad_())
    member = torch.tensor([[True, False, False], [False, False, False], [True, True, True], [False, True, False]])
    product = product_of_experts(leaves, member, torch.tensor([False, True, False, True]))
    sum(part.sum() for part in product).backward()
    assert leaves.mean.grad.isfinite().all()
    assert leaves.mean.grad[:, 1].eq(0).all(), "a row whose product is the prior depends on no expert"


def test_each_row_of_a_batch_and_each_subset_is_its_own_product():
    experts = random_experts(3, 4, 2)
    member = torch.tensor([[True, False, True], [False, True, False]])[:, None]
    product = product_of_experts(experts, member, torch.tensor([[True], [False]]))
    for subset, prior_expert in ((0, True), (1, False)):
        for row in range(4):
            alone = Gaussian(experts.mean[:, row : row + 1], experts.logvar[:, row : row + 1])
            expected = product_of_experts(alone, member[subset, 0], prior_expert)
            torch.testing.assert_close(product.mean[subset, row], expected.mean[0])
            torch.testing.assert_close(product.logvar[subset, row], expected.logvar[0])


def test_an_empty_product_is_an_error():
    with pytest.raises(InputError, match="no member and no prior expert"):
        product_of_experts(random_experts(2, 3, 1), torch.zeros(3, 2, dtype=torch.bool), False)


def test_kl_agrees_with_torch_distributions():
    a, b = (Gaussian(part.mean[0], part.logvar[0]) for part in (random_experts(1, 6, 5, 1), random_experts(1, 6, 5, 2)))

    def as_normal(g: Gaussian) -> Normal:
        return Normal(g.mean, (0.5 * g.logvar).exp())

    standard = Normal(torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(kl(a, b), kl_divergence(as_normal(a), as_normal(b)).sum(-1))
    torch.testing.assert_close(kl_to_prior(a), kl_divergence(as_normal(a), standard).sum(-1))
    torch.testing.assert_close(a.log_prob(b.mean), as_normal(a).log_prob(b.mean).sum(-1))


def test_bounds_hold_for_any_encoder_output_and_are_the_identity_inside():
    wild = torch.tensor([-torch.inf, -1e30, -20.0, -1.0, 0.0, 1.0, 20.0, 1e30, torch.inf])
    limited = bounded(wild, wild)
    assert limited.logvar.abs().max() <= 20
    assert limited.mean.abs().max() <= 1e4
    assert limited.mean.isfinite().all()
    usual = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(bounded(usual, usual), Gaussian(usual, usual), rtol=0, atol=1e-6)


def test_mixture_density_mean_and_samples_agree():
    generator = torch.Generator().manual_seed(0)
    components = Gaussian(torch.tensor([[[-2.0]], [[1.0]]]), torch.tensor([[[-1.0]], [[0.5]]]))
    mixture = GaussianMixture(components, torch.tensor([[0.3, 0.7]]))
    grid = torch.linspace(-15, 15, 3001)[:, None, None]
    density = mixture.log_prob(grid).exp()[:, 0]
    step = 30 / 3000
    assert density.sum() * step == pytest.approx(1, abs=1e-4)
    assert (density * grid[:, 0, 0]).sum() * step == pytest.approx(mixture.mean.item(), abs=1e-3)
    many = GaussianMixture(
        Gaussian(components.mean.expand(2, 20_000, 1), components.logvar.expand(2, 20_000, 1)),
        mixture.weights.expand(20_000, 2),
    )
    drawn = many.sample(generator)[:, 0].numpy()
    share = np.cumsum(density.numpy()) * step
    for quantile in (0.1, 0.3, 0.6, 0.9):
        assert np.mean(drawn < grid[np.searchsorted(share, quantile), 0, 0].item()) == pytest.approx(
            quantile, abs=0.015
        )
