"""Imputation against the exact conditional Gaussian of the toy law."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from polyvae import Batch, InputError, Modality, MultimodalVAE, impute, likelihoods, networks, subsets
from polyvae.datasets import load
from polyvae.datasets.toy import LATENT, NOISE, linear_gaussian
from polyvae.modality import Standardise

LAW = linear_gaussian(2, seed=1)
NAMES = ("m0", "m1")
UNITS = Standardise((3.0,) * 4, (2.0,) * 4)


class ExactExpert(nn.Module):
    """One latent dimension is rotated away so that W^T W is diagonal: the product of experts is then exact."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        precision = self.weight.square().sum(0) / NOISE**2
        mean = x @ self.weight / NOISE**2 / precision
        return mean, -precision.log().expand_as(mean)


class Linear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.weight.T


@pytest.fixture(scope="module")
def world():
    """(model, W_0, W_1): the first modality's columns are made orthogonal, so that x_0 gives the exact posterior."""
    first, second = (torch.from_numpy(weight).float() for weight in LAW.weights)
    _, _, rotation = torch.linalg.svd(first, full_matrices=False)
    weights = [first @ rotation.T, second @ rotation.T]
    modalities = tuple(Modality(n, (4,), likelihoods.Normal(NOISE), transform=UNITS) for n in NAMES)
    networks = {n: (ExactExpert(w), Linear(w)) for n, w in zip(NAMES, weights, strict=True)}
    return MultimodalVAE(modalities, networks, subsets.mvae(NAMES), LATENT).eval(), weights


def rows(weights, count=3000):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, LATENT, generator=generator)
    return {
        n: z @ w.T + NOISE * torch.randn(count, 4, generator=generator) for n, w in zip(NAMES, weights, strict=True)
    }


def test_mean_sd_and_interval_are_those_of_the_exact_conditional(world):
    model, (first, second) = world
    values = rows((first, second))
    present = torch.tensor([True, False]).expand(3000, 2)
    torch.manual_seed(0)
    filled = impute(model, Batch({**values, "m1": torch.full((3000, 4), torch.nan)}, present), draws=400)["m1"]
    covariance = torch.linalg.inv(torch.eye(LATENT) + first.T @ first / NOISE**2)
    mean = values["m0"] @ first @ covariance @ second.T / NOISE**2
    spread = second @ covariance @ second.T + NOISE**2 * torch.eye(4)
    sd = UNITS.sd[0] * spread.diagonal().sqrt()
    torch.testing.assert_close(filled.mean, UNITS.sd[0] * mean + UNITS.mean[0])  # draws are mirrored: no error is left
    torch.testing.assert_close(filled.sd.mean(0), sd, rtol=0.01, atol=0)
    truth = UNITS.inverse(values["m1"])
    covered = ((filled.low <= truth) & (truth <= filled.high)).float().mean()
    assert covered == pytest.approx(0.8, abs=0.015)


def test_what_is_filled_in_of_an_image_stays_in_its_range():
    table, wide = likelihoods.Normal(1.0), likelihoods.Normal(2.0)
    specs = (Modality("a", (2,), table), Modality("x", (1, 4, 4), wide))
    networks_of = {m.name: networks.build("mlp", m, 2) for m in specs}
    model = MultimodalVAE(specs, networks_of, subsets.mopoe(("a", "x")), 2)
    batch = Batch({"a": torch.randn(5, 2), "x": torch.rand(5, 1, 4, 4)}, torch.tensor([[True, False]]).expand(5, 2))
    filled = impute(model, batch, draws=3)["x"]
    for values in (filled.mean, filled.low, filled.high, model.generate(batch, targets=["x"], decode="sample")["x"]):
        assert values.min() >= 0
        assert values.max() <= 1


def test_a_generator_fixes_every_draw(world):
    model, weights = world
    batch = Batch(rows(weights, 4), torch.tensor([True, False]).expand(4, 2))
    state = torch.get_rng_state()
    first, again, other = (
        impute(model, batch, draws=5, generator=torch.Generator().manual_seed(seed))["m1"].mean for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_observed_values_come_back_in_their_own_units(world):
    model, weights = world
    values = rows(weights, 5)
    present = torch.tensor([[True, True], [True, False], [False, True], [True, True], [False, True]])
    filled = impute(model, Batch(values, present), draws=3)
    for column, name in enumerate(NAMES):
        seen = present[:, column]
        expected = UNITS.inverse(values[name])[seen]
        for field in ("mean", "low", "high"):
            torch.testing.assert_close(getattr(filled[name], field)[seen], expected)
        assert filled[name].sd[seen].eq(0).all()
        assert filled[name].sd[~seen].gt(0).all()


def test_targets_alone_are_returned(world):
    model, weights = world
    batch = Batch(rows(weights, 2), torch.tensor([[True, False]] * 2))
    assert list(impute(model, batch, draws=3, targets=("m1",))) == ["m1"]
    with pytest.raises(InputError, match="'x'; the model has m0, m1"):
        impute(model, batch, targets=("x",))


def test_an_interval_needs_two_draws(world):
    model, weights = world
    with pytest.raises(InputError, match="at least 2"):
        impute(model, Batch(rows(weights, 2)), draws=1)


def test_what_is_never_negative_is_never_imputed_below_zero():
    """Counts that are scored as real numbers; other features, and the identity of the data, stay as they are."""
    rng = np.random.default_rng(0)
    table = np.stack([rng.poisson(0.3, 60), rng.normal(size=60)], 1).astype(float)
    data = load("arrays", data={"a": table, "b": rng.normal(size=(60, 2))})
    (modality, _), first = data.modalities, data.batch(slice(None))
    assert modality.transform.from_zero == (True, False)
    assert Modality.from_json(modality.to_json()) == modality
    plain = replace(modality, transform=replace(modality.transform, from_zero=()))
    assert data.with_modalities([plain, data.modalities[1]]).fingerprint == data.fingerprint
    pairs = {m.name: networks.build("mlp", m, 2) for m in data.modalities}
    model = MultimodalVAE(data.modalities, pairs, subsets.mvae(("a", "b")), 2)
    filled = impute(model, Batch(first.values, torch.tensor([[False, True]]).expand(len(data), 2)))["a"]
    assert filled.low[:, 0].min() == 0
    assert min(part[:, 0].min() for part in (filled.mean, filled.high)) >= 0
    assert filled.low[:, 1].min() < 0
