"""Hölder+ and Hölder++: the objective written out, limits, the bound, and what is decoded."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import polyvae as pv
from polyvae import Batch, fusions, likelihoods, noise, subsets
from polyvae.methods import METHODS, hoelder, hoelder_plus
from polyvae.modality import Modality
from polyvae.models import MODELS
from polyvae.models.contract import NotDefined
from polyvae.models.pooled import Correction
from polyvae.noise import RowNoise
from support.arrays import TABLES, tables_with_gaps
from support.linear import Encoder
from support.slow import slow_unless

NAMES, SHARED, PRIVATE, ROWS = ("a", "b", "c"), 2, 3, 7
BOTH = ("hoelder_plus", "hoelder_plusplus")
PATTERNS = [p for size in (1, 2, 3) for p in itertools.combinations(NAMES, size)]


def model_of(name, *, private=PRIVATE, is_corrected=True, **options):
    """Linear networks in float64, the same for both methods; r differs from p(w), and heads correct something."""
    torch.manual_seed(0)
    pairs, specs = {}, []
    for n in NAMES:
        width = 2 + ord(n) % 3
        specs.append(Modality(n, (width,), likelihoods.Normal(0.8)))
        pairs[n] = Encoder(width, SHARED + private), nn.Linear(SHARED + private, width)
    more = {} if name == "hoelder" else {"private_dim": private, **options}
    if name == "hoelder_plusplus":
        more["heads"] = {n: Correction(SHARED, private) for n in NAMES}
    kind, latent = MODELS[METHODS[name].model], SHARED + (0 if name == "hoelder" else private * 3)
    if name == "hoelder":
        more["rule"] = fusions.hellinger
    model = kind(specs, pairs, subsets.whole(NAMES), latent, **more)
    generator = torch.Generator().manual_seed(1)
    for n in NAMES if name != "hoelder" else ():
        nn.init.normal_(model.references[n].logits, generator=generator)
    for n in NAMES if name == "hoelder_plusplus" and is_corrected else ():
        nn.init.normal_(model.heads[n].out.weight, std=0.3, generator=generator)
    return model.double()


def batch_of(model, patterns=(NAMES,) * ROWS):
    generator = torch.Generator().manual_seed(1)
    values = {m.name: torch.randn(len(patterns), *m.shape, generator=generator).double() for m in model.modalities}
    return Batch(values, torch.tensor([[n in p for n in NAMES] for p in patterns]))


def loss_and_gradients(model, loss):
    """Of all that has a gradient."""
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    pairs = zip(dict(model.named_parameters()), found, strict=True)
    return loss, {name: grad for name, grad in pairs if grad is not None and grad.any()}


def normal(fields):
    mean, logvar = fields
    return Normal(mean, (logvar / 2).exp())


def written(name, model, batch, numbers, beta):
    """The mean over rows, part by part. numbers: (row, part, latent), of z, w_a, w_b, w_c."""
    unit, total = Normal(torch.zeros(()).double(), torch.ones(()).double()), []
    parts = list(itertools.combinations_with_replacement(NAMES, 2))
    for row, present in enumerate(batch.present.tolist()):
        seen = [n for n, has in zip(NAMES, present, strict=True) if has]
        x = {n: batch.values[n][row] for n in NAMES}
        outputs = {n: [field.split([SHARED, PRIVATE]) for field in model.encoders[n](x[n])] for n in seen}
        of_z = {n: normal([field[0] for field in outputs[n]]) for n in seen}
        values, sizes = [], []
        for index, (i, j) in enumerate(parts):
            if i not in seen or j not in seen:
                continue
            v, w = of_z[i].variance, of_z[j].variance
            apart = (of_z[i].loc - of_z[j].loc).square()
            overlap = ((2 * (v * w).sqrt() / (v + w)).sqrt() * (-apart / (4 * (v + w))).exp()).prod()
            c = Normal((of_z[i].loc * w + of_z[j].loc * v) / (v + w), (2 * v * w / (v + w)).sqrt())
            sizes.append(overlap * (1 if i == j else 2))
            for_z, *for_w = numbers[row, index].split([SHARED, *[PRIVATE] * 3])
            z = c.loc + c.scale * for_z
            value = -beta * kl_divergence(c, unit).sum()
            for n in seen:
                own = for_w[NAMES.index(n)]
                scale = model.references[n].logits.softmax(-1) * PRIVATE
                private = scale * own
                if n in (i, j):
                    mean, logvar = (field[1] for field in outputs[n])
                    if name == "hoelder_plusplus":
                        head = model.heads[n]
                        change = head.out(head.hidden(torch.cat([z, mean, logvar])))
                        mean, logvar = mean + change[:PRIVATE], logvar + change[PRIVATE:]
                    law = normal((mean, logvar))
                    private = law.loc + law.scale * own
                    value = value - beta * kl_divergence(law, unit).sum()
                value = value + Normal(model.decoders[n](torch.cat([z, private])), 0.8).log_prob(x[n]).sum()
            values.append(value)
        weights = torch.stack(sizes) / sum(sizes)
        total.append((weights * torch.stack(values)).sum())
    return torch.stack(total).mean()


@pytest.mark.parametrize("name", BOTH)
def test_the_objective_is_the_mean_over_parts_of_their_bounds(name, monkeypatch):
    """In loss and gradient, rows of every pattern; parts read the w_m of their own one or two modalities alone."""
    model = model_of(name)
    batch = batch_of(model, PATTERNS)
    numbers = torch.randn(len(PATTERNS), 6, model.latent_dim, generator=torch.Generator().manual_seed(2)).double()
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: numbers.flatten(1))
    found = hoelder_plus.objective(model, batch, model.mixture, beta=0.7, allocation="exact").loss
    expected = loss_and_gradients(model, -written(name, model, batch, numbers, 0.7))
    torch.testing.assert_close(loss_and_gradients(model, found), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("allocation", ["exact", "systematic"])
def test_without_private_dimensions_hoelder_plus_is_hoelder(allocation):
    """T6, in loss and gradient, with gaps and the same noise."""
    found = []
    for name, objective in (("hoelder", hoelder.objective), ("hoelder_plus", hoelder_plus.objective)):
        model = model_of(name, private=0)
        how = {"beta": 0.7, "allocation": allocation, "generator": torch.Generator().manual_seed(2)}
        loss = objective(model, batch_of(model, PATTERNS), model.mixture, **how).loss
        found.append(loss_and_gradients(model, loss))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def test_heads_that_change_nothing_leave_hoelder_plus():
    """As at the start of a training: the same loss, and gradients of all but the heads."""
    found = []
    for name in BOTH:
        model = model_of(name, is_corrected=False)
        how = {"beta": 0.7, "generator": torch.Generator().manual_seed(2)}
        loss = hoelder_plus.objective(model, batch_of(model, PATTERNS), model.mixture, **how).loss
        value, grads = loss_and_gradients(model, loss)
        assert any(key.startswith("heads") for key in grads) is (name == "hoelder_plusplus")
        found.append((value, {key: grad for key, grad in grads.items() if not key.startswith("heads")}))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


def test_heads_carry_a_gradient_into_z_of_the_self_reconstruction():
    """q(w_m | x_m, z): the w of a target moves with the z that was drawn."""
    model = model_of("hoelder_plusplus")
    experts = model.encode(batch_of(model))
    z = torch.randn(ROWS, SHARED, dtype=torch.float64, requires_grad=True)
    own = torch.tensor([[True, False, True]]).expand(ROWS, -1)
    mean = model._private_at(z, experts, own).mean
    blocks = mean.split(PRIVATE, -1)
    assert torch.autograd.grad(blocks[0].sum(), z, retain_graph=True)[0].any()
    assert not torch.autograd.grad(blocks[1].sum(), z)[0].any(), "p(w_n) of what is not own"


@pytest.mark.parametrize("name", BOTH)
def test_where_r_is_the_prior_it_is_a_bound(name):
    """T1, for 20 random networks on x_m = weight (z, w_m) + noise, whose log p(X) is in closed form."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        weights = torch.randn(2, 2, 3, generator=generator).double()
        pairs, specs = {}, []
        for n, weight in zip("ab", weights, strict=True):
            decoder = nn.Linear(3, 2, bias=False)
            decoder.weight.data = weight
            encoder = Encoder(2, 3)
            nn.init.normal_(encoder.layer.weight, std=0.3, generator=generator)
            pairs[n] = encoder, decoder
            specs.append(Modality(n, (2,), likelihoods.Normal(1.0)))
        heads = {"heads": {n: Correction(1, 2) for n in "ab"}} if name == "hoelder_plusplus" else {}
        for head in heads.get("heads", {}).values():
            nn.init.normal_(head.out.weight, std=0.1, generator=generator)
        model = MODELS[METHODS[name].model](specs, pairs, subsets.whole("ab"), 5, private_dim=2, **heads).double()
        x = torch.randn(2, 2, generator=generator).double()
        loadings = torch.zeros(4, 5).double()
        loadings[:, 0] = weights[..., 0].flatten()
        loadings[:2, 1:3], loadings[2:, 3:] = weights[0, :, 1:], weights[1, :, 1:]
        law = MultivariateNormal(torch.zeros(4).double(), loadings @ loadings.T + torch.eye(4))
        rows = Batch({n: value.expand(3000, -1) for n, value in zip("ab", x, strict=True)})
        with torch.no_grad():
            bound = hoelder_plus.objective(model, rows, model.mixture, allocation="exact", generator=generator)
        each = bound.log_likelihood.sum(-1) - bound.kl
        assert each.mean() < law.log_prob(x.flatten()) + 4 * each.std() / 3000**0.5


def test_z_of_the_posterior_is_the_pool_and_private_codes_are_own():
    """Whatever is private, z has the law of `hoelder`; every part has the own w of all that is given."""
    model, plain = model_of("hoelder_plus"), model_of("hoelder", private=PRIVATE)
    batch = batch_of(model, PATTERNS)
    outputs = [model.encoders[n](batch.values[n]) for n in NAMES]
    experts = model.encode(batch)
    shared = experts.like(*(field[..., :SHARED] for field in experts))
    law = model.posterior(batch)
    z = torch.randn(len(PATTERNS), SHARED, generator=torch.Generator().manual_seed(0)).double()
    narrow = law._replace(components=law.components.like(*(field[..., :SHARED] for field in law.components)))
    expected = plain.posterior(batch, experts=shared)
    torch.testing.assert_close(narrow.log_prob(z), expected.log_prob(z))
    for m, (mean, _) in enumerate(outputs):
        block = law.components.mean[..., SHARED + m * PRIVATE : SHARED + (m + 1) * PRIVATE]
        seen = batch.present[:, m, None]
        own = torch.where(seen, mean[:, SHARED:], 0.0)
        torch.testing.assert_close(block, own.expand_as(block), rtol=1e-5, atol=1e-6)


def test_private_codes_of_hoelder_plusplus_are_drawn_at_their_z():
    """z as in Hölder+; w about the corrected mean at that z, of what is given, and of p(w) or 0 for others."""
    rows = RowNoise(0, "codes", tuple(range(4000)))
    one = {m.name: torch.ones(4000, *m.shape).double() for m in model_of("hoelder_plus").modalities}
    batch, drawn = Batch(one), {}
    for name in BOTH:
        drawn[name] = model_of(name).posterior_codes(batch, ("a", "b"), ("c",), rows)["c"]
    z = drawn["hoelder_plusplus"][:, :SHARED]
    torch.testing.assert_close(z, drawn["hoelder_plus"][:, :SHARED])
    for rule in ("own", "prior", "zero"):
        model = model_of("hoelder_plusplus", at_test=rule)
        codes = model.posterior_codes(batch, ("a", "b"), ("c",), rows)["c"]
        torch.testing.assert_close(codes[:, :SHARED], z)
        own = torch.tensor([[rule != "prior", rule != "prior", False]]).expand(4000, -1)
        law = model._private_at(z, model.encode(batch), own, is_zero=rule == "zero")
        residual = codes[:, SHARED:] - law.mean
        w_c = residual[:, 2 * PRIVATE :]
        assert bool(w_c.any()) is (rule != "zero")
        standard = residual[:, : 2 * PRIVATE] / (law.logvar[:, : 2 * PRIVATE] / 2).exp()
        assert standard.mean(0).abs().max() < 5 / 4000**0.5
        assert (standard.std(0) - 1).abs().max() < 0.06
        both = torch.cat([z - z.mean(0), standard], -1)
        assert torch.corrcoef(both.T)[:SHARED, SHARED:].abs().max() < 5 / 4000**0.5, "noise of z is not used again"


def test_both_codes_of_hoelder_plusplus_are_looked_at_and_swapped():
    """w at its own z: in place of the encoder's mean, and of the row that w is from."""
    model = model_of("hoelder_plusplus")
    batch, rows = batch_of(model), RowNoise(0, "swap", tuple(range(ROWS)))
    other = Batch({n: value.flip(0) for n, value in batch.values.items()})
    experts, means = model.encode(batch), model.code_means(batch)
    own = torch.ones(ROWS, 3, dtype=torch.bool)
    for m, n in enumerate(NAMES):
        z = experts.mean[m, :, :SHARED]
        block = slice(m * PRIVATE, (m + 1) * PRIVATE)
        torch.testing.assert_close(means[n].shared, z)
        torch.testing.assert_close(means[n].private, model._private_at(z, experts, own).mean[:, block])
    swapped = model.swapped_codes(batch, other, rows)["b"]
    for place, source, purpose in ((slice(SHARED), batch, "swap"), (slice(SHARED, None), other, "swap/1")):
        drawn = model.posterior_codes(source, NAMES, ("b",), replace(rows, purpose=purpose))["b"]
        torch.testing.assert_close(swapped[:, place], drawn[:, place])


def test_hoelder_plusplus_offers_no_density():
    model = model_of("hoelder_plusplus")
    with pytest.raises(NotDefined, match="private codes are drawn given z"):
        model.posterior(batch_of(model))


@pytest.mark.parametrize("name", slow_unless(lambda name: name == "hoelder_plus", BOTH))
def test_it_learns_from_gaps_and_is_scored_loaded_and_sampled(name, tmp_path):
    arrays = tables_with_gaps(80)
    np.savez(tmp_path / "mine.npz", **arrays)
    config = pv.RunConfig(dataset="arrays", data=str(tmp_path / "mine.npz"), method=name, latent_dim=2, epochs=2)
    config = config.with_(method_options="private_dim=2", metrics="bound,objective,imputation")
    result = pv.run(config, tmp_path / "runs")
    assert all(np.isfinite(value) for value in result.metrics.values())
    assert ("bound" in result.notes) is (name == "hoelder_plusplus")
    assert "objective/loss" in result.metrics
    model = result.load()
    assert any(law.logits.any() for law in model.references.values()), "r has learned"
    if name == "hoelder_plusplus":
        assert all(head.out.weight.any() for head in model.heads.values())
    rows = Batch({n: torch.from_numpy(arrays[n][:5]) for n in TABLES})
    for source, given in ((rows, TABLES), (rows, TABLES[:1]), (5, None)):
        assert all(v.isfinite().all() for v in model.generate(source, given).values())
