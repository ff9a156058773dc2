"""Shared and private codes: objectives against formulas written out here, limits, gradients, and what is decoded."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Laplace, MultivariateNormal, Normal, kl_divergence

import polyvae as pv
from polyvae import Batch, InputError, fitting, likelihoods, noise, posteriors, priors, subsets, waiting
from polyvae.cli import main
from polyvae.methods import METHODS, mmvae_plus
from polyvae.modality import Modality
from polyvae.models import MODELS, MultimodalVAE
from polyvae.networks.trunks import TwoTrunks
from polyvae.noise import RowNoise
from polyvae.objectives import Draw, Q, Terms, dreg_looser, elbo, elbo_of_terms, elbo_tight, iwae_looser
from polyvae.objectives.weighting import importance_bound
from polyvae.posteriors import Family
from polyvae.runs.plan import make_plan
from support.linear import Encoder

NAMES, SHARED, PRIVATE, ROWS = ("a", "b", "c"), 2, 3, 5
METHODS_HERE = [name for name, method in METHODS.items() if method.model.startswith("private")]
PAIRS = [p for size in (1, 2, 3) for p in itertools.combinations(NAMES, size)]
LAWS = {"normal": Normal, "laplace": Laplace}
BOTH = pytest.mark.parametrize("family", [Family("laplace", "softmax"), Family()], ids=["laplace", "normal"])


def model_of(name, names=NAMES, *, family=None, make=None, prior=None, private=PRIVATE, **options):
    """Small networks of the kind that a method trains, in float64; r differs from p(w)."""
    torch.manual_seed(0)
    pairs, specs = {}, []
    for n in names:
        width = 2 + ord(n) % 3
        specs.append(Modality(n, (width,), likelihoods.Normal(0.8)))
        pairs[n] = Encoder(width, SHARED + private), nn.Linear(SHARED + private, width)
    method = METHODS[name]
    mixture, latent = (make or method.mixture)(names), SHARED + private * len(names)
    model = MODELS[method.model](
        specs, pairs, mixture, latent, private_dim=private, family=family or Family(), prior=prior, **options
    )
    for law in (model.references or {}).values():
        nn.init.normal_(law.logits)
    return model.double()


def batch_of(model, rows=ROWS):
    generator = torch.Generator().manual_seed(1)
    return Batch(
        {m.name: torch.randn(rows, *m.shape, generator=generator, dtype=torch.float64) for m in model.modalities}
    )


def recipe_of(name, **options):
    return METHODS[name].terms_for(options)


def no_noise(monkeypatch):
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: torch.zeros(rows, width).to(like))


def gradients(model, loss):
    """name -> gradient, zeros where there is none."""
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, retain_graph=True)
    pairs = zip(model.named_parameters(), found, strict=True)
    return {name: torch.zeros_like(p) if grad is None else grad for (name, p), grad in pairs}


def same(model, found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradients(model, found), gradients(model, expected), rtol=1e-6, atol=1e-6)


# What each method says, with torch.distributions and loops.


def laws_of(model, batch):
    """name -> (law of z, law of w), from the outputs of the encoders."""
    kind, scale = model.family.kind, model.family.scale

    def law(mean, second):
        if scale == "exp":
            return LAWS[kind](mean, (second / 2).exp())
        return LAWS[kind](mean, second.softmax(-1) * second.shape[-1] * (1 - 1e-6) + 1e-6)

    found = {}
    for name in model.names:
        mean, second = model.encoders[name](batch.values[name])
        parts = zip(mean.split([SHARED, PRIVATE], -1), second.split([SHARED, PRIVATE], -1), strict=True)
        found[name] = tuple(law(*part) for part in parts)
    return found


def score(model, batch, name, z, w):
    mean = model.decoders[name](torch.cat([z, w], -1))
    return Normal(mean, 0.8).log_prob(batch.values[name]).sum(-1)


def standard(model):
    return LAWS[model.family.kind](torch.zeros(()).double(), torch.ones(()).double())


def reference(model, name):
    scale = model.references[name].logits.softmax(-1) * PRIVATE * (1 - 1e-6) + 1e-6
    return LAWS[model.family.kind](torch.zeros_like(scale), scale)


def at(law, numbers):
    """The draw at the quantiles of standard Normal numbers."""
    return law.loc + law.scale * LAWS[type(law).__name__.lower()](0.0, 1.0).icdf(Normal(0.0, 1.0).cdf(numbers))


def log_weights(model, batch, beta, numbers, log_prior):
    """What MMVAE+ averages over sources, (source, row). numbers: (row, source, latent), of z, w_a, w_b, w_c."""
    laws, unit, values = laws_of(model, batch), standard(model), []
    for index, source in enumerate(model.names):
        mine = numbers[:, index]
        own = mine[:, SHARED:].split(PRIVATE, -1)
        of_z, of_w = laws[source]
        z, w = at(of_z, mine[:, :SHARED]), at(of_w, own[index])
        value = score(model, batch, source, z, w)
        for other, name in enumerate(model.names):
            if name != source:
                value = value + score(model, batch, name, z, at(reference(model, name), own[other]))
        each = torch.stack([law.log_prob(z).sum(-1) for law, _ in laws.values()])
        mixture = each.exp().mean(0).log()
        inside = log_prior(z) + unit.log_prob(w).sum(-1) - mixture - of_w.log_prob(w).sum(-1)
        values.append(value + beta * inside)
    return torch.stack(values)


@BOTH
@pytest.mark.parametrize("name", ["mmvae_plus", "cmvae"])
def test_the_loss_of_mmvae_plus_is_the_published_one(name, family):
    """In loss and gradient; CMVAE with its clusters summed one by one (T13). Also the looser bound of K = 3 draws."""
    prior = None
    if name == "cmvae":
        torch.manual_seed(3)
        shared = priors.GaussianMixturePrior(SHARED, 4)
        nn.init.normal_(shared.logits)
        nn.init.normal_(shared.log_scale)
        prior = priors.WithPrivate(shared, SHARED, PRIVATE * 3, family.kind)
    model = model_of(name, family=family, prior=prior)
    batch = batch_of(model)

    def log_prior(z):
        if prior is None:
            return standard(model).log_prob(z).sum(-1)
        weights = shared.logits.softmax(0)
        laws = [Normal(mean, log.exp()) for mean, log in zip(shared.means, shared.log_scale, strict=True)]
        return sum(weight * law.log_prob(z).sum(-1).exp() for weight, law in zip(weights, laws, strict=True)).log()

    numbers = torch.randn(ROWS, 3 * model.latent_dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = elbo_of_terms(model, batch, recipe_of(name), beta=2.5, generator=torch.Generator().manual_seed(5))
    same(model, -found.loss, log_weights(model, batch, 2.5, numbers.view(ROWS, 3, -1), log_prior).mean())
    numbers = torch.randn(ROWS, 9 * model.latent_dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    draws = numbers.view(ROWS, 3, 3, -1).unbind(2)
    each = torch.stack([log_weights(model, batch, 2.5, one, log_prior) for one in draws])
    how = {"beta": 2.5, "samples": 3, "allocation": "exact", "generator": torch.Generator().manual_seed(5)}
    found = mmvae_plus.iwae(model, batch, model.mixture, **how)
    same(model, -found.loss, (each.logsumexp(0) - math.log(3)).mean())
    printed = (
        (each.softmax(0).detach() * each).sum(0).mean()
    )  # the published "DReG", whose hook is on a copy of the draws
    torch.testing.assert_close(gradients(model, -found.loss), gradients(model, printed), rtol=1e-6, atol=1e-6)


def test_one_cluster_is_the_prior_of_mmvae_plus():
    """T6: with mean 0 and scale 1, MMVAE+ with Normal codes."""
    one = priors.GaussianMixturePrior(SHARED, 1)
    one.means.data.zero_()
    found = []
    for prior in (None, priors.WithPrivate(one, SHARED, PRIVATE * 3, "normal")):
        model = model_of("cmvae", prior=prior)
        how = {"beta": 0.7, "generator": torch.Generator().manual_seed(2)}
        found.append(elbo_of_terms(model, batch_of(model), recipe_of("cmvae"), **how).loss)
    torch.testing.assert_close(*found)


def test_one_draw_is_mmvae_plus(monkeypatch):
    """In loss, parts and gradient, for rows of every pattern; DReG in value, as its gradient is another estimate."""
    no_noise(monkeypatch)
    model = model_of("mmvae_plus", family=Family("laplace", "softmax"))
    batch = batch_of(model, len(PAIRS))
    batch = Batch(batch.values, torch.tensor([[name in pattern for name in NAMES] for pattern in PAIRS]))
    expected = elbo_of_terms(model, batch, recipe_of("mmvae_plus"), beta=0.7)
    how = {"beta": 0.7, "samples": 1, "allocation": "exact"}
    found = mmvae_plus.iwae(model, batch, model.mixture, **how)
    same(model, found.loss, expected.loss)
    torch.testing.assert_close((found.log_likelihood, found.kl), (expected.log_likelihood, expected.kl))
    torch.testing.assert_close(mmvae_plus.dreg(model, batch, model.mixture, **how).loss, expected.loss)


def test_both_gradients_of_k_draws_are_the_same_on_average():
    """For encoders, at the same draws; a biased one, w^2 on the paths without scores, is told apart."""
    model = model_of("mmvae_plus", names=("a", "b"))
    rows = Batch({name: value[:1].expand(100, -1) for name, value in batch_of(model).values.items()})
    how = {"beta": 0.6, "samples": 3, "allocation": "exact", "mixed": "shared"}

    def drawn(kind, seed):
        generator = torch.Generator().manual_seed(seed)
        loss = importance_bound(model, rows, model.mixture, "term", kind, generator=generator, **how).loss
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.encoders.parameters()))])

    kinds = ("plain", "doubly", "multivae")
    plain, doubly, biased = (torch.stack([drawn(kind, seed) for seed in range(25)]) for kind in kinds)
    for other, is_same in ((doubly, True), (biased, False)):
        apart = other - plain
        error = apart.std(0) / len(apart) ** 0.5
        assert bool((apart.mean(0).abs() <= 4.5 * error + 1e-9).all()) is is_same
    assert doubly.var(0).sum() < plain.var(0).sum()


def test_one_source_a_row_has_the_same_bound_of_k_draws_on_average(monkeypatch):
    no_noise(monkeypatch)
    model = model_of("mmvae_plus")
    batch = batch_of(model, len(PAIRS))
    batch = Batch(batch.values, torch.tensor([[name in pattern for name in NAMES] for pattern in PAIRS]))
    exact = mmvae_plus.iwae(model, batch, model.mixture, samples=2, allocation="exact").loss
    generator, how = torch.Generator().manual_seed(0), {"samples": 2, "allocation": "systematic"}
    with torch.no_grad():
        found = [mmvae_plus.iwae(model, batch, model.mixture, generator=generator, **how).loss for _ in range(200)]
    drawn = torch.stack(found)
    assert abs(drawn.mean() - exact) < 4.5 * drawn.std() / len(drawn) ** 0.5


@pytest.mark.parametrize("experts_are_equal", [True, False])
def test_with_more_draws_the_bound_grows_to_its_known_limit(experts_are_equal):
    """log p(X) + mean_m log E[q_m(z) / q(z | X)] under p(z | X): log p(X) itself where experts agree. r = p(w)."""
    model, weights = toy(torch.Generator().manual_seed(1))
    for encoder in model.encoders.values():
        encoder.layer.weight.data *= 0.1
        encoder.layer.bias.data = torch.zeros(6, dtype=torch.float64)
    if not experts_are_equal:
        model.encoders["a"].layer.bias.data[0] = 1.0
    x = torch.randn(2, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    if experts_are_equal:
        for encoder in model.encoders.values():
            encoder.layer.weight.data[[0, 3]] = 0.0

    def value(samples, rows):
        batch = Batch({name: row.expand(rows, -1) for name, row in zip(model.names, x, strict=True)})
        how = {"samples": samples, "allocation": "exact", "generator": torch.Generator().manual_seed(0), "chunk": 10**5}
        with torch.no_grad():
            return -mmvae_plus.iwae(model, batch, model.mixture, **how).loss.item()

    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    log_posterior = Normal(0.0, 1.0).log_prob(z)
    for m in range(2):
        noise_of_m = torch.eye(2, dtype=torch.float64) + weights[m, :, 1:] @ weights[m, :, 1:].T
        log_posterior = log_posterior + MultivariateNormal(z[:, None] * weights[m, :, 0], noise_of_m).log_prob(x[m])
    posterior = log_posterior.softmax(0)
    experts = model.encode(Batch({name: row[None] for name, row in zip(model.names, x, strict=True)}))
    each = torch.stack([Normal(m[0, 0], (s[0, 0] / 2).exp()).log_prob(z) for m, s in zip(*experts, strict=True)]).exp()
    shares = (posterior * each / each.mean(0)).sum(-1)
    limit = evidence(weights, x) + shares.log().mean().item()
    assert (limit == pytest.approx(evidence(weights, x), abs=1e-9)) is experts_are_equal
    few, more, many = value(1, 4000), value(4, 4000), value(32, 1000)
    assert few < more - 0.05 < many - 0.1
    assert many < limit
    assert value(50_000, 1) == pytest.approx(limit, abs=0.02)


def test_without_anything_private_mmvae_plus_is_the_tight_bound_of_mmvae(monkeypatch):
    """T6: decoders that do not read w_m, whose posteriors are p(w_m); in loss, and in gradients of what is shared."""
    model = model_of("mmvae_plus")
    shared = torch.arange(2 * (SHARED + PRIVATE)) % (SHARED + PRIVATE) < SHARED  # outputs of an encoder
    pairs = {}
    for name in NAMES:
        wide, out = model.encoders[name].layer, model.decoders[name]
        wide.weight.data[~shared], wide.bias.data[~shared], out.weight.data[:, SHARED:] = 0, 0, 0
        pairs[name] = Encoder(wide.in_features, SHARED), nn.Linear(SHARED, out.out_features)
        pairs[name][0].layer.weight.data = wide.weight.data[shared].clone()
        pairs[name][0].layer.bias.data = wide.bias.data[shared].clone()
        pairs[name][1].weight.data = out.weight.data[:, :SHARED].clone()
        pairs[name][1].bias.data = out.bias.data.clone()
    plain = MultimodalVAE(model.modalities, pairs, model.mixture, SHARED).double()
    batch, numbers = batch_of(model), torch.randn(ROWS, 6, SHARED, dtype=torch.float64)

    def normal(source, rows, width, like):
        drawn = torch.randn(rows, width // like.shape[-1], like.shape[-1]).to(like)
        drawn[..., :SHARED] = numbers[:, : drawn.shape[1]]
        return drawn.flatten(1)

    monkeypatch.setattr(noise, "normal", normal)
    found = elbo_of_terms(model, batch, recipe_of("mmvae_plus"), beta=0.7).loss
    expected = elbo_tight(plain, batch, plain.mixture, beta=0.7, samples=1, allocation="exact").loss
    k_draws = {"beta": 0.7, "samples": 2, "allocation": "exact"}
    pairs = [(found, expected)]
    pairs += [
        (ours(model, batch, model.mixture, **k_draws).loss, theirs(plain, batch, plain.mixture, **k_draws).loss)
        for ours, theirs in ((mmvae_plus.iwae, iwae_looser), (mmvae_plus.dreg, dreg_looser))
    ]
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        wide, narrow = gradients(model, found), gradients(plain, expected)
        for name in NAMES:
            for kind in ("weight", "bias"):
                key = f"encoders.{name}.layer.{kind}"
                torch.testing.assert_close(wide[key][shared], narrow[key], rtol=1e-6, atol=1e-6)
            key = f"decoders.{name}.weight"
            torch.testing.assert_close(wide[key][:, :SHARED], narrow[key], rtol=1e-6, atol=1e-6)


def test_the_form_with_one_source_a_row_is_l_s_where_r_is_the_prior():
    """In loss and gradient, over (z, w_1, ..., w_M)."""
    model = model_of("mmvae_plus_elbo", family=Family("laplace", "softmax"))
    batch, how = batch_of(model), {"beta": 0.7, "allocation": "exact"}
    apart = elbo_of_terms(model, batch, recipe_of("mmvae_plus_elbo"), **how).loss
    for law in model.references.values():
        law.logits.data.zero_()
    found, expected = (
        function(model, batch, third, **how, generator=torch.Generator().manual_seed(4)).loss
        for function, third in ((elbo_of_terms, recipe_of("mmvae_plus_elbo")), (elbo, model.mixture))
    )
    assert not torch.isclose(apart, found)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    wanted = gradients(model, expected)
    for name, grad in gradients(model, found).items():
        if not name.startswith("references"):
            torch.testing.assert_close(grad, wanted[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["mmvae_plus_elbo", "mopoe_style", "contrastive_plus"])
@pytest.mark.parametrize("clusters", [0, 3])
def test_one_source_a_row_is_the_mean_over_all_of_them(name, clusters, monkeypatch):
    """Also where rows lack something; w_n is that of r for all but the source, whose own it is; in either kind of p(z):
    one without a closed form is looked at at the draw."""
    latent = SHARED + 3 * PRIVATE
    shared = priors.GaussianMixturePrior(SHARED, clusters) if clusters else None
    prior = priors.WithPrivate(shared, SHARED, latent - SHARED, "normal") if shared else None
    model = model_of(name, prior=prior)
    numbers = torch.randn(1, model.latent_dim, dtype=torch.float64)
    monkeypatch.setattr(
        noise, "normal", lambda source, rows, width, like: numbers.repeat(rows, width // numbers.numel())
    )
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)
    batch, recipe = Batch(batch_of(model).values, present), recipe_of(name)
    exact = elbo_of_terms(model, batch, recipe, allocation="exact").loss.item()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = torch.stack([elbo_of_terms(model, batch, recipe, generator=generator).loss for _ in range(120)])
    error = (drawn.std() / len(drawn) ** 0.5).item()
    assert 0 < error < 0.02 * abs(exact)
    assert drawn.mean().item() == pytest.approx(exact, abs=4 * error)


@pytest.mark.parametrize("rows_lack", [False, True])
def test_what_is_neither_drawn_nor_paid_for_a_row_costs_nothing(rows_lack, monkeypatch):
    """mopoe_style over 6 modalities, 63 subsets: one code and three posteriors a row."""
    names, fused_laws, numbers = tuple("abcdef"), [], []
    model = model_of("mopoe_style", names)
    fuse, normal = model.fuse, noise.normal
    monkeypatch.setattr(model, "fuse", lambda *laws: fused_laws.append(len(laws[1])) or fuse(*laws))
    monkeypatch.setattr(
        noise, "normal", lambda source, rows, width, like: numbers.append(width) or normal(source, rows, width, like)
    )
    batch = batch_of(model)
    if rows_lack:
        batch = Batch(batch.values, torch.arange(6) != torch.arange(ROWS)[:, None])
    assert elbo_of_terms(model, batch, recipe_of("mopoe_style")).loss.isfinite()
    assert (numbers, fused_laws) == ([model.latent_dim], [3])


def fused(laws):
    """The product of Normal laws."""
    precision = sum(law.scale**-2 for law in laws)
    return Normal(sum(law.loc * law.scale**-2 for law in laws) / precision, precision**-0.5)


def written(name, model, batch, beta):
    """The other methods at the means (no noise), per row."""
    laws, unit = laws_of(model, batch), standard(model)
    wide = Normal(torch.zeros_like(laws["a"][0].loc), torch.ones_like(laws["a"][0].loc))
    nothing = torch.zeros_like(laws["a"][1].loc)

    def kl(law):
        return kl_divergence(law, unit).sum(-1)

    private = sum(kl(law) for _, law in laws.values())
    if name == "mmvae_plusplus":
        value = 0
        for source in NAMES:
            z, w = (law.loc for law in laws[source])
            each = [score(model, batch, n, z, w if n == source else nothing) for n in NAMES]
            value = value + sum(each) - beta * sum(map(kl, laws[source]))
        return value
    if name == "contrastive_plus":  # with the weights of the test
        value = 0
        for source in NAMES:
            of_z = laws[source][0]
            value = value + score(model, batch, source, *(law.loc for law in laws[source]))
            value = value - beta * (kl(of_z) + 0.3 * kl(laws[source][1]))
            for other in {*NAMES} - {source}:
                own = score(model, batch, other, of_z.loc, laws[other][1].loc) - beta * 0.3 * kl(laws[other][1])
                value = value + 0.8 * own + 0.1 * score(model, batch, other, of_z.loc, nothing)
        return value / 3
    if name.startswith("dmvae"):
        sources = [fused([*(z for z, _ in laws.values()), wide]), *(z for z, _ in laws.values())]
        each = [sum(score(model, batch, n, law.loc, laws[n][1].loc) for n in NAMES) for law in sources]
        if name == "dmvae":
            return sum(each) - beta * sum(kl(law) + private for law in sources)
        return sum(each[1:]) - beta * (3 * sum(map(kl, sources)) + 4 * private)
    of_sets = [fused([*(laws[n][0] for n in given), *[wide] * (len(given) == 3)]) for given in PAIRS]
    each = [sum(score(model, batch, n, law.loc, laws[n][1].loc) for n in NAMES) for law in of_sets]
    return sum(each) / 7 - beta * (sum(map(kl, of_sets)) / 7 + 2 * private)


WEIGHTS = {"mopoe_style": {"style": 2.0}, "contrastive_plus": {"private": 0.3, "own_cross": 0.8, "prior_cross": 0.1}}


@pytest.mark.parametrize("name", ["mmvae_plusplus", "dmvae", "dmvae_official", "mopoe_style", "contrastive_plus"])
def test_the_others_are_what_their_sources_say(name, monkeypatch):
    no_noise(monkeypatch)
    model = model_of(name)
    batch, options = batch_of(model), WEIGHTS.get(name, {})
    found = elbo_of_terms(model, batch, recipe_of(name, **options), beta=0.6, allocation="exact")
    torch.testing.assert_close(-found.loss, written(name, model, batch, 0.6).mean(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.distortion + 0.6 * found.rate, found.loss)


def test_dmvae_of_one_modality_is_two_bounds(monkeypatch):
    """T7: those of its expert, and of its expert times the prior."""
    no_noise(monkeypatch)
    models = [model_of("dmvae", ("a",), make=make) for make in (subsets.mvae, subsets.mmvae)]
    batch = batch_of(models[0])
    found = elbo_of_terms(models[0], batch, recipe_of("dmvae"), beta=0.6).loss
    torch.testing.assert_close(found, sum(elbo(model, batch, model.mixture, beta=0.6).loss for model in models))


def test_mmvae_plus_of_one_modality_is_its_vae(monkeypatch):
    """T7, of z and w."""
    model = model_of("mmvae_plus", ("a",))
    batch, generator = batch_of(model), torch.Generator().manual_seed(0)
    numbers = torch.randn(ROWS, SHARED + PRIVATE, generator=generator, dtype=torch.float64)
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: numbers)
    found = elbo_of_terms(model, batch, recipe_of("mmvae_plus"), beta=0.6)
    law = Normal(*(field.squeeze(0) for field in (model.encode(batch).mean, (model.encode(batch).logvar / 2).exp())))
    u = law.loc + law.scale * numbers
    rate = (law.log_prob(u) - Normal(0.0, 1.0).log_prob(u)).sum(-1)
    value = score(model, batch, "a", u[:, :SHARED], u[:, SHARED:]) - 0.6 * rate
    torch.testing.assert_close(-found.loss, value.mean())


# Bounds, in a linear-Gaussian model x_m = weight (z, w_m) + noise.


def toy(generator, *, reference_logits=None):
    """(model, weights (modality, feature, z and w_m)) with random encoders; one z, two dimensions of w_m."""
    names, width = ("a", "b"), 2
    weights = torch.randn(2, width, 3, generator=generator, dtype=torch.float64)
    pairs, specs = {}, []
    for name, weight in zip(names, weights, strict=True):
        decoder = nn.Linear(3, width, bias=False)
        decoder.weight.data = weight
        pairs[name] = Encoder(width, 3), decoder
        specs.append(Modality(name, (width,), likelihoods.Normal(1.0)))
    model = MODELS["private_reference"](specs, pairs, subsets.mmvae(names), 5, private_dim=2).double()
    for encoder in model.encoders.values():
        encoder.layer.weight.data = torch.randn(6, width, generator=generator, dtype=torch.float64) * 0.3
        encoder.layer.bias.data = torch.randn(6, generator=generator, dtype=torch.float64) * 0.5
    if reference_logits is not None:
        for law in model.references.values():
            law.logits.data = torch.tensor(reference_logits, dtype=torch.float64)
    return model, weights


def evidence(weights, x):
    """log p(X), exactly. x: (modality, feature)."""
    covariance = torch.eye(4, dtype=torch.float64)
    shared = weights[..., :1].flatten(0, 1)
    covariance += shared @ shared.T
    for m in range(2):
        part = slice(2 * m, 2 * m + 2)
        covariance[part, part] += weights[m, :, 1:] @ weights[m, :, 1:].T
    return MultivariateNormal(torch.zeros(4).double(), covariance).log_prob(x.flatten()).item()


def value_of(model, x, rows=4000, method="mmvae_plus"):
    """Mean and standard error of the objective of a method at one X."""
    batch = Batch({name: row.expand(rows, -1) for name, row in zip(model.names, x, strict=True)})
    with torch.no_grad():
        bound = elbo_of_terms(model, batch, recipe_of(method), generator=torch.Generator().manual_seed(1))
    each = bound.log_likelihood.sum(-1) - bound.kl
    return each.mean().item(), each.std().item() / rows**0.5


def test_mmvae_plus_is_a_bound_where_r_is_the_prior():
    """T1, for 50 random networks."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        model, weights = toy(generator)
        x = torch.randn(2, 2, generator=generator, dtype=torch.float64)
        mean, error = value_of(model, x)
        assert mean < evidence(weights, x) + 4 * error


def test_mmvae_plus_is_none_elsewhere_by_the_known_amount():
    """With r of another width it can be above log p(X); less (M - 1) / M sum_n KL(r_n, p) it is below."""
    model, weights = toy(torch.Generator().manual_seed(0), reference_logits=[-3.0, 3.0])
    for decoder, encoder in zip(model.decoders.values(), model.encoders.values(), strict=True):
        decoder.weight.data = torch.zeros(2, 3, dtype=torch.float64)
        decoder.weight.data[:, 1] = 1  # both features are w_1 + noise: r says it is nearly 0
        encoder.layer.weight.data.zero_()
        encoder.layer.bias.data = torch.tensor([0, 0, 0, 0, -math.log(3), 0], dtype=torch.float64)  # exact at x = 0
    weights = torch.stack([decoder.weight.data for decoder in model.decoders.values()])
    x = torch.zeros(2, 2, dtype=torch.float64)
    mean, error = value_of(model, x)
    truth = evidence(weights, x)
    assert mean > truth + 0.3
    unit = posteriors.of_scale("normal", torch.zeros(2), torch.zeros(2))
    apart = sum(posteriors.kl(law.law(), unit).item() for law in model.references.values())
    assert mean - apart / 2 < truth + 4 * error


def test_likelihoods_of_models_with_private_codes_are_exact_in_the_limit():
    """Importance sampling over (z, w_1, w_2), from everything and from one modality."""
    model, weights = toy(torch.Generator().manual_seed(3))
    x = torch.randn(2, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for encoder, decoder in zip(model.encoders.values(), model.decoders.values(), strict=True):
        encoder.layer.bias.data.zero_()  # wide posteriors, so that weights vary little
        encoder.layer.weight.data /= 2
        decoder.weight.data /= 2  # and so `weights`
    batch = Batch({name: row.expand(5000, -1) for name, row in zip(model.names, x, strict=True)})
    truth = evidence(weights, x)
    for given in (("a", "b"), ("a",)):
        weight = model.log_weights(batch, given, model.names, 10, torch.Generator().manual_seed(5)).exp()
        error = weight.std() / weight.numel() ** 0.5
        assert error < 0.02 * weight.mean()
        assert weight.mean().item() == pytest.approx(math.exp(truth), abs=4 * error.item())
        shared = model.embed(batch, given)
        torch.testing.assert_close(shared, model.posterior(batch, given).mean[:, :1])


# Gradients (T11).


def test_the_shared_code_of_mmvae_plusplus_learns_from_others_alone():
    model = model_of("mmvae_plusplus")
    batch, recipe = batch_of(model), recipe_of("mmvae_plusplus")
    whole = recipe(NAMES)
    parts = {
        "whole": whole,
        "attached": whole._replace(draws=tuple(d._replace(is_own_constant=False) for d in whole.draws)),
        "own": Terms(tuple(d._replace(others=0.0) for d in whole.draws), ()),
        "without own": whole._replace(draws=tuple(d._replace(weight=0.0, others=1.0) for d in whole.draws)),
    }
    losses = {
        key: elbo_of_terms(model, batch, lambda names, t=terms: t, generator=torch.Generator().manual_seed(3)).loss
        for key, terms in parts.items()
    }
    torch.testing.assert_close(losses["whole"], losses["attached"], rtol=0, atol=1e-12)
    found = {key: gradients(model, loss) for key, loss in losses.items()}
    shared = torch.arange(2 * (SHARED + PRIVATE)) % (SHARED + PRIVATE) < SHARED
    for name in NAMES:
        head = {key: of[f"encoders.{name}.layer.weight"] for key, of in found.items()}
        assert not head["own"][shared].any()
        assert head["own"][~shared].any()
        torch.testing.assert_close(head["whole"][shared], head["without own"][shared])
        assert not torch.allclose(head["whole"][shared], head["attached"][shared])
        torch.testing.assert_close(head["whole"][~shared], head["attached"][~shared])
        torch.testing.assert_close(*(found[key][f"decoders.{name}.weight"] for key in ("whole", "attached")))


@pytest.mark.parametrize("allocation", ["systematic", "exact"])
def test_the_shared_code_of_contrastive_plus_learns_nothing_from_its_own_pixels(allocation):
    """Without divergences and others, self-reconstruction trains w and decoders; detached or not, the value is one."""
    model = model_of("contrastive_plus")
    batch, found = batch_of(model), {}
    for others in (0.0, 1.0):
        for detach in (True, False):
            terms = recipe_of("contrastive_plus", own_cross=others, detach=detach)(NAMES)
            bound = elbo_of_terms(
                model,
                batch,
                lambda names, draws=terms.draws: Terms(draws, ()),
                allocation=allocation,
                generator=torch.Generator().manual_seed(3),
            )
            found[others, detach] = {"loss": bound.loss, **gradients(model, bound.loss)}
    shared = torch.arange(2 * (SHARED + PRIVATE)) % (SHARED + PRIVATE) < SHARED
    for name in NAMES:
        own, attached, whole, all_attached = (
            found[key][f"encoders.{name}.layer.weight"] for key in ((0, True), (0, False), (1, True), (1, False))
        )
        assert not own[shared].any()
        torch.testing.assert_close(own[~shared], attached[~shared])
        torch.testing.assert_close(whole[~shared], all_attached[~shared])
        torch.testing.assert_close(whole[shared], (all_attached - attached)[shared])
        assert whole[shared].any()
    for others in (0.0, 1.0):
        torch.testing.assert_close(found[others, True]["loss"], found[others, False]["loss"])


def test_contrastive_plus_is_the_experts_alone_of_dmvae(monkeypatch):
    """Without the stop and the product: a mean in place of a sum over sources; in loss and gradient."""
    no_noise(monkeypatch)
    model = model_of("contrastive_plus")
    batch = batch_of(model)

    def experts(names):
        terms = recipe_of("dmvae")(names)
        return Terms(terms.draws[1:], terms.divergences[1:])

    found, expected = (
        elbo_of_terms(model, batch, recipe, beta=0.7, allocation="exact").loss
        for recipe in (recipe_of("contrastive_plus", detach=False), experts)
    )
    same(model, found, expected / 3)


def test_contrastive_plus_with_others_drawn_from_the_prior_is_mmvae_plus_with_one_source(monkeypatch):
    """Where r is p(w); in loss and gradient, with and without gaps."""
    no_noise(monkeypatch)
    model = model_of("mmvae_plus_elbo")
    for law in model.references.values():
        law.logits.data.zero_()
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)
    recipe = recipe_of("contrastive_plus", own_cross=0.0, prior_cross=1.0, detach=False)
    for rows in (torch.ones_like(present), present):
        batch = Batch(batch_of(model).values, rows)
        found, expected = (
            elbo_of_terms(model, batch, each, beta=0.7, allocation="exact").loss
            for each in (recipe, recipe_of("mmvae_plus_elbo"))
        )
        same(model, found, expected)


def test_contrastive_plus_of_one_modality_is_its_vae(monkeypatch):
    """T7, of z and w: in loss and, without the stop, in gradient."""
    no_noise(monkeypatch)
    model = model_of("contrastive_plus", ("a",))
    batch = batch_of(model)
    expected = elbo(model, batch, model.mixture, beta=0.6).loss
    same(model, elbo_of_terms(model, batch, recipe_of("contrastive_plus", detach=False), beta=0.6).loss, expected)
    torch.testing.assert_close(elbo_of_terms(model, batch, recipe_of("contrastive_plus"), beta=0.6).loss, expected)


def test_contrastive_plus_is_a_bound():
    """T1, for 50 random networks: on log p(X), whatever is held constant."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        model, weights = toy(generator)
        x = torch.randn(2, 2, generator=generator, dtype=torch.float64)
        mean, error = value_of(model, x, method="contrastive_plus")
        assert mean < evidence(weights, x) + 4 * error


def test_contrastive_plus_multiplies_what_it_is_given():
    """z: the product of the experts of what a row has, one being itself; w: as everywhere."""
    model = model_of("contrastive_plus")
    batch = batch_of(model, 2)
    rows = Batch(batch.values, torch.tensor([[1, 1, 1], [1, 0, 1]], dtype=torch.bool))
    laws, law = laws_of(model, batch), model.posterior(rows, ("a", "b"))
    assert law.components.mean.shape == (1, 2, model.latent_dim)
    z = blocks(law.components.mean[0])[0]
    torch.testing.assert_close(z[0], fused([laws["a"][0], laws["b"][0]]).loc[0])
    torch.testing.assert_close(z[1], laws["a"][0].loc[1])


def test_r_learns_from_the_reconstruction_of_others_alone():
    model = model_of("mmvae_plus")
    batch, whole = batch_of(model), recipe_of("mmvae_plus")(NAMES)
    parts = {
        True: whole,
        False: whole._replace(draws=tuple(d._replace(targets=d.of.given) for d in whole.draws)),
    }
    for learns, terms in parts.items():
        found = gradients(model, elbo_of_terms(model, batch, lambda names, t=terms: t).loss)
        assert all(bool(found[f"references.{name}.logits"].any()) is learns for name in NAMES)


# What is decoded.


def blocks(codes):
    """(z, name -> w)."""
    z, *private = codes.split([SHARED, *[PRIVATE] * 3], -1)
    return z, dict(zip(NAMES, private, strict=True))


@BOTH
def test_what_is_given_keeps_its_own_private_code_and_others_have_the_prior(family):
    """In every component of the mixture, by what a row has; r plays no part."""
    model = model_of("mmvae_plus", family=family)
    batch = batch_of(model, 3)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1]], dtype=torch.bool)
    rows = Batch(batch.values, present)
    laws, law = laws_of(model, batch), model.posterior(rows, ("a", "b"))
    assert law.components.mean.shape == (2, 3, model.latent_dim)
    unit = 2 * math.log(standard(model).stddev.item())
    for component in (0, 1):
        (_, mean), (_, logvar) = (blocks(field) for field in law.component(component))
        for index, name in enumerate(NAMES):
            own = present[:, index] & (name != "c")
            torch.testing.assert_close(mean[name][own], laws[name][1].mean[own])
            torch.testing.assert_close(logvar[name][own], 2 * laws[name][1].stddev.log()[own])
            assert (mean[name][~own] == 0).all()
            torch.testing.assert_close(logvar[name][~own], torch.full_like(logvar[name][~own], unit))
    z = blocks(law.components.mean)[0]
    torch.testing.assert_close(z[:, 0], torch.stack([laws[n][0].mean[0] for n in "ab"]))
    before = model.posterior_codes(rows, ("a", "b"), NAMES, RowNoise(0, "x", (0, 1, 2)))
    for reference in model.references.values():
        reference.logits.data += torch.randn(PRIVATE)
    after = model.posterior_codes(rows, ("a", "b"), NAMES, RowNoise(0, "x", (0, 1, 2)))
    assert all(torch.equal(before[name], after[name]) for name in NAMES)


def test_private_codes_at_test_time_by_the_method(monkeypatch):
    """own: of what is given; prior: of nothing; zero: 0 for the others, also of unconditional samples."""
    batch, given, source = batch_of(model_of("dmvae"), 3), ("a", "b"), RowNoise(0, "codes", (0, 1, 2))
    drawn = {}
    for rule in ("own", "prior", "zero"):
        model = model_of("mmvae_plusplus", at_test=rule)
        drawn[rule] = blocks(model.posterior_codes(batch, given, ("c",), source)["c"])
        torch.testing.assert_close(drawn[rule][0], drawn["own"][0])
        z, private = blocks(model.prior_codes(3, source)["a"])
        assert all(bool(w.any()) is (rule != "zero") for w in private.values())
        assert z.any()
        assert all(v.isfinite().all() for v in model.generate(batch, given).values())
    own, prior, zero = (drawn[rule][1] for rule in ("own", "prior", "zero"))
    assert torch.equal(zero["a"], own["a"])
    assert not torch.equal(prior["a"], own["a"])
    assert torch.equal(prior["c"], own["c"])
    assert own["c"].any()
    assert not zero["c"].any()
    no_noise(monkeypatch)
    codes = blocks(model_of("mopoe_style", at_test="prior").posterior_codes(batch, given, ("a",))["a"])
    assert not any(w.any() for w in codes[1].values())
    with pytest.raises(InputError, match="at_test is 'mean'"):
        model_of("dmvae", at_test="mean")


@pytest.mark.parametrize("rule", ["own", "prior", "zero"])
def test_swapped_codes_are_z_of_one_row_and_w_of_another_whatever_is_decoded_at_test_time(rule):
    model = model_of("mopoe_style", at_test=rule)
    batch, source = batch_of(model), RowNoise(0, "swap", tuple(range(ROWS)), spread=0.0)
    other = Batch({name: value.flip(0) + 1 for name, value in batch.values.items()})
    swapped = model.swapped_codes(batch, other, source)
    assert list(swapped) == list(NAMES)
    of_other = laws_of(model, other)
    for codes in swapped.values():
        z, private = blocks(codes)
        torch.testing.assert_close(z, model.posterior(batch).sample(source)[:, :SHARED])
        for name in NAMES:
            torch.testing.assert_close(private[name], of_other[name][1].mean)
    drawn = blocks(model.swapped_codes(batch, batch, RowNoise(0, "swap", tuple(range(ROWS))))["a"])
    standard = torch.cat([(drawn[1][n] - laws_of(model, batch)[n][1].mean) for n in NAMES], -1)
    assert (standard != 0).all(), "private codes are drawn"


@BOTH
def test_means_of_both_codes_are_those_of_the_modality_alone(family):
    model = model_of("mmvae_plus", family=family)
    batch = batch_of(model)
    for name, (z, w) in laws_of(model, batch).items():
        found = model.code_means(batch)[name]
        torch.testing.assert_close(found.shared, z.mean)
        torch.testing.assert_close(found.private, w.mean)


class Rows:
    """As much of a data set as fitting a prior needs."""

    def __init__(self, whole):
        self.whole = whole

    def __len__(self):
        return len(self.whole.present)

    def batch(self, ids):
        return Batch({n: value[ids] for n, value in self.whole.values.items()}, self.whole.present[ids])


@pytest.mark.parametrize("rule", ["own", "prior", "zero"])
def test_a_prior_is_fitted_to_the_posterior_whatever_is_decoded_at_test_time(rule):
    """With own w_m of all that a row has, and p(w_n) of others, never 0."""
    model = model_of("mopoe_style", at_test=rule)
    batch = batch_of(model, 6)
    rows = Batch(batch.values, torch.tensor([[1, 1, 1], [1, 1, 0]] * 3, dtype=torch.bool))
    codes = fitting.aggregated_posterior(model, Rows(rows), seed=3)
    source = RowNoise(3, "aggregated posterior", tuple(range(6)))
    assert torch.equal(codes, model.posterior(rows).sample(source))
    assert (codes != 0).all()


def test_methods_have_the_published_rules_for_private_codes():
    rules = {name: METHODS[name].options().at_test for name in METHODS_HERE}
    assert rules == dict.fromkeys(METHODS_HERE, "own") | {"mmvae_plusplus": "zero", "mopoe_style": "prior"}


def test_a_decoder_reads_z_and_its_own_private_code_alone():
    model = model_of("dmvae")
    codes = torch.randn(4, model.latent_dim, dtype=torch.float64)
    z, private = blocks(codes)
    means = {name: law.mean for name, law in model.decode(codes).items()}
    for name in NAMES:
        torch.testing.assert_close(means[name], model.decoders[name](torch.cat([z, private[name]], -1)))


def test_the_prior_of_z_is_any_and_that_of_private_codes_is_standard():
    torch.manual_seed(0)
    shared = priors.GaussianMixturePrior(SHARED, 3)
    prior = priors.WithPrivate(shared, SHARED, 4, "laplace")
    u = torch.randn(6, SHARED + 4)
    expected = shared.log_prob(u[:, :SHARED]) + Laplace(0.0, 1.0).log_prob(u[:, SHARED:]).sum(-1)
    torch.testing.assert_close(prior.log_prob(u), expected)
    law = posteriors.of_scale("laplace", torch.randn(6, SHARED + 4), torch.randn(6, SHARED + 4))
    private = posteriors.of_scale("laplace", law.mean[:, SHARED:], law.log_scale[:, SHARED:])
    closed = posteriors.kl(private, posteriors.of_scale("laplace", torch.zeros(4), torch.zeros(4)))
    of_z = posteriors.of_scale("laplace", law.mean[:, :SHARED], law.log_scale[:, :SHARED])
    torch.testing.assert_close(prior.kl(law, u), shared.kl(of_z, u[:, :SHARED]) + closed)
    rows = RowNoise(0, "x", tuple(range(400)))
    drawn = priors.WithPrivate(priors.StandardNormal(2), 2, 2, "normal").sample(len(rows.rows), rows)
    assert torch.corrcoef(drawn.T).tril(-1).abs().max() < 0.2, "rows' noise is not used twice"


def test_a_prior_of_pseudo_inputs_is_over_the_shared_code():
    model = model_of("mmvae_plus")
    vamp = priors.VampPrior(batch_of(model, 2)).double()
    prior = priors.WithPrivate(vamp, SHARED, PRIVATE * 3, "normal").double()
    model = model_of("mmvae_plus", prior=prior)
    u = torch.randn(4, model.latent_dim, dtype=torch.float64)
    laws = laws_of(model, batch_of(model, 2))
    each = [laws[n][0].log_prob(u[:, None, :SHARED]).sum(-1).exp().mean(-1) for n in NAMES]
    expected = (sum(each) / 3).log() + Normal(0.0, 1.0).log_prob(u[:, SHARED:]).sum(-1)
    torch.testing.assert_close(prior.log_prob(u), expected)


def test_recipes_of_private_codes_need_a_model_that_has_some():
    joint = MultimodalVAE(
        [Modality("a", (2,), likelihoods.Normal(1.0))], {"a": (Encoder(2, 2), nn.Linear(2, 2))}, subsets.mmvae("a"), 2
    )
    rows = Batch({"a": torch.zeros(3, 2)})
    for draw in (Draw(Q(("a",), private="all")), Draw(Q(("a",)), unseen="zero")):
        with pytest.raises(InputError, match="the model has none; use the kind of model 'private'"):
            elbo_of_terms(joint, rows, lambda names, draw=draw: Terms((draw,), ()))
    model = model_of("dmvae")
    with pytest.raises(InputError, match="use the kind of model 'private_reference'"):
        elbo_of_terms(model, batch_of(model), recipe_of("mmvae_plus"))


TOY = pv.RunConfig(dataset="toy", modalities=3, latent_dim=3, epochs=2, train_size=120, test_size=40, batch_size=40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "mmvae_plus", "method_options": "private_dim=0"}, "private_dim=0: it must be at least 1"),
        ({"method": "dmvae", "method_options": "at_test=mean"}, "at_test=mean: it must be own, prior, zero"),
        ({"method": "mopoe_style", "method_options": "style=-1"}, "style=-1.0: it must be at least 0"),
        ({"method": "contrastive_plus", "method_options": "own_cross=-1"}, "own_cross=-1.0: it must be at least 0"),
        ({"method": "contrastive_plus", "method_options": "alone=1"}, "alone=1.0: it must be at least 0 and below 1"),
        ({"method": "contrastive_plus", "method_options": "cycle_share=2"}, r"cycle_share=2.0: it must be in \[0, 1\]"),
        ({"method": "contrastive_plus", "only": "m0"}, "method contrastive_plus compares modalities"),
        ({"method": "cmvae", "objective_samples": 3}, "--objective-samples applies to importance-weighted objectives"),
        ({"method": "dmvae", "posterior": "laplace"}, "--posterior laplace: S needs products"),
    ],
)
def test_what_cannot_go_together_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        make_plan(TOY.with_(metrics="none", **changes))


def test_a_run_with_private_codes_is_scored_loaded_and_given_a_prior(tmp_path, capsys):
    config = TOY.with_(method="cmvae", method_options="private_dim=2", prior_components=4)
    result = pv.run(config.with_(metrics="bound,objective,log_likelihood,latent"), tmp_path)
    assert all(np.isfinite(value) for value in result.metrics.values())
    model = result.load()
    assert (model.latent_dim, model.shared_dim, type(model.prior.shared)) == (9, 3, priors.GaussianMixturePrior)
    assert any(law.logits.any() for law in model.references.values()), "r has learned"
    main(["fit-prior", result.run_id, "--kind", "gmm", "--components", "2", "--store", str(tmp_path)])
    main(["fit-prior", result.run_id, "--kind", "pruned", "--components", "3", "--store", str(tmp_path)])
    main(["evaluate", result.run_id, "--prior", "pruned", "--metrics", "bound", "--store", str(tmp_path), "--quiet"])
    main(["generate", result.run_id, "--prior", "pruned", "--count", "4", "--out", str(tmp_path / "drawn.npz"),
          "--store", str(tmp_path), "--quiet"])  # fmt: skip
    assert np.isfinite(np.load(tmp_path / "drawn.npz")["m0"]).all()
    main(["store", "check", "--store", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "3 of 4 clusters are kept" in shown
    assert "none damaged" in shown
    assert pv.load(result.folder, prior="gmm").prior.means.shape == (2, 9)
    pruned = pv.load(result.folder, prior="pruned")
    assert pruned.prior.shared.means.shape == (3, 3)
    scores = pv.RunStore(tmp_path).record(result.run_id).metrics
    assert scores["prior/pruned/bound/rate"] != scores["bound/rate"]


def test_two_trunks_share_nothing_and_run_together(monkeypatch):
    """Each block has its own encoder, on an accelerator, too, where those of all modalities are one operation."""
    config = TOY.with_(method="mmvae_plus", method_options="private_dim=2,two_trunks=true", metrics="none")
    plan = make_plan(config)
    model, batch = plan.build(), plan.test.batch(slice(0, 4))
    law = model.encode(batch)
    for block, trunk in ((slice(3), "second"), (slice(3, None), "first")):
        found = gradients(model, law.mean[..., block].square().sum() + law.logvar[..., block].sum())
        assert not any(value.any() for name, value in found.items() if f".{trunk}." in name)
        assert any(value.any() for value in found.values())
    monkeypatch.setattr(waiting, "is_free", lambda device: False)
    monkeypatch.setattr(TwoTrunks, "forward", None)
    torch.testing.assert_close(model.encode(batch), law)


def test_own_networks_give_and_read_the_shared_and_one_private_code():
    config = TOY.with_(method="dmvae", method_options="private_dim=2", metrics="none")
    width = make_plan(config).modalities[0].shape[0]
    pairs = {latent: (Encoder(width, latent), nn.Linear(latent, width)) for latent in (3, 5)}
    assert make_plan(config, own={"m0": pairs[5]}).build().latent_dim == 9
    with pytest.raises(InputError, match="networks"):
        make_plan(config, own={"m0": pairs[3]})
