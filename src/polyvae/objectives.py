"""Objectives: functions of (model, batch, S) that return numbers. All values in nats per example."""

import math
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from polyvae import gaussian, noise
from polyvae.errors import InputError
from polyvae.gaussian import Gaussian
from polyvae.modality import Batch
from polyvae.noise import Noise, RowNoise
from polyvae.priors import Prior
from polyvae.subsets import SubsetMixture

Allocation = Literal["systematic", "exact"]
UNCOVERED = "leave such rows out, or add a term to S that encodes what they have"


class JointModel(Protocol):
    """What an objective needs of a model (`MultimodalVAE` is one)."""

    prior: Prior
    names: tuple[str, ...]

    def encode(self, batch: Batch) -> Gaussian: ...

    def decode(self, codes: dict[str, Tensor]) -> dict[str, Distribution]: ...


class Bound(NamedTuple):
    """A bound and its parts, in nats.

    loss: scalar to minimise, mean over the batch of distortion (with modality weights) + beta * rate.
    log_likelihood: (batch, modality), averaged over S; 0 where a modality is absent.
    kl: (batch,), averaged over S. distortion, rate: scalar means of -log_likelihood (unweighted) and kl.
    """

    loss: Tensor
    log_likelihood: Tensor
    kl: Tensor
    distortion: Tensor
    rate: Tensor


def elbo(
    model: JointModel,
    batch: Batch,
    mixture: SubsetMixture,
    *,
    beta: float = 1.0,
    allocation: Allocation = "systematic",
    weights: Tensor | None = None,
    generator: Noise = None,
) -> Bound:
    """L_S, the objective of the whole family (paper, Definition 3, eq. 2; eq. 84 for `mvae_plus`), negated in `loss`.

    L_S = sum_A w_A { E[log likelihood(x | z_A)] - beta KL(posterior(z | x_A) || prior) }, one sample of z_A each.
    weights: (modality,) factors on the log-likelihoods in the loss (default 1).
    allocation: "exact" decodes every row from every subset. "systematic" gives each row one subset, such that
    every subset gets the floor or ceiling of its share of the batch: unbiased, one decode a row; it needs an S
    that is a mixture (`is_bound`).
    Missing data: a term encodes what a row has of its subset, terms with nothing left drop out and the others'
    weights renormalise; only present modalities are predicted.
    Raises InputError for a negative beta, for systematic allocation of an S that is no mixture, for an S over other
    modalities than the model's, and for a row that no term of S can encode.
    """
    if beta < 0:
        raise InputError(f"beta is {beta}; it must be at least 0")
    if mixture.names != model.names:
        raise InputError(f"S is over {', '.join(mixture.names)}, the model over {', '.join(model.names)}")
    if not bool((covered := mixture.covers(batch.present)).all()):
        raise InputError(f"row {int((~covered).nonzero()[0])} has nothing that a term of S encodes; {UNCOVERED}")
    if allocation == "systematic":
        log_likelihood, kl = _systematic(model, batch, mixture, generator)
    elif allocation == "exact":
        log_likelihood, kl = _exact(model, batch, mixture, generator)
    else:
        raise InputError(f"unknown allocation {allocation!r}; choose 'systematic' or 'exact'")
    weighted = log_likelihood if weights is None else log_likelihood * weights
    distortion, rate = -log_likelihood.sum(-1).mean(), kl.mean()
    return Bound(-weighted.sum(-1).mean() + beta * rate, log_likelihood, kl, distortion, rate)


def systematic_quantiles(batch_size: int, generator: Noise, device: torch.device) -> Tensor:
    """u_i = (u + permutation(i)) / batch, one uniform u: evenly spread quantiles in random order, each uniform.

    Noise that belongs to rows gives each row its own uniform quantile, so that rows do not depend on the batch.
    """
    if isinstance(generator, RowNoise):
        return noise.uniform(generator, batch_size, torch.empty(0, device=device))
    u = torch.rand((), generator=generator, device=device, dtype=torch.float64)
    order = torch.randperm(batch_size, generator=generator, device=device)
    return (u + order) / batch_size


def _systematic(model: JointModel, batch: Batch, mixture: SubsetMixture, generator: Noise) -> tuple[Tensor, Tensor]:
    if not mixture.is_bound:
        raise InputError("systematic allocation needs terms that all predict all modalities; use allocation='exact'")
    draw = mixture.pick(systematic_quantiles(len(batch.present), generator, batch.present.device), batch.present)
    experts = model.encode(batch.showing(draw.given))  # what a row's subset leaves out costs nothing
    posterior = gaussian.product_of_experts(experts, draw.given, draw.prior_expert)
    z = _rsample(posterior, generator)
    likelihoods = model.decode(dict.fromkeys(model.names, z))
    scores = torch.stack([likelihoods[name].log_prob(batch.values[name]) for name in model.names], -1)
    return _where_present(scores, batch.present), model.prior.kl(posterior)


def _exact(model: JointModel, batch: Batch, mixture: SubsetMixture, generator: Noise) -> tuple[Tensor, Tensor]:
    present = batch.present
    member = mixture.matrix.to(present.device)[:, None] & present  # (subset, batch, modality)
    targets = mixture.targets.to(present.device)
    alive = member.any(-1) & (targets[:, None] & present).any(-1)
    # A term with nothing to encode or to predict has weight zero; the prior keeps its posterior finite.
    prior_expert = mixture.prior_experts.to(present.device)[:, None] | ~alive
    posterior = gaussian.product_of_experts(model.encode(batch.showing(member.any(0))), member, prior_expert)
    z = _rsample(posterior, generator)
    omega = _omega(mixture, alive).to(z.dtype)
    columns = []
    for index, name in enumerate(model.names):
        predicts = targets[:, index].nonzero().squeeze(1)
        if not len(predicts):
            columns.append(z.new_zeros(len(present)))
            continue
        likelihood = model.decode({name: z[predicts].flatten(0, 1)})[name]
        value = batch.values[name]
        scores = likelihood.log_prob(value.expand(len(predicts), *value.shape).flatten(0, 1))
        columns.append((omega[predicts] * scores.view(len(predicts), -1)).sum(0))
    kl = (omega * model.prior.kl(posterior)).sum(0)
    return _where_present(torch.stack(columns, -1), present), kl


def _omega(mixture: SubsetMixture, alive: Tensor) -> Tensor:
    """Weights (subset, batch), those of terms that predict everything renormalised over the live ones of each row."""
    omega = mixture.weights.to(alive.device)[:, None] * alive
    joint = torch.tensor([term.target is None for term in mixture.terms], device=alive.device)
    total = omega[joint].sum(0)
    return torch.where(joint[:, None] & (total > 0), omega / total.clamp(min=1e-300), omega)


def _rsample(posterior: Gaussian, generator: Noise) -> Tensor:
    *outer, rows, latent = posterior.mean.shape
    standard = noise.normal(generator, rows, math.prod(outer) * latent, posterior.mean)
    return posterior.rsample(standard.view(rows, *outer, latent).movedim(0, -2))


def _where_present(scores: Tensor, present: Tensor) -> Tensor:
    return torch.where(present, scores, torch.zeros_like(scores))
