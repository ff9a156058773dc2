"""Rules of fusion against matrices, integrals and closed forms that are computed here."""

import itertools
import math

import pytest
import torch

from polyvae import fusions, gaussian
from polyvae.gaussian import Gaussian

ROWS, LATENT, COUNT = 5, 3, 4
SUBSETS = [p for size in range(1, COUNT + 1) for p in itertools.combinations(range(COUNT), size)]
MEMBER = torch.tensor([[i in p for i in range(COUNT)] for p in SUBSETS])[:, None]
LOGITS = torch.randn(COUNT, LATENT, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
RULES = {
    "correlated": lambda experts, member: fusions.correlated(experts, member, 0.4),
    "negatively": lambda experts, member: fusions.correlated(experts, member, -0.3),
    "hellinger": fusions.hellinger,
    "weighted": lambda experts, member: fusions.weighted(experts, member, LOGITS.to(experts.mean.dtype)),
}


def experts_of(seed=0, spread=1.0, latent=LATENT):
    generator = torch.Generator().manual_seed(seed)
    mean, logvar = torch.randn(2, COUNT, ROWS, latent, generator=generator, dtype=torch.float64)
    return Gaussian(spread * mean, logvar)


def grid(mean, logvar):
    """Points, their spacing, and log densities (modality, point) of one-dimensional laws."""
    z = torch.linspace(-25, 25, 50001, dtype=torch.float64)
    logs = [Gaussian(*law).log_prob(z[:, None]) for law in zip(mean, logvar, strict=True)]
    return z, (z[1] - z[0]).item(), torch.stack(logs)


def moments(density, z):
    density = density / density.sum()
    mean = (density * z).sum()
    return mean, (density * (z - mean).square()).sum()


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.4, 0.95])
def test_correlated_experts_are_combined_by_the_inverse_of_their_covariance(rho):
    """T8: the whole matrix, inverted for every subset, row and dimension."""
    experts = experts_of()
    found = fusions.correlated(experts, MEMBER, rho)
    for index, members in enumerate(map(list, SUBSETS)):
        sd = (0.5 * experts.logvar[members]).exp().permute(1, 2, 0)  # (batch, latent, member)
        count = len(members)
        correlation = rho + (1 - rho) * torch.eye(count, dtype=torch.float64)
        inverse = torch.linalg.inv(sd[..., None] * correlation * sd[..., None, :]).sum(-1)
        torch.testing.assert_close((-found.logvar[index]).exp(), inverse.sum(-1))
        mean = (inverse * experts.mean[members].permute(1, 2, 0)).sum(-1) / inverse.sum(-1)
        torch.testing.assert_close(found.mean[index], mean)


def test_uncorrelated_experts_are_multiplied():
    """T6."""
    experts = experts_of()
    product = gaussian.product(experts, MEMBER, torch.zeros(len(SUBSETS), 1, dtype=torch.bool))
    torch.testing.assert_close(fusions.correlated(experts, MEMBER, 0.0), product)


def test_dense_experts_are_multiplied_as_matrices():
    """T8: precisions D R R' D and the prior's, inverted for every subset and row; without correlation it is MVAE."""
    experts, generator = experts_of(), torch.Generator().manual_seed(3)
    roots = torch.randn(COUNT, LATENT, LATENT, generator=generator, dtype=torch.float64)
    roots = roots / roots.norm(dim=-1, keepdim=True)
    found = fusions.dense(experts, MEMBER, roots)
    for index, members in enumerate(map(list, SUBSETS)):
        inverse = (-0.5 * experts.logvar[members]).exp()
        scaled = inverse[..., None] * roots[members][:, None]
        covariance = torch.linalg.inv(torch.eye(LATENT).double() + (scaled @ scaled.mT).sum(0))
        told = (inverse**2 * experts.mean[members]).sum(0)
        torch.testing.assert_close(found.mean[index], (covariance @ told[..., None])[..., 0])
        torch.testing.assert_close(found.logvar[index].exp(), covariance.diagonal(dim1=-2, dim2=-1))
    plain = fusions.dense(experts, MEMBER, torch.eye(LATENT).double().repeat(COUNT, 1, 1))
    product = gaussian.product(experts, MEMBER, torch.ones(len(SUBSETS), 1, dtype=torch.bool))
    torch.testing.assert_close(plain, product)


def test_gradients_of_dense_experts_are_those_of_finite_differences():
    """The inverse has no gradient of its own; terms that are 0 give it one."""
    experts, generator = experts_of(), torch.Generator().manual_seed(3)
    roots = torch.randn(COUNT, LATENT, LATENT, generator=generator, dtype=torch.float64)
    inputs = [value.clone().requires_grad_() for value in (*experts, roots)]
    for member in (MEMBER, MEMBER[:ROWS, 0]):  # of all rows, and of each row
        assert torch.autograd.gradcheck(lambda m, v, r, by=member: fusions.dense(Gaussian(m, v), by, r), inputs)


def test_what_correlation_costs_equal_experts_and_two_unequal_ones():
    rho, sd = 0.6, 0.7
    alike = Gaussian(experts_of().mean, torch.full((COUNT, ROWS, LATENT), 2 * math.log(sd), dtype=torch.float64))
    found = fusions.correlated(alike, MEMBER, rho)
    for index, members in enumerate(map(list, SUBSETS)):
        variance = sd**2 * (1 + (len(members) - 1) * rho) / len(members)
        assert found.logvar[index].exp().min().item() == pytest.approx(variance)
        torch.testing.assert_close(found.mean[index], alike.mean[members].mean(0))
    for wide in (1.5, 1.7):  # of 1 to 5/3 the weight of the wider one is 0
        pair = Gaussian(torch.tensor([[[0.0]], [[1.0]]]), 2 * torch.tensor([[[1.0]], [[wide]]]).log())
        law = fusions.correlated(pair, torch.ones(1, 2, dtype=torch.bool), rho)
        assert law.logvar.exp().item() == pytest.approx((1 - rho**2) * wide**2 / (1 + wide**2 - 2 * rho * wide))
        assert (law.mean.item() < 0) == (rho > 1 / wide)


def test_the_hellinger_pool_by_brute_force():
    """T8: (sum sqrt q)^2 on a grid is the mixture of `hoelder` times its normaliser, and has the moments."""
    experts = experts_of(latent=1)
    law, (parts, log_weights) = fusions.hellinger(experts, MEMBER), fusions.hoelder(experts, MEMBER)
    for index, members in enumerate(map(list, SUBSETS)):
        z, step, logs = grid(experts.mean[members, 0], experts.logvar[members, 0])
        pooled = (0.5 * logs).exp().sum(0).square()
        mean, variance = moments(pooled, z)
        torch.testing.assert_close(law.mean[index, 0, 0], mean)
        torch.testing.assert_close(law.logvar[index, 0, 0].exp(), variance)
        each = Gaussian(parts.mean[:, :1], parts.logvar[:, :1]).log_prob(z[:, None])
        density = (log_weights[:, index, :1] + each).logsumexp(0).exp()
        torch.testing.assert_close(density, pooled / (pooled.sum() * step))


def test_the_hoelder_mixture_has_weights_of_one_and_the_moments_of_helvae():
    experts = experts_of(spread=0.3)
    parts, log_weights = fusions.hoelder(experts, MEMBER)
    weights = log_weights.exp()[..., None]
    torch.testing.assert_close(weights.sum(0), torch.ones(len(SUBSETS), ROWS, 1).double())
    mean = (weights * parts.mean[:, None]).sum(0)
    square = (weights * (parts.mean.square() + parts.logvar.exp())[:, None]).sum(0)
    law = fusions.hellinger(experts, MEMBER)
    torch.testing.assert_close(law.mean, mean)
    torch.testing.assert_close(law.logvar.exp(), square - mean.square())
    overlap = 1.0  # over all dimensions together: a product of integrals
    for d in range(LATENT):
        _, step, logs = grid(experts.mean[[0, 1], 0, d : d + 1], experts.logvar[[0, 1], 0, d : d + 1])
        overlap *= (0.5 * logs.sum(0)).exp().sum().item() * step
    index = SUBSETS.index((0, 1))
    single, pair = weights[[0, 1], index, 0, 0].tolist()
    assert pair / single == pytest.approx(2 * overlap)


def test_experts_that_agree_are_returned_and_those_far_apart_are_a_mixture():
    experts = experts_of()
    same = experts.like(*(field[:1].expand(COUNT, -1, -1) for field in experts))
    for rule in (fusions.hellinger, RULES["weighted"]):
        for found, field in zip(rule(same, MEMBER), same, strict=True):
            torch.testing.assert_close(found, field[:1].expand(len(SUBSETS), -1, -1))
    apart = experts.like(experts.mean + 100 * torch.arange(COUNT)[:, None, None], experts.logvar)
    law = fusions.hellinger(apart, MEMBER[-1:])
    mean = apart.mean.mean(0)
    torch.testing.assert_close(law.mean[0], mean)
    torch.testing.assert_close(law.logvar[0].exp(), (apart.logvar.exp() + apart.mean.square()).mean(0) - mean.square())


def test_weighted_experts_by_brute_force():
    """T8: prod q^a on a grid; equal weights are the geometric mean."""
    experts = experts_of(latent=1)
    law = fusions.weighted(experts, MEMBER, LOGITS[:, :1])
    for index, members in enumerate(map(list, SUBSETS)):
        z, _, logs = grid(experts.mean[members, 0], experts.logvar[members, 0])
        density = (LOGITS[members, :1].softmax(0) * logs).sum(0)
        mean, variance = moments((density - density.max()).exp(), z)
        torch.testing.assert_close(law.mean[index, 0, 0], mean)
        torch.testing.assert_close(law.logvar[index, 0, 0].exp(), variance)
    experts = experts_of()
    equal = fusions.weighted(experts, MEMBER[-1:], torch.zeros(COUNT, LATENT))
    weights = torch.full((COUNT, ROWS), 1 / COUNT, dtype=torch.float64)
    torch.testing.assert_close(gaussian.picked(equal, 0), gaussian.geometric(experts, weights))


@pytest.mark.parametrize("name", RULES)
def test_only_members_count_in_any_order_by_row_or_by_subset(name):
    """T10; one expert is returned as it is."""
    rule, experts = RULES[name], experts_of()
    by_subset = rule(experts, MEMBER)
    order = [2, 0, 3, 1]
    if name != "weighted":  # whose weights have an order
        torch.testing.assert_close(rule(gaussian.picked(experts, order), MEMBER[..., order]), by_subset)
    for index, members in enumerate(SUBSETS):
        by_row = rule(experts, MEMBER[index].expand(ROWS, -1))
        torch.testing.assert_close(by_row, gaussian.picked(by_subset, index))
        outside = [i for i in range(COUNT) if i not in members]
        changed = experts.like(*(field.clone() for field in experts))
        changed.mean[outside], changed.logvar[outside] = -1e4, 20.0
        torch.testing.assert_close(rule(changed, MEMBER[index].expand(ROWS, -1)), by_row)
        if len(members) == 1:
            torch.testing.assert_close(by_row, gaussian.picked(experts, members[0]))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("latent", [1, 512])
def test_laws_and_gradients_stay_finite_at_the_limits_of_encoders(name, latent):
    """Means of 1e4, log variances of 20 either way, in float32: overlaps underflow."""
    for mean, logvar in itertools.product((0.0, 3.0, 1e4), (-20.0, 0.0, 20.0)):
        means = torch.linspace(-mean, mean, COUNT)[:, None, None].expand(-1, 2, latent).clone().requires_grad_()
        logvars = torch.tensor([logvar, 0.0, -logvar, logvar])[:, None, None].expand(-1, 2, latent).clone()
        logvars.requires_grad_()
        experts = Gaussian(means, logvars)
        if name == "weighted":
            law = fusions.weighted(experts, MEMBER, torch.zeros(COUNT, latent))
        else:
            law = RULES[name](experts, MEMBER)
        (law.mean.sum() + law.logvar.sum()).backward()
        assert all(field.isfinite().all() for field in (*law, means.grad, logvars.grad))
