"""A row that lacks modalities is trained on as by the model without them, for every pattern of 3 and 4 modalities."""

import itertools

import pytest
import torch

from polyvae import Batch, Modality, MultimodalVAE, likelihoods, networks, noise, subsets
from polyvae.objectives import OBJECTIVES
from polyvae.subsets import Powerset

ROWS = 4
PATTERNS = [
    (names, seen)
    for names in (("a", "b", "c"), ("a", "b", "c", "d"))
    for size in range(1, len(names) + 1)
    for seen in itertools.combinations(names, size)
]


@pytest.fixture(scope="module")
def parts():
    """Modalities and networks by name."""
    torch.manual_seed(0)
    modalities = {name: Modality(name, (i + 1,), likelihoods.Normal(0.5)) for i, name in enumerate("abcd")}
    return modalities, {name: networks.build("mlp", modality, 2) for name, modality in modalities.items()}


def model_of(parts, names, make) -> MultimodalVAE:
    modalities, built = parts
    return MultimodalVAE([modalities[n] for n in names], {n: built[n] for n in names}, make(names), 2).eval()


def batch_of(parts, names, seen) -> Batch:
    generator = torch.Generator().manual_seed(1)
    values = {name: torch.randn(ROWS, *m.shape, generator=generator) for name, m in parts[0].items()}
    present = torch.tensor([name in seen for name in names]).expand(ROWS, -1)
    return Batch({name: values[name] for name in names}, present)


def loss_and_gradient(model, batch, objective, **how):
    loss = OBJECTIVES[objective].function(model, batch, model.mixture, beta=0.5, allocation="exact", **how).loss
    weights = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return loss.detach(), {n: torch.zeros(1) if g is None else g for n, g in zip(weights, gradients, strict=True)}


@pytest.mark.parametrize(
    ("make", "objective"),
    [
        *[(make, "elbo") for make in (subsets.mvae, subsets.mmvae, subsets.mopoe, subsets.mvae_plus)],
        *[(subsets.mopoe, name) for name in ("elbo_tight", "iwae", "iwae_looser", "dreg")],
    ],
)
def test_loss_and_gradient_are_those_of_the_model_without_the_absent(make, objective, parts, monkeypatch):
    """Without posterior noise a bound is a finite sum. Equation 84 of one modality alone is twice its ELBO."""
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: torch.zeros(rows, width).to(like))
    for names, seen in PATTERNS:
        if make is subsets.mvae_plus and len(seen) == 1:
            continue
        loss, gradients = loss_and_gradient(model_of(parts, names, make), batch_of(parts, names, seen), objective)
        expected, without = loss_and_gradient(model_of(parts, seen, make), batch_of(parts, seen, seen), objective)
        torch.testing.assert_close(loss, expected, msg=f"{seen} of {names}")
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, without.get(name, torch.zeros_like(gradient)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("names", "seen"), PATTERNS)
def test_what_is_left_of_mopoe_is_mopoe_term_by_term(names, seen):
    """So that K samples from every subset are as many, too."""
    left = Powerset(names).within(torch.tensor([[name in seen for name in names]]))
    kept = left.given[:, 0].any(-1)
    columns = [names.index(name) for name in seen]
    expected = Powerset(seen)
    assert torch.equal(left.given[kept][:, 0, columns], expected.matrix)
    assert torch.equal(left.prior_expert[kept, 0], expected.prior_experts)


@torch.no_grad()
@pytest.mark.parametrize("make", [subsets.mvae, subsets.mmvae, subsets.mopoe, subsets.mvae_plus])
def test_when_asked_a_row_answers_as_a_whole_row_asked_for_as_much(make, parts):
    """Posterior and importance weights depend on what is given alone: neither on absent values nor on their absence."""
    for names, seen in PATTERNS:
        model, partly, whole = model_of(parts, names, make), *(batch_of(parts, names, s) for s in (seen, names))
        z = torch.randn(5, ROWS, 2, generator=torch.Generator().manual_seed(2))
        asked = model.posterior(whole, seen)
        torch.testing.assert_close(model.posterior(partly).log_prob(z), asked.log_prob(z))
        weights = [
            model.log_weights(batch, given, seen, 6, noise.RowNoise(0, "test", tuple(range(ROWS))))
            for batch, given in ((partly, names), (whole, seen))
        ]
        torch.testing.assert_close(*weights)
