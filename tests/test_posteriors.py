"""Laplace posteriors, scales and divergences against SciPy, torch.distributions and quadrature."""

import itertools

import pytest
import torch
from scipy import stats
from torch import distributions, nn

from polyvae import InputError, Modality, MultimodalVAE, likelihoods, networks, subsets
from polyvae.gaussian import Gaussian, product_of_experts
from polyvae.posteriors import Family, Laplace, kl, kl_by_dimension, of_scale

MEAN, LOG_SCALE = torch.tensor([0.3, -1.2]).double(), torch.tensor([-0.5, 0.4]).double()


def reference(kind: str, mean, scale) -> distributions.Distribution:
    return {"normal": distributions.Normal, "laplace": distributions.Laplace}[kind](mean, scale)


@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_density_and_variance_are_those_of_torch(kind):
    law, theirs = of_scale(kind, MEAN, LOG_SCALE), reference(kind, MEAN, LOG_SCALE.exp())
    z = torch.linspace(-4, 4, 9).double()[:, None].expand(9, 2)
    torch.testing.assert_close(law.log_prob(z), theirs.log_prob(z).sum(-1))
    torch.testing.assert_close(law.logvar.exp(), theirs.variance)


def test_a_laplace_draw_is_the_quantile_of_its_normal_number():
    probability = torch.tensor([1e-9, 0.01, 0.3, 0.5, 0.9, 1 - 1e-9]).double()
    drawn = of_scale("laplace", MEAN[:1], LOG_SCALE[:1]).rsample(torch.from_numpy(stats.norm.ppf(probability))[:, None])
    expected = stats.laplace.ppf(probability, MEAN[0].item(), LOG_SCALE[0].exp().item())
    torch.testing.assert_close(drawn.squeeze(1), torch.from_numpy(expected), rtol=1e-6, atol=1e-9)


def test_draws_have_gradients_at_the_median_and_far_out():
    mean, logvar = torch.zeros(5, requires_grad=True), torch.zeros(5, requires_grad=True)
    Laplace(mean, logvar).rsample(torch.tensor([-40.0, -1.0, 0.0, 1.0, 40.0])).sum().backward()
    assert torch.equal(mean.grad, torch.ones(5))
    assert logvar.grad.isfinite().all()


@pytest.mark.parametrize(("first", "second"), list(itertools.product(["normal", "laplace"], repeat=2)))
def test_divergences_are_integrals(first, second):
    a, b = of_scale(first, MEAN, LOG_SCALE), of_scale(second, torch.tensor([0.5, 0.1]).double(), -0.3 * LOG_SCALE)
    grid = torch.linspace(-60, 60, 400_001).double()
    for index in range(2):
        here, there = (
            reference(kind, law.mean[index], scale)
            for kind, law, scale in (
                (first, a, LOG_SCALE[index].exp()),
                (second, b, (-0.3 * LOG_SCALE[index]).exp()),
            )
        )
        expected = torch.trapezoid(here.log_prob(grid).exp() * (here.log_prob(grid) - there.log_prob(grid)), grid)
        torch.testing.assert_close(kl_by_dimension(a, b)[index], expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(kl(a, b), kl_by_dimension(a, b).sum())
    torch.testing.assert_close(kl(a, a), torch.zeros(()).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_softmax_scales_sum_to_the_dimension_and_are_never_zero(kind):
    output = torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, -1.0, 0.0, 2.0], [200.0, -200.0, 0.0, 0.0]]).double()
    law = Family(kind, "softmax")(torch.zeros(3, 4).double(), output)
    scale = (0.5 * law.logvar).exp() if kind == "normal" else law.log_scale.exp()
    torch.testing.assert_close(scale.sum(-1), torch.full((3,), 4.0).double())
    assert scale.min() >= 1e-6
    torch.testing.assert_close(scale[0], torch.ones(4).double())


def test_softplus_and_exp_scales():
    output = torch.tensor([[-3.0, 0.5]]).double()
    law = Family("laplace", "softplus")(torch.zeros(1, 2).double(), output)
    torch.testing.assert_close(law.log_scale.exp(), nn.functional.softplus(output) + 1e-6, rtol=1e-3, atol=0)
    torch.testing.assert_close(Family("laplace", "exp")(output, output).logvar, output, rtol=0, atol=1e-4)


def test_unknown_families_are_refused():
    with pytest.raises(InputError, match="normal, laplace"):
        Family("cauchy")
    with pytest.raises(InputError, match="exp, softplus, softmax"):
        Family("normal", "square")


def test_products_of_laplace_experts_are_refused_and_single_ones_returned():
    experts = Laplace(torch.randn(2, 3, 4), torch.randn(2, 3, 4))
    alone = product_of_experts(experts, torch.tensor([[[True, False]], [[False, True]]]), False)
    assert isinstance(alone, Laplace)
    torch.testing.assert_close(alone, experts)
    for member, prior in (([True, True], False), ([True, False], True)):
        with pytest.raises(InputError, match="Normal posteriors"):
            product_of_experts(experts, torch.tensor(member), prior)
        assert isinstance(product_of_experts(Gaussian(*experts), torch.tensor(member), prior), Gaussian)


@pytest.mark.parametrize("make", [subsets.mvae, subsets.mopoe, subsets.mvae_plus])
def test_a_model_refuses_an_s_that_needs_products_its_family_lacks(make):
    modalities = tuple(Modality(n, (3,), likelihoods.Normal(1.0)) for n in "ab")
    built = {m.name: networks.build("mlp", m, 2) for m in modalities}
    with pytest.raises(InputError, match="laplace posteriors have none"):
        MultimodalVAE(modalities, built, make(("a", "b")), 2, family=Family("laplace"))
    MultimodalVAE(modalities, built, subsets.mmvae(("a", "b")), 2, family=Family("laplace"))
