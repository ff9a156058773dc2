"""Priors: densities that integrate to one, draws that follow them, closed forms, and what learning one gains."""

import math
from dataclasses import replace

import pytest
import torch
from torch import distributions

from polyvae import (
    Batch,
    InputError,
    Modality,
    MultimodalVAE,
    datasets,
    fitting,
    likelihoods,
    load,
    networks,
    objectives,
    priors,
    subsets,
)
from polyvae.fitting import aggregated_posterior, fit_prior
from polyvae.models import Blueprint
from polyvae.noise import RowNoise
from polyvae.objectives import OBJECTIVES
from polyvae.posteriors import Family, of_scale
from polyvae.runs.saving import load_prior, save_model, save_prior
from support.mixtures import random_mixture

MODALITIES = tuple(Modality(n, (3,), likelihoods.Normal(0.5)) for n in "ab")


def batch_of(rows: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(rows, 1, generator=generator)
    return Batch({n: shared + 0.3 * torch.randn(rows, 3, generator=generator) for n in "ab"})


def model_with(kind: str, mixture=None, family: Family | None = None, latent: int = 2) -> MultimodalVAE:
    torch.manual_seed(1)
    prior = priors.make(kind, latent, 3, batch_of(3, seed=9))
    built = {m.name: networks.build("mlp", m, latent) for m in MODALITIES}
    model = MultimodalVAE(MODALITIES, built, mixture or subsets.mopoe(("a", "b")), latent, prior=prior, family=family)
    with torch.no_grad():  # a prior that has learned something
        for parameter in getattr(prior, "parameters", list)():
            parameter.add_((0.05 if kind == "flow" else 0.3) * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("kind", list(priors.PRIORS))
def test_the_density_integrates_to_one_and_draws_follow_it(kind):
    prior = model_with(kind).prior
    side = torch.linspace(-9, 9, 401) if kind == "flow" else torch.linspace(-25, 25, 1001 if kind != "vamp" else 2001)
    with torch.no_grad():
        grid = torch.cartesian_prod(side, side)
        mass = torch.cat([prior.log_prob(part).exp() for part in grid.split(200_000)]) * (side[1] - side[0]) ** 2
        drawn = prior.sample(40_000, torch.Generator().manual_seed(0))
    assert mass.sum().item() == pytest.approx(1, abs=0.01)
    mean = mass @ grid
    second = (mass[:, None] * (grid - mean) ** 2).sum(0)
    error = 5 * (second / len(drawn)).sqrt()
    assert ((drawn.mean(0) - mean).abs() < error + 0.01).all()
    torch.testing.assert_close(drawn.var(0), second, rtol=0.08, atol=0.01)


@pytest.mark.parametrize("kind", list(priors.PRIORS))
def test_draws_belong_to_rows(kind):
    """Whatever the batch, row 7 gets the same code."""
    prior = model_with(kind).prior
    with torch.no_grad():
        whole, part = (prior.sample(len(rows), RowNoise(0, "prior", rows)) for rows in ((5, 6, 7), (7,)))
    torch.testing.assert_close(whole[2:], part)


@pytest.mark.parametrize("full", [False, True])
def test_the_mixture_is_that_of_torch(full):
    prior = random_mixture(3, 4, full)
    root = torch.diag_embed(prior.log_scale.exp()) + (prior.lower.tril(-1) if full else 0)
    theirs = distributions.MixtureSameFamily(
        distributions.Categorical(logits=prior.logits), distributions.MultivariateNormal(prior.means, scale_tril=root)
    )
    z = torch.randn(2, 5, 3)
    torch.testing.assert_close(prior.log_prob(z), theirs.log_prob(z))


@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_learned_scales_start_at_one_and_sum_to_the_dimension(kind):
    learned, plain = priors.make(f"learned_{kind}", 5), priors.make(kind, 5)
    z = torch.randn(4, 5)
    torch.testing.assert_close(learned.log_prob(z), plain.log_prob(z))
    for logits in (torch.randn(5), torch.tensor([200.0, -200.0, 0.0, 0.0, 0.0])):
        learned.logits.data.copy_(logits)
        law = learned.law()
        scale = (0.5 * law.logvar).exp() if kind == "normal" else law.log_scale.exp()
        assert scale.sum().item() == pytest.approx(5, rel=1e-5)
        assert scale.min() >= 0.99e-6


@pytest.mark.parametrize("kind", list(priors.PRIORS))
def test_the_divergence_from_a_posterior_is_its_integral(kind):
    """Closed forms exactly; estimates from draws on average."""
    prior, rows = model_with(kind).prior, 20_000
    law = of_scale("normal", torch.tensor([0.2, -0.4]), torch.tensor([-1.0, -0.5]))
    generator = torch.Generator().manual_seed(0)
    z = law.rsample(torch.randn(rows, 2, generator=generator))
    with torch.no_grad():
        each = law.log_prob(z) - prior.log_prob(z)
        found = prior.kl(law, z).mean()
    assert found.item() == pytest.approx(each.mean().item(), abs=5 * (each.std() / rows**0.5).item() + 1e-5)
    assert found > 0


def test_the_vamp_prior_is_the_mean_posterior_of_its_pseudo_inputs():
    model = model_with("vamp")
    z = torch.randn(6, 2)
    values = Batch({n: model.prior.inputs[n] for n in "ab"})
    each = torch.stack([model.posterior(values).log_prob(row.expand(3, 2)) for row in z])
    torch.testing.assert_close(model.prior.log_prob(z), each.logsumexp(1) - math.log(3))
    with pytest.raises(InputError, match="pseudo-inputs"):
        priors.make("vamp", 2)


@pytest.mark.parametrize("network", ["conv_half", "transformer", "mlp"])
def test_pseudo_inputs_of_captions_learn_whatever_the_names(network):
    """Names that are not alphabetical, and a modality whose network looks words up."""
    data = datasets.load("toy_captions", split="test", size=8)
    specs = tuple(replace(m, name=name) for m, name in zip(data.modalities, ("picture", "caption"), strict=True))
    rows = Batch(dict(zip(("picture", "caption"), data.batch(slice(0, 4)).values.values(), strict=True)))
    prior = priors.make("vamp", 2, 4, rows)
    built = {m.name: networks.build(network if m.vocabulary else "mlp", m, 2) for m in specs}
    model = MultimodalVAE(specs, built, subsets.mopoe(("picture", "caption")), 2, prior=prior)
    prior.log_prob(torch.randn(3, 2)).sum().backward()
    assert all(model.prior.inputs[m.name].grad.abs().max() > 0 for m in specs)


@pytest.mark.parametrize("name", list(OBJECTIVES))
@pytest.mark.parametrize("kind", list(priors.PRIORS))
def test_every_objective_trains_every_prior(kind, name):
    model = model_with(kind, subsets.mmvae(("a", "b")), Family("laplace", "softmax"))
    more = {"samples": 3} if OBJECTIVES[name].draws else {}
    loss = OBJECTIVES[name].function(model, batch_of(8), model.mixture, **more).loss
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    of_prior = [g for (n, _), g in zip(model.named_parameters(), gradients, strict=True) if n.startswith("prior.")]
    assert bool(of_prior) == (kind not in ("normal", "laplace"))
    assert all(gradient.abs().max() > 0 for gradient in of_prior)


@pytest.mark.parametrize("kind", list(priors.PRIORS))
def test_a_model_is_saved_with_its_prior_and_family(kind, tmp_path):
    family = Family("laplace", "softmax")
    model = model_with(kind, subsets.mmvae(("a", "b")), family).eval()
    names, prior = dict.fromkeys("ab", "mlp"), model.prior.describe()
    blueprint = Blueprint(model.modalities, model.mixture, model.latent_dim, names, prior=prior, family=family)
    save_model(tmp_path, model, blueprint)
    again = load(tmp_path)
    assert again.family == family
    for drawing in (model, again):
        torch.manual_seed(3)
        drawing.found = drawing.prior.sample(4)
    torch.testing.assert_close(model.found, again.found)
    torch.testing.assert_close(model.prior.log_prob(model.found), again.prior.log_prob(model.found))
    torch.testing.assert_close(model.embed(batch_of(4)), again.embed(batch_of(4)))


@pytest.mark.parametrize("kind", ["learned_normal", "learned_laplace", "gmm", "vamp", "flow"])
def test_learning_the_prior_alone_tightens_the_bound(kind):
    """With networks held fixed and the same noise: the first prior is one of those that can be learned."""
    model, batch = model_with(kind), batch_of(200)
    parameters = list(model.prior.parameters())

    def loss() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return objectives.elbo(model, batch, model.mixture, allocation="exact", generator=generator).loss

    before, optimiser = loss().item(), torch.optim.Adam(parameters, lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        found = loss()
        found.backward(inputs=parameters)
        optimiser.step()
    assert loss().item() < before - 1e-3


class Data:
    """As much of a data set as fitting needs."""

    def __init__(self, rows: int) -> None:
        self.values = batch_of(rows).values

    def __len__(self) -> int:
        return len(self.values["a"])

    def batch(self, ids: list[int]) -> Batch:
        return Batch({n: v[ids] for n, v in self.values.items()})


@pytest.mark.parametrize("kind", ["gmm", pytest.param("flow", marks=pytest.mark.slow)])
def test_a_fitted_prior_is_nearer_to_held_out_codes_and_can_be_kept(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "FLOW_STEPS", 250)
    model, data = model_with("normal").eval(), Data(600)
    with torch.no_grad():  # codes in a corner that N(0, 1) hardly reaches, far narrower than it
        for encoder in model.encoders.values():
            encoder[-1].mean.bias.fill_(3.0)
    fitted = fit_prior(model, data, kind, components=3)
    codes = aggregated_posterior(model, data)
    assert fitted.after > fitted.before + 3
    drawn = fitted.prior.sample(4000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.std(0), codes.std(0), rtol=0.15, atol=0.0)
    save_prior(tmp_path, kind, fitted.prior, {})
    torch.testing.assert_close(load_prior(tmp_path, kind, 2).log_prob(codes), fitted.prior.log_prob(codes))
    with pytest.raises(InputError, match="make it again"):
        load_prior(tmp_path, kind, 3)


@pytest.mark.parametrize("kind", ["gmm", "flow"])
def test_the_same_seed_fits_the_same_prior(kind, monkeypatch):
    monkeypatch.setattr(fitting, "FLOW_STEPS", 20)
    model, data = model_with("normal").eval(), Data(600)
    first, again = (fit_prior(model, data, kind, components=3) for _ in range(2))
    assert first.after == again.after != first.before


@pytest.mark.parametrize("components", [None, 3])
def test_a_mixture_does_not_learn_few_rows_by_heart(components):
    """Codes of N(0, I) itself, 256 of 100 dimensions: nothing is better than the model's prior, and this is near."""
    torch.manual_seed(0)
    model, codes = model_with("normal").eval(), torch.randn(256, 100)
    model.prior = priors.StandardNormal(100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "aggregated_posterior", lambda model, data, seed: codes)
        fitted = fit_prior(model, Data(256), components=components)
    assert fitted.after > fitted.before - 5


def test_the_default_mixture_follows_rows_and_dimensions(monkeypatch):
    model, found = model_with("normal").eval(), []
    for rows, width in ((60, 30), (600, 4), (3000, 4)):
        monkeypatch.setattr(fitting, "aggregated_posterior", lambda *_, r=rows, w=width: torch.randn(r, w))
        model.prior = priors.StandardNormal(width)
        found.append(fit_prior(model, Data(rows)).prior.describe())
    assert found == [
        {"kind": "gmm", "components": 1},
        {"kind": "gmm_full", "components": 20},
        {"kind": "gmm_full", "components": 20},
    ]
    monkeypatch.setattr(fitting, "aggregated_posterior", lambda *_: torch.randn(100, 4))
    assert fit_prior(model, Data(100)).prior.describe() == {"kind": "gmm_full", "components": 4}


def test_what_cannot_be_fitted_is_refused(tmp_path):
    model = model_with("normal").eval()
    with pytest.raises(InputError, match="too few for 50 components"):
        fit_prior(model, Data(60), "gmm", components=50)
    with pytest.raises(InputError, match="choose gmm, flow or pruned"):
        fit_prior(model, Data(60), "vae", components=2)
    with pytest.raises(InputError, match="polyvae fit-prior"):
        load_prior(tmp_path, "gmm", 2)
    with pytest.raises(InputError, match="choose one of normal"):
        priors.make("cauchy", 2)
