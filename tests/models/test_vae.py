"""The model: posteriors by the rule, generation in the units of the data, saving without loss."""

import math
from dataclasses import replace

import pytest
import torch

from polyvae import Batch, InputError, Modality, MultimodalVAE, likelihoods, load, networks, subsets
from polyvae.gaussian import product_of_experts
from polyvae.modality import Standardise
from polyvae.models import Blueprint
from polyvae.noise import RowNoise
from polyvae.runs.saving import save_model

NAMES = ("a", "b", "c")
UNITS = Standardise((10.0, -5.0), (2.0, 0.1))


def make_model(make=subsets.mopoe) -> MultimodalVAE:
    torch.manual_seed(0)
    modalities = (
        Modality("a", (2,), likelihoods.Normal(None), transform=UNITS),
        Modality("b", (3,), likelihoods.Categorical()),
        Modality("c", (1, 4, 4), likelihoods.Laplace(0.75), weight=2.0),
    )
    built = {m.name: networks.build("mlp", m, 5) for m in modalities}
    return MultimodalVAE(modalities, built, make(NAMES), 5).eval()


def make_batch(rows: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(1)
    classes = torch.nn.functional.one_hot(torch.arange(rows) % 3, 3).float()
    images = torch.rand(rows, 1, 4, 4, generator=generator)
    return Batch({"a": torch.randn(rows, 2, generator=generator), "b": classes, "c": images})


@pytest.mark.parametrize("make", [subsets.mvae, subsets.mmvae, subsets.mopoe, subsets.mvae_plus])
@torch.no_grad()
def test_posterior_density_is_the_mixture_of_products(make):
    model, batch = make_model(make), make_batch()
    z = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(2))
    posterior = model.posterior(batch, given=["c", "a"])
    experts = model.encode(batch)
    terms = subsets.conditional(model.mixture, ("a", "c")).terms
    densities = []
    for term in terms:
        member = torch.tensor([n in term.given for n in NAMES])
        densities.append(math.log(term.weight) + product_of_experts(experts, member, term.prior_expert).log_prob(z))
    torch.testing.assert_close(posterior.log_prob(z), torch.stack(densities).logsumexp(0))
    means = [t.weight * product_of_experts(experts, torch.tensor([n in t.given for n in NAMES]), t.prior_expert).mean
             for t in terms]  # fmt: skip
    torch.testing.assert_close(model.embed(batch, ["a", "c"]), sum(means))


def mixed(names):
    """Singles and the full set: the rule gives other posteriors for other observed sets."""
    return subsets.custom([*(((name,), 0.2) for name in names), (names, 0.4)], names)


@torch.no_grad()
@pytest.mark.parametrize("make", [subsets.mvae, subsets.mmvae, subsets.mopoe, subsets.mvae_plus, mixed])
def test_a_row_that_lacks_a_modality_is_as_if_one_had_not_asked_for_it(make):
    model, whole = make_model(make), make_batch(4)
    present = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 1, 0], [0, 1, 1]]).bool()
    posterior = model.posterior(Batch(whole.values, present))
    z = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    for given, rows in ((NAMES, [0]), (("b", "c"), [1, 3]), (("a", "b"), [2])):
        asked = model.posterior(whole, given)
        torch.testing.assert_close(posterior.log_prob(z)[rows], asked.log_prob(z)[rows])
        torch.testing.assert_close(posterior.mean[rows], asked.mean[rows])


@torch.no_grad()
def test_only_what_a_row_has_is_encoded():
    model, whole = make_model(), make_batch(5)
    seen = []
    model.encoders["a"].register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    present = torch.ones(5, 3, dtype=torch.bool)
    present[:3, 0] = False
    experts = model.encode(Batch(whole.values, present))
    full = model.encode(whole)
    assert seen == [2, 5]
    torch.testing.assert_close(experts.mean[0, 3:], full.mean[0, 3:])
    torch.testing.assert_close(experts.mean[1:], full.mean[1:])
    assert experts.mean[0, :3].abs().sum() == 0
    present[:, 0] = False
    assert model.encode(Batch(whole.values, present)).logvar[0].abs().sum() == 0


def test_a_batch_in_another_order_is_refused():
    values = make_batch().values
    with pytest.raises(InputError, match="the batch holds c, b, a, the model expects a, b, c"):
        make_model().encode(Batch(dict(reversed(values.items()))))


@torch.no_grad()
def test_rows_use_what_they_have_of_given():
    model, whole = make_model(subsets.mmvae), make_batch(2)
    present = torch.tensor([[True, True, True], [False, True, True]])
    partly = Batch({**whole.values, "a": torch.where(present[:, :1], whole.values["a"], torch.nan)}, present)
    posterior = model.posterior(partly, ["a", "b"])
    torch.testing.assert_close(posterior.mean[:1], model.posterior(whole, ["a", "b"]).mean[:1])
    torch.testing.assert_close(posterior.mean[1:], model.posterior(whole, ["b"]).mean[1:])
    with pytest.raises(InputError, match="row 1 has none of a"):
        model.posterior(partly, ["a"])


def test_generated_values_are_in_the_units_of_the_data():
    model = make_model()
    noise = RowNoise(0, "test", (0, 1, 2))
    generated = model.generate(3, generator=noise)
    with torch.no_grad():
        raw = model.decode(model.prior_codes(3, noise))
    torch.testing.assert_close(generated["a"], raw["a"].mean * torch.tensor(UNITS.sd) + torch.tensor(UNITS.mean))
    torch.testing.assert_close(generated["b"].sum(-1), torch.ones(3))
    assert set(model.generate(make_batch(), given=["a"], targets=["c"])) == {"c"}
    one_hot = model.generate(50, targets=["b"], decode="sample")["b"]
    assert one_hot.unique().tolist() == [0, 1], "a draw of a class is a class"
    with pytest.raises(InputError, match="targets are \\['x'\\]"):
        model.generate(3, targets=["x"])
    with pytest.raises(InputError, match="name at least one"):
        model.generate(3, targets=[])
    with pytest.raises(InputError, match="only a count"):
        model.generate(3, given=["a"])
    with pytest.raises(InputError, match="cannot condition"):
        model.generate(make_batch(), given=[])


@pytest.mark.parametrize("source", [lambda: torch.Generator().manual_seed(5), lambda: RowNoise(5, "x", (0, 1, 2))])
def test_a_generator_fixes_draws_from_the_likelihood_too(source):
    model = make_model()
    before = torch.random.get_rng_state()
    a, b = (model.generate(3, decode="sample", generator=source()) for _ in range(2))
    other = model.generate(3, decode="sample", generator=torch.Generator().manual_seed(6))
    assert all(torch.equal(a[name], b[name]) for name in NAMES)
    assert not torch.equal(a["a"], other["a"])
    assert torch.equal(torch.random.get_rng_state(), before), "torch's own generator goes on as if nothing happened"


def test_row_noise_makes_draws_independent_of_the_batch():
    model, batch = make_model(subsets.mmvae), make_batch()
    whole = model.posterior_codes(batch, NAMES, ["a"], RowNoise(3, "x", tuple(range(6))))["a"]
    order = [4, 1]
    part = Batch({n: v[order] for n, v in batch.values.items()})
    again = model.posterior_codes(part, NAMES, ["a"], RowNoise(3, "x", tuple(order)))["a"]
    torch.testing.assert_close(again, whole[order])
    other = model.posterior_codes(part, NAMES, ["a"], RowNoise(3, "y", tuple(order)))["a"]
    assert (other - again).abs().min() > 0


def blueprint_of(model):
    return Blueprint(model.modalities, model.mixture, model.latent_dim, dict.fromkeys(NAMES, "mlp"))


@pytest.mark.parametrize("make", [subsets.mopoe, subsets.mvae_plus])
def test_a_saved_model_is_the_same_model(make, tmp_path):
    model, batch = make_model(make), make_batch()
    save_model(tmp_path, model, blueprint_of(model))
    again = load(tmp_path)
    assert again.modalities == model.modalities
    assert again.mixture == model.mixture
    noise = RowNoise(0, "test", tuple(range(6)))
    for name, value in model.generate(batch, given=["b"], generator=noise).items():
        assert torch.equal(again.generate(batch, given=["b"], generator=noise)[name], value)


def test_damaged_or_foreign_weights_are_refused(tmp_path):
    model = make_model()
    save_model(tmp_path, model, blueprint_of(model))
    content = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(content.replace('"latent_dim": 5', '"latent_dim": 6'))
    with pytest.raises(InputError, match="do not fit"):
        load(tmp_path)
    (tmp_path / "model.json").write_text(content)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match=r"no file .*model\.safetensors"):
        load(tmp_path)


def test_a_batch_refuses_rows_without_any_modality():
    with pytest.raises(InputError, match="row 1 of the batch has no observed modality"):
        Batch({"a": torch.zeros(2, 2)}, torch.tensor([[True], [False]]))


def test_other_likelihoods_read_the_same_networks():
    model, batch = make_model(), make_batch()
    a, b, c = model.modalities
    others = (replace(a, likelihood=likelihoods.Laplace(None)), b, replace(c, likelihood=likelihoods.BinnedLaplace()))
    scored = model.scored_by(others)
    assert scored.state_dict().keys() == model.state_dict().keys()
    assert {id(p) for p in scored.parameters()} == {id(p) for p in model.parameters()}
    assert model.modalities == (a, b, c)
    assert not scored.training
    z = model.posterior_codes(batch, NAMES, NAMES, torch.Generator().manual_seed(0))
    before, after = model.decode(z), scored.decode(z)
    for name in NAMES:
        assert torch.equal(before[name].mean, after[name].mean)
    assert not torch.equal(before["c"].log_prob(batch.values["c"]), after["c"].log_prob(batch.values["c"]))
    with pytest.raises(InputError, match="'b' needs another number of parameters"):
        model.scored_by((a, replace(b, likelihood=likelihoods.Normal(None)), c))
    with pytest.raises(InputError, match=r"'a' of shape \(3,\) is not 'a' of shape \(2,\)"):
        model.scored_by((replace(a, shape=(3,)), b, c))
