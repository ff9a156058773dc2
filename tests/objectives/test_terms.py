"""Objectives as terms: the family as recipes, and what each method's objective is certain to do.

Numbers from outside the library, and formulas written out here; the objectives themselves run as in training.
"""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from polyvae import Batch, InputError, fusions, gaussian, likelihoods, noise, subsets
from polyvae.gaussian import Gaussian, kl, kl_to_prior
from polyvae.methods import METHODS
from polyvae.modality import Modality
from polyvae.models import MODELS, MultimodalVAE
from polyvae.models.flowing import JointFlowVAE
from polyvae.models.fused import FusedVAE
from polyvae.models.fusing import HIDDEN, JointEncoder, JointEncoderVAE
from polyvae.models.private import PrivateVAE
from polyvae.networks.heads import GaussianHead
from polyvae.objectives import (
    PRIOR,
    Divergence,
    Draw,
    Geometric,
    Mix,
    Q,
    Terms,
    elbo,
    elbo_of_terms,
    of_terms,
    singles,
)
from polyvae.subsets import Term
from support.linear import Encoder

NAMES, LATENT, PRIVATE = ("a", "b", "c"), 2, 3
OF_TERMS = [name for name, method in METHODS.items() if method.recipe]
PATTERNS = [p for size in (1, 2, 3) for p in itertools.combinations(NAMES, size)]


def recipe_of(name, **options):
    return METHODS[name].terms_for(options)


def model_of(names=NAMES, make=subsets.mmvae, kind=MultimodalVAE):
    """Small networks whose weights depend on the modality alone; float64."""
    specs, pairs, into = [], {}, {}
    read = LATENT + PRIVATE * issubclass(kind, PrivateVAE)
    for name in names:
        torch.manual_seed(ord(name[0]))
        width = 2 + ord(name[0]) % 3
        specs.append(Modality(name, (width,), likelihoods.Normal(0.8)))
        pairs[name], into[name] = (Encoder(width, read), nn.Linear(read, width)), Encoder(width, LATENT)
    more, latent = {}, LATENT
    if issubclass(kind, PrivateVAE):
        more, latent = {"private_dim": PRIVATE}, LATENT + PRIVATE * len(names)
    if kind is FusedVAE:
        more["rule"] = fusions.over_messages
    if issubclass(kind, JointFlowVAE):
        more["flows"] = {name: nn.Identity() for name in names}  # the recipe has no part in them
    if issubclass(kind, JointEncoderVAE):
        more["joint"] = joint = JointEncoder(into, LATENT)
        for name in names:
            torch.manual_seed(ord(name[0]))
            joint.into[name] = nn.Linear(2 * LATENT, HIDDEN)
        joint.head = GaussianHead(HIDDEN, LATENT)
        nn.init.normal_(joint.head.logvar.weight, std=0.1, generator=torch.Generator().manual_seed(5))
        nn.init.normal_(joint.head.mean.weight, std=0.1, generator=torch.Generator().manual_seed(6))
        nn.init.zeros_(joint.head.mean.bias)
    return kind(specs, pairs, make(names), latent, **more).double()


def kind_of(name):
    return MODELS[METHODS[name].model]


def batch_of(model, rows=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        {m.name: torch.randn(rows, *m.shape, generator=generator, dtype=torch.float64) for m in model.modalities}
    )


def with_gaps(batch, patterns):
    """Rows of each pattern in turn."""
    present = torch.tensor([[name in p for name in batch.values] for p in patterns])
    return Batch({name: value[: len(patterns)] for name, value in batch.values.items()}, present)


def no_noise(monkeypatch):
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: torch.zeros(rows, width).to(like))


def result(model, function, *arguments, **how):
    """Loss, parts and all gradients in one vector."""
    model.zero_grad()
    bound = function(model, *arguments, **how)
    bound.loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([bound.loss[None], bound.kl, *bound.log_likelihood, *(g.flatten() for g in gradients)]).detach()


def members(make):
    """The recipe of a member of the family."""

    def recipe(names):
        if make is subsets.mvae_plus:  # eq. 84, also where one modality is all that there is
            elements = (Term(names, 1.0, None, True), *(Term((n,), 1.0, (n,), True) for n in names))
        else:
            elements = make(names).terms
        draws = tuple(Draw(Q(t.given, t.prior_expert), t.weight, t.target) for t in elements)
        return Terms(draws, tuple(Divergence(draw.of, PRIOR, draw.weight) for draw in draws))

    return recipe


@pytest.mark.parametrize("make", [subsets.mvae, subsets.mmvae, subsets.mopoe, subsets.mvae_plus])
def test_the_family_is_recipes(make, monkeypatch):
    model = model_of(make=make)
    batch, weights = batch_of(model), torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    how = {"beta": 0.7, "weights": weights, "allocation": "exact"}

    def both(batch):
        yield result(model, elbo, batch, model.mixture, **how, generator=torch.Generator().manual_seed(1))
        yield result(model, elbo_of_terms, batch, members(make), **how, generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(*both(batch), rtol=1e-6, atol=1e-6)
    no_noise(monkeypatch)  # with gaps the two have their numbers in another order
    torch.testing.assert_close(*both(with_gaps(batch, PATTERNS)), rtol=1e-6, atol=1e-6)


def test_a_mixture_drawn_systematically_averages_to_all_of_its_parts(monkeypatch):
    model = model_of()
    batch = with_gaps(batch_of(model, 7), PATTERNS)
    no_noise(monkeypatch)
    recipe = recipe_of("mmjsd_official")
    exact = elbo_of_terms(model, batch, recipe, allocation="exact").loss
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([elbo_of_terms(model, batch, recipe, generator=generator).loss for _ in range(300)]).detach()
    error = drawn.std() / len(drawn) ** 0.5
    assert error > 0
    assert drawn.mean().item() == pytest.approx(exact.item(), abs=4 * error.item())


@pytest.mark.parametrize("name", OF_TERMS)
@pytest.mark.parametrize("given", PATTERNS, ids="".join)
def test_an_absent_modality_might_as_well_not_exist(name, given, monkeypatch):
    """T10: loss and gradient are those of the model without it, whatever else is in the batch."""
    no_noise(monkeypatch)
    whole, part = (model_of(names, METHODS[name].mixture, kind_of(name)) for names in (NAMES, given))
    batch = batch_of(whole, 4)
    lacking = with_gaps(batch, [given] * 4)
    alone = Batch({n: batch.values[n] for n in given})
    found = {}
    for key, model, rows in (("whole", whole, lacking), ("part", part, alone)):
        model.zero_grad()
        bound = elbo_of_terms(model, rows, recipe_of(name), beta=0.6, allocation="exact")
        bound.loss.backward()
        assert bound.loss.isfinite()
        found[key] = {"loss": bound.loss} | {n: p.grad for n, p in model.named_parameters()}
    for key, value in found["part"].items():
        other = found["whole"][key]
        if value is None or other is None:
            assert value is None or not value.any()
            assert other is None or not other.any()
        else:
            torch.testing.assert_close(other, value, rtol=1e-8, atol=1e-8, msg=lambda text, key=key: f"{key}: {text}")
    absent = [p.grad for n, p in whole.named_parameters() if n not in found["part"]]
    assert all(g is None or not g.any() for g in absent)


@pytest.mark.parametrize("name", OF_TERMS)
def test_the_order_of_modalities_does_not_matter(name, monkeypatch):
    """T10, with rows of every pattern."""
    no_noise(monkeypatch)
    losses = []
    for names in (NAMES, ("c", "a", "b")):
        model = model_of(names, METHODS[name].mixture, kind_of(name))
        values = batch_of(model_of()).values
        present = torch.tensor([[n in p for n in names] for p in PATTERNS])
        bound = elbo_of_terms(model, Batch({n: values[n] for n in names}, present), recipe_of(name), allocation="exact")
        losses.append(bound.loss)
    torch.testing.assert_close(*losses)


# Each method written out, on complete rows and at the means (no noise).


def written(name, model, batch, beta):
    """The objective as its paper, or its published code, has it; per row."""
    experts = model.encode(batch)
    laws = [gaussian.picked(experts, i) for i in range(3)]
    count = 3

    def scores(z):
        return [law.log_prob(batch.values[n]) for n, law in model.decode(z).items()]

    precision = sum((-law.logvar).exp() for law in laws)
    whole = Gaussian(sum((-law.logvar).exp() * law.mean for law in laws) / precision, -precision.log())
    apart = [kl(whole, law) for law in laws]
    if name.startswith("mvtcae"):
        alpha = 5 / 6
        rate = (1 - alpha) * kl_to_prior(whole) + alpha / count * sum(apart)
        return (count - alpha) / count * sum(scores(whole.mean)) - beta * rate
    if name == "crmvae":
        own = sum(scores(law.mean)[i] for i, law in enumerate(laws))
        rate = (kl_to_prior(whole) + sum(apart)) / (count + 1)
        return (sum(scores(whole.mean)) + own) / (2 * (count + 1)) - beta * rate
    if name in ("telbo", "jnf", "jnf_dcca", "jnf_contrast"):  # their first stage
        joint = gaussian.picked(experts, 3)
        return sum(scores(joint.mean)) - beta * kl_to_prior(joint)
    if name == "jmvae":
        joint = gaussian.picked(experts, 3)
        return sum(scores(joint.mean)) - beta * (kl_to_prior(joint) + 0.1 * sum(kl(joint, law) for law in laws))
    if name.startswith("mmjsd"):
        zero = torch.zeros_like(whole.mean)
        five = [*laws, Gaussian(zero, zero)]
        precision = sum((-law.logvar).exp() for law in five) / 4
        mean = sum((-law.logvar).exp() * law.mean for law in five) / 4 / precision
        rate = sum(kl(law, Gaussian(mean, -precision.log())) for law in five) / 4
        drawn = five if name.endswith("official") else laws
        return sum(sum(scores(law.mean)) for law in drawn) / len(drawn) - beta * rate
    own = sum(scores(law.mean)[i] for i, law in enumerate(laws))
    if name == "mmvm":
        density = [torch.stack([other.log_prob(law.mean) for other in laws]).logsumexp(0) - math.log(3) for law in laws]
        return own - beta * sum(law.log_prob(law.mean) - mixed for law, mixed in zip(laws, density, strict=True))
    return own - beta * sum(kl(a, b) for a in laws for b in laws) / 3


@pytest.mark.parametrize("name", [n for n in OF_TERMS if not issubclass(kind_of(n), PrivateVAE)])
def test_each_objective_is_what_its_source_says(name, monkeypatch):
    no_noise(monkeypatch)
    model = model_of(make=METHODS[name].mixture, kind=kind_of(name))
    batch = batch_of(model)
    found = elbo_of_terms(model, batch, recipe_of(name), beta=0.6, allocation="exact")
    torch.testing.assert_close(-found.loss, written(name, model, batch, 0.6).mean())
    torch.testing.assert_close(found.distortion + 0.6 * found.rate, found.loss)


def test_mvtcae_without_its_conditional_bounds_is_mvae_without_prior_expert():
    """T6, in loss and gradient."""
    model = model_of(make=subsets.whole)
    for batch in (batch_of(model), with_gaps(batch_of(model), PATTERNS)):
        found, expected = (
            result(
                model, function, batch, third, beta=0.7, allocation="exact", generator=torch.Generator().manual_seed(2)
            )
            for function, third in ((elbo_of_terms, recipe_of("mvtcae", alpha=0.0)), (elbo, model.mixture))
        )
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_jmvae_without_its_followers_is_the_elbo_of_its_joint_encoder():
    """T6, in loss and gradient; so the metric of L_S scores q_X, also in a model whose likelihoods are replaced."""
    model = model_of(make=subsets.whole, kind=JointEncoderVAE)
    batch = batch_of(model)
    found, expected, rescored = (
        result(model, function, batch, third, allocation="exact", generator=torch.Generator().manual_seed(2))
        for model, function, third in (
            (model, elbo_of_terms, recipe_of("jmvae", alpha=0.0)),
            (model, elbo, model.mixture),
            (model.scored_by(model.modalities), elbo, model.mixture),
        )
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(rescored, expected)


def test_a_model_with_a_joint_encoder_has_a_rule_for_every_subset():
    """All: the joint expert. One: its own. Two, and all of a row that has two: their product over the prior."""
    model = model_of(make=subsets.whole, kind=JointEncoderVAE)
    batch = batch_of(model, 4)
    experts = model.encode(batch)
    for given, index in ((NAMES, 3), (["b"], 1)):
        torch.testing.assert_close(model.posterior(batch, given).component(0), gaussian.picked(experts, index))
    for encoder in model.encoders.values():
        encoder.layer.bias.data[LATENT:] -= 3
    experts = model.encode(batch)
    precision = (-experts.logvar[:2]).exp()
    for found in (model.posterior(batch, ["a", "b"]), model.posterior(with_gaps(batch, [("a", "b")] * 4))):
        torch.testing.assert_close((-found.components.logvar[0]).exp(), precision.sum(0) - 1)
        mean = (precision * experts.mean[:2]).sum(0) / (precision.sum(0) - 1)
        torch.testing.assert_close(found.mean, mean)


def test_mmvm_with_only_its_prior_is_independent_vaes(monkeypatch):
    """T6: the sum of the ELBOs of single modalities."""
    no_noise(monkeypatch)
    model = model_of()
    batch = batch_of(model)
    found = elbo_of_terms(model, batch, recipe_of("mmvm_official", a=1.0), beta=0.6).loss
    alone = [
        elbo(model_of((n,)), Batch({n: value}), subsets.mmvae((n,)), beta=0.6).loss for n, value in batch.values.items()
    ]
    torch.testing.assert_close(found, sum(alone))


@pytest.mark.parametrize(
    ("name", "options", "factor"),
    [("mvtcae", {"alpha": 0.3}, 0.7), ("crmvae", {}, 0.5), ("jmvae", {"alpha": 0.0}, 1.0)],
)
def test_of_one_modality_a_share_of_the_elbo_is_left(name, options, factor, monkeypatch):
    """T7."""
    no_noise(monkeypatch)
    model = model_of(("a",), METHODS[name].mixture, kind_of(name))
    batch = batch_of(model)
    found = elbo_of_terms(model, batch, recipe_of(name, **options), beta=0.6).loss
    torch.testing.assert_close(found, factor * elbo(model, batch, model.mixture, beta=0.6).loss)


def test_of_one_modality_mmvm_is_an_autoencoder_and_mmjsd_is_no_vae(monkeypatch):
    """T7."""
    no_noise(monkeypatch)
    model = model_of(("a",))
    batch = batch_of(model)
    for name in ("mmvm", "mmvm_official"):
        torch.testing.assert_close(
            elbo_of_terms(model, batch, recipe_of(name)).rate, torch.tensor(0.0, dtype=torch.float64)
        )
    own = gaussian.picked(model.encode(batch), 0)
    precision = (1 + (-own.logvar).exp()) / 2
    mean = Gaussian((-own.logvar).exp() * own.mean / 2 / precision, -precision.log())
    prior = Gaussian(torch.zeros_like(own.mean), torch.zeros_like(own.mean))
    rate = elbo_of_terms(model, batch, recipe_of("mmjsd")).rate
    torch.testing.assert_close(rate, (kl(own, mean) + kl(prior, mean)).mean() / 2)


def grid(laws):
    """Points, their spacing, and the log densities of one-dimensional laws there."""
    z = torch.linspace(-14, 14, 28001, dtype=torch.float64)[:, None]
    return z, (z[1] - z[0]).item(), [Gaussian(*law).log_prob(z) for law in laws]


LAWS = [[torch.tensor([v], dtype=torch.float64) for v in law] for law in ((0.7, -0.4), (-1.1, 0.6), (0.2, -1.2))]


def test_the_divergences_from_experts_are_an_entropy_and_a_normaliser():
    """T5: sum_m KL(q_X, q_m) = (M - 1) E log q_X - log Z, both sides by integration."""
    _, step, logs = grid(LAWS)
    product = sum(logs)
    log_z = math.log(product.exp().sum().item() * step)
    whole = product - log_z
    integral = (whole.exp() * whole).sum().item() * step
    experts = Gaussian(*(torch.stack(fields)[:, None] for fields in zip(*LAWS, strict=True)))
    fused = gaussian.product(experts, torch.ones(1, 1, 3, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool))
    found = sum(kl(gaussian.picked(fused, 0), gaussian.picked(experts, i)) for i in range(3))
    assert found.item() == pytest.approx(2 * integral - log_z, rel=1e-8)


def test_the_geometric_mean_by_brute_force():
    """T8: mean and variance of the normalised weighted product; between the experts, unlike a product."""
    z, step, logs = grid(LAWS)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    density = sum(w * log for w, log in zip(weights, logs, strict=True)).exp()
    density = density / (density.sum() * step)
    mean = (density * z[:, 0]).sum() * step
    variance = (density * (z[:, 0] - mean).square()).sum() * step
    law = gaussian.geometric(Gaussian(*(torch.stack(fields) for fields in zip(*LAWS, strict=True))), weights)
    torch.testing.assert_close(law.mean[0], mean)
    torch.testing.assert_close(law.logvar.exp()[0], variance)
    logvars = torch.stack([law[1] for law in LAWS])
    assert logvars.min() < law.logvar < logvars.max()


def test_the_rule_over_the_prior_is_exact_for_exact_experts():
    """T3: p^(1 - |A|) prod q(z | x_m) = q(z | x_A), where x_m = w_m z + noise; one expert is itself, none the prior."""
    weight, variance, x = torch.tensor([[1.0, -0.7, 0.4], [0.5, 2.0, 1.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
    own = 1 + weight.square() / variance
    experts = Gaussian((weight * x / variance / own)[:, None, None], -own.log()[:, None, None])
    member = torch.tensor([[bits >> i & 1 for i in range(3)] for bits in range(8)]).bool()[:, None]
    found = gaussian.with_prior_power(experts, member, 1 - member.sum(-1))
    precision = 1 + (member * weight.square() / variance).sum(-1)
    torch.testing.assert_close(found.logvar.exp()[..., 0], 1 / precision)
    torch.testing.assert_close(found.mean[..., 0], (member * weight * x / variance).sum(-1) / precision)


def test_wide_experts_are_held_to_a_positive_precision():
    wide = Gaussian(torch.ones(3, 1, 1), torch.full((3, 1, 1), 3.0))
    law = gaussian.with_prior_power(wide, torch.ones(1, 3, dtype=torch.bool), torch.tensor([-2]))
    assert law.logvar.item() == pytest.approx(3.0)
    assert law.mean.isfinite().all()


def test_the_jensen_shannon_divergence_stays_below_its_limits():
    """T9: below the mean over pairs, and below M log M however far apart; of equal widths the pairs are a variance."""
    for scale, below in ((1.0, None), (40.0, 3 * math.log(3))):
        model = model_of()
        for encoder in model.encoders.values():
            encoder.layer.weight.data *= scale
        batch = batch_of(model, 4000)
        generator = torch.Generator().manual_seed(0)
        drawn, pairs = (
            elbo_of_terms(model, batch, recipe_of(name), generator=generator).rate for name in ("mmvm", "mmvm_official")
        )
        assert 0 < drawn < pairs
        assert below is None or 0.9 * below < drawn < below < pairs
    for encoder in model.encoders.values():
        encoder.layer.weight.data[LATENT:], encoder.layer.bias.data[LATENT:] = 0, -0.3
    experts = model.encode(batch)
    spread = (experts.mean - experts.mean.mean(0)).square().sum(0) * math.exp(0.3)
    found = elbo_of_terms(model, batch, recipe_of("mmvm_official"), generator=generator)
    torch.testing.assert_close(found.rate, spread.sum(-1).mean(), rtol=1e-5, atol=0)
    alike = Batch({"a": batch.values["a"]})
    twins = model_of(("a", "a2", "a3"))
    rates = [
        elbo_of_terms(twins, Batch(dict.fromkeys(twins.names, alike.values["a"])), recipe_of(name)).rate
        for name in ("mmvm", "mmvm_official")
    ]
    torch.testing.assert_close(torch.stack(rates), torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)


# T15. The objectives minimised to convergence on one-dimensional data, against constants from outside the library.


class Linear(nn.Module):
    """A linear mean of what it reads, and one log variance."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), 0.3, dtype=torch.float64))
        self.logvar = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, values, present=None):
        read = torch.cat(list(values.values()), -1) if isinstance(values, dict) else values
        mean = (read * self.weight).sum(-1, keepdim=True)
        return mean, self.logvar.expand_as(mean)


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, z):
        return self.factor * z


def toy(name, factors, variances, monkeypatch):
    """(model, batch, covariance of x) for fixed decoders, x_m = factor z + noise.

    Six rows have exactly the means and covariances of x and of the noise of z, which is all that the loss depends on.
    """
    factor = torch.tensor(factors, dtype=torch.float64)
    covariance = torch.outer(factor, factor) + torch.diag(torch.tensor(variances, dtype=torch.float64))
    points = math.sqrt(3) * torch.cat([torch.eye(3), -torch.eye(3)]).double()
    values = points[:, :2] @ torch.linalg.cholesky(covariance).T
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: points[:, 2:].to(like))
    names = ("a", "b")
    specs = [Modality(n, (1,), likelihoods.Normal(v**0.5)) for n, v in zip(names, variances, strict=True)]
    pairs = {n: (Linear(1), Times(f)) for n, f in zip(names, factors, strict=True)}
    more = {"joint_encoder": {"joint": Linear(2)}, "messages": {"rule": fusions.over_messages}}
    model = kind_of(name)(specs, pairs, METHODS[name].mixture(names), 1, **more.get(METHODS[name].model, {})).double()
    return model, Batch({n: values[:, i : i + 1] for i, n in enumerate(names)}), covariance


def optimum(name, factors, variances, monkeypatch, **options):
    """(coefficients, precision) of q_X where the loss is least, the model, and that loss."""
    model, batch, _ = toy(name, factors, variances, monkeypatch)
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=300, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def step():
        optimiser.zero_grad()
        loss = elbo_of_terms(model, batch, recipe_of(name, **options)).loss
        loss.backward()
        return loss

    optimiser.step(step)
    with torch.no_grad():
        whole = model.posterior(batch).component(0)
        coefficients = torch.linalg.lstsq(torch.cat([*batch.values.values()], -1), whole.mean).solution.flatten()
    return [*coefficients.tolist(), (-whole.logvar[0]).exp().item()], model, step().item()


def entropy(variance):
    """Of a Normal with this variance."""
    return 0.5 * math.log(2 * math.pi * math.e * variance)


@pytest.mark.parametrize("name", ["mvtcae", "jmvae"])
def test_the_bounds_hold_for_any_networks_and_are_attained(name, monkeypatch):
    """T1, T2: MVTCAE is at most (1 - alpha) log p(X) + alpha / M sum_m log p(X without x_m | x_m), JMVAE log p(X)."""
    model, batch, covariance = toy(name, (1.0, -0.7), (0.5, 2.0), monkeypatch)
    joint = entropy(1) + entropy(covariance.det().item())
    given_one = [joint - entropy(covariance[i, i].item()) for i in range(2)]
    generator = torch.Generator().manual_seed(0)
    for alpha in (0.0, 0.4, 1.0):
        least = joint if name == "jmvae" else (1 - alpha) * joint + alpha * sum(given_one) / 2
        recipe = recipe_of(name, alpha=alpha)
        for _ in range(50):
            for parameter in model.parameters():
                parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            assert elbo_of_terms(model, batch, recipe).loss > least
        reached = optimum(name, (1.0, -0.7), (0.5, 2.0), monkeypatch, alpha=alpha)[2]
        assert reached == pytest.approx(least, abs=1e-6) if alpha == 0 else reached > least


@pytest.mark.parametrize(
    ("alpha", "precision", "share"), [(0.01, 2.980, 0.3322), (0.1, 2.827, 0.3228), (1.0, 2.211, 0.2559)]
)
def test_jmvae_biases_its_joint_posterior_by_the_known_amount(alpha, precision, share, monkeypatch):
    """T15: the exact posterior has precision 3 and coefficients 1/3."""
    found, *_ = optimum("jmvae", (1.0, 1.0), (1.0, 1.0), monkeypatch, alpha=alpha)
    assert found == pytest.approx([share, share, precision], abs=6e-4)


def test_single_encoders_of_jmvae_are_exact_where_its_joint_one_is(monkeypatch):
    """T4: q(z | x_m) itself, so that its distance from q_X is the information in the other modality."""
    _, model, _ = optimum("jmvae", (1.0, 1.0), (1.0, 1.0), monkeypatch, alpha=1e-5)
    single, precision = model.encoders["a"], (-model.encoders["a"].logvar).exp().item()
    assert (single.weight.item(), precision) == pytest.approx((0.5, 2.0), abs=1e-3)


TABLE = [
    (0.0, 0.6163, -0.1079, 3.245),
    (0.3, 0.6233, -0.1023, 3.277),
    (0.9, 0.6514, -0.0893, 3.428),
    (1.0, 0.6615, -0.0865, 3.466),
]


@pytest.mark.parametrize(("alpha", "first", "second", "precision"), TABLE)
def test_mvtcae_biases_its_joint_posterior_where_experts_differ(alpha, first, second, precision, monkeypatch):
    """T15: x1 = z + N(0, .5), x2 = -.7 z + N(0, 2); exact at alpha 0 alone."""
    found, *_ = optimum("mvtcae", (1.0, -0.7), (0.5, 2.0), monkeypatch, alpha=alpha)
    assert found == pytest.approx([first, second, precision], abs=6e-4)


def test_single_posteriors_of_mvtcae_are_messages(monkeypatch):
    """Where modalities are alike q_X is exact and an expert has 1 / M of its precision, so that its mean overshoots;
    over messages q(z | x_m) is exact, too: precision 2, mean x_m / 2."""
    found, model, _ = optimum("mvtcae_over_messages", (1.0, 1.0), (1.0, 1.0), monkeypatch, alpha=0.5)
    assert found == pytest.approx([1 / 3, 1 / 3, 3.0], abs=1e-4)
    expert = model.encoders["a"]
    assert (expert.weight.item(), (-expert.logvar).exp().item()) == pytest.approx((2 / 3, 1.5), abs=1e-3)
    single = model.posterior(Batch({n: torch.ones(1, 1, dtype=torch.float64) for n in "ab"}), ["a"]).component(0)
    assert (single.mean.item(), (-single.logvar).exp().item()) == pytest.approx((0.5, 2.0), abs=1e-3)


def test_recipes_of_what_there_is_not_are_refused():
    model = model_of()
    batch = batch_of(model)
    unknown = Terms((Draw(Q(("d",))),), ())
    aimed = Terms((Draw(Q(("a",)), targets=("d",)),), ())
    mixed = Terms((Draw(Q(("a",))),), (Divergence(Q(("a",)), Mix(singles(NAMES))),))
    parts = Terms((Draw(Q(("a",))),), (Divergence(Mix(singles(NAMES)), Q(("a",))),))
    for refused, how, message in (
        (mixed, {}, "no closed form"),
        (parts, {}, "a divergence of a Mix is from PRIOR"),
        (unknown, {}, "a recipe names 'd' for a row that has a, b, c"),
        (aimed, {}, "a recipe names 'd' for a row that has a, b, c"),
        ([Draw(Q(("a",)))], {}, "a recipe returned list for a, b, c; it must return Terms"),
        (members(subsets.mvae)(NAMES), {"beta": -1.0}, "beta is -1"),
        (members(subsets.mvae)(NAMES), {"allocation": "random"}, "unknown allocation"),
    ):
        with pytest.raises(InputError, match=message):
            elbo_of_terms(model, batch, lambda names, refused=refused: refused, **how)


def test_a_recipe_names_what_its_row_has_or_is_refused():
    """Whatever is not there is 0, which no expert must read as if it had been seen."""
    model = model_of()
    fixed = Terms((Draw(Q(("a",))),), (Divergence(Q(("a",)), PRIOR),))
    assert elbo_of_terms(model, batch_of(model), lambda names: fixed).loss.isfinite()
    with pytest.raises(InputError, match="a recipe names 'a' for a row that has b"):
        elbo_of_terms(model, with_gaps(batch_of(model), [PATTERNS[0]]), lambda names: fixed)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Q("m9"), r"Q(given='m9'): it must be a tuple such as (name,)"),
        (lambda: Q(["a"]), r"Q(given=['a']): it must be a tuple"),
        (lambda: Q((), 1), r"Q(prior_expert=1): it must be bool"),
        (lambda: Q((), private="own"), r"Q(private='own'): it must be one of 'given', 'all', 'none'"),
        (lambda: Mix(Q(("a",))), r"it must be a tuple such as ((a finite number, Q),)"),
        (lambda: Geometric(((1.0, "a"),)), r"Geometric(parts=((1.0, 'a'),)): it must be"),
        (lambda: Draw("a"), r"Draw(of='a'): it must be Q or Mix"),
        (lambda: Draw(PRIOR, "0.5"), r"Draw(weight='0.5'): it must be a finite number"),
        (lambda: Draw(PRIOR, float("nan")), r"Draw(weight=nan): it must be a finite number"),
        (lambda: Draw(PRIOR, targets="ab"), r"Draw(targets='ab'): it must be a tuple such as (name,) or None"),
        (lambda: Draw(PRIOR, unseen="one"), r"Draw(unseen='one'): it must be one of 'prior', 'reference', 'zero'"),
        (lambda: Draw(PRIOR, others="1"), r"Draw(others='1'): it must be a finite number or None"),
        (lambda: Divergence(PRIOR, PRIOR, how="montecarlo"), r"one of 'closed', 'sampled', 'pairwise'"),
        (lambda: Terms(Draw(PRIOR), ()), r"it must be a tuple such as (Draw,)"),
        (lambda: Terms((), Divergence(PRIOR, PRIOR)), r"it must be a tuple such as (Divergence,)"),
        (lambda: Terms((Divergence(PRIOR, PRIOR),), ()), r"it must be a tuple such as (Draw,)"),
        (lambda: PRIOR._replace(private="some"), r"Q(private='some'): it must be one of 'given', 'all', 'none'"),
    ],
)
def test_terms_of_another_form_are_refused_when_they_are_made(made, message):
    with pytest.raises(InputError, match=re.escape(message)):
        made()


def test_numbers_of_any_kind_are_weights():
    assert Draw(PRIOR, 1) == Draw(PRIOR, np.float32(1)) == Draw(PRIOR, Fraction(1)) == Draw(PRIOR)


@pytest.mark.parametrize("name", OF_TERMS)
def test_with_many_modalities_the_patterns_of_a_batch_are_looked_up(name, monkeypatch):
    """The same whether all patterns are laid out or those that the rows have."""
    no_noise(monkeypatch)
    model = model_of(make=METHODS[name].mixture, kind=kind_of(name))
    batch = with_gaps(batch_of(model), [PATTERNS[i] for i in (6, 1, 1, 4)])
    found = []
    for most in (8, 1):
        monkeypatch.setattr(of_terms, "MOST_PATTERNS", most)
        found.append(result(model, elbo_of_terms, batch, recipe_of(name), allocation="exact"))
    torch.testing.assert_close(*found)
