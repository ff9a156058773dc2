"""What all objectives share: the model they need, the bound they return, weights of terms, noise."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from polyvae import gaussian, noise
from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.models.contract import JointModel
from polyvae.noise import Noise, RowNoise, ShareNoise
from polyvae.posteriors import Posterior
from polyvae.subsets import SubsetMixture

Allocation = Literal["systematic", "exact"]
UNCOVERED = "leave such rows out, or add a term to S that encodes what they have"


class Bound(NamedTuple):
    """A bound and its parts, in nats.

    loss: scalar to minimise, the negated bound, mean over the batch. For L_S and `elbo_tight` that is distortion (with
    modality weights) + beta * rate; importance-weighted losses are lower.
    log_likelihood: (batch, modality), averaged over S; 0 where a modality is absent.
    kl: (batch,), averaged over S. distortion, rate: scalar means of -log_likelihood (unweighted) and kl.
    Of importance-weighted objectives only `loss` has gradients.
    """

    loss: Tensor
    log_likelihood: Tensor
    kl: Tensor
    distortion: Tensor
    rate: Tensor


def check(model: JointModel, batch: Batch, mixture: SubsetMixture, beta: float) -> None:
    """Raises InputError for a negative beta, an S over other modalities, or a row that no term of S can encode."""
    if beta < 0:
        raise InputError(f"beta is {beta}; it must be at least 0")
    if mixture.names != model.names:
        raise InputError(f"S is over {', '.join(mixture.names)}, the model over {', '.join(model.names)}")
    if not bool((covered := mixture.covers(batch.present)).all()):
        raise InputError(f"row {int((~covered).nonzero()[0])} has nothing that a term of S encodes; {UNCOVERED}")


def systematic_quantiles(batch_size: int, generator: Noise, device: torch.device) -> Tensor:
    """u_i = (u + permutation(i)) / batch, one uniform u: evenly spread quantiles in random order, each uniform.

    Noise that belongs to rows gives each row its own uniform quantile, so that rows do not depend on the batch.
    """
    if isinstance(generator, RowNoise):
        return noise.uniform(generator, batch_size, torch.empty(0, device=device))
    if isinstance(generator, ShareNoise):
        return systematic_quantiles(generator.count, generator.generator, device)[generator.share]
    u = torch.rand((), generator=generator, device=device, dtype=torch.float64)
    order = torch.randperm(batch_size, generator=generator, device=device)
    return (u + order) / batch_size


def every_term(model: JointModel, batch: Batch, mixture: SubsetMixture) -> tuple[Posterior, Tensor, Tensor]:
    """The posterior of every term (subset, batch, latent), targets Bool (subset, modality), weights (subset, batch)."""
    present = batch.present
    left = mixture.within(present)
    targets = mixture.targets.to(present.device)
    alive = left.given.any(-1) & (targets[:, None] & present).any(-1)
    # A term with nothing to encode or to predict has weight zero; the prior keeps its posterior finite.
    member, prior_expert = left.given & alive[..., None], left.prior_expert | ~alive
    posterior = gaussian.product_of_experts(model.encode(batch, member.any(0)), member, prior_expert)
    return posterior, targets, omega_of(mixture, alive)


def omega_of(mixture: SubsetMixture, alive: Tensor) -> Tensor:
    """Weights (subset, batch), those of terms that predict everything renormalised over the live ones of each row."""
    omega = mixture.weights.to(alive.device)[:, None] * alive
    joint = torch.tensor([term.target is None for term in mixture.terms], device=alive.device)
    total = omega[joint].sum(0)
    return torch.where(joint[:, None] & (total > 0), omega / total.clamp(min=1e-300), omega)


def rsample(posterior: Posterior, generator: Noise) -> Tensor:
    *outer, rows, latent = posterior.mean.shape
    standard = noise.normal(generator, rows, math.prod(outer) * latent, posterior.mean)
    return posterior.rsample(standard.view(rows, *outer, latent).movedim(0, -2))


def scores_of(model: JointModel, batch: Batch, name: str, z: Tensor) -> Tensor:
    """log likelihood(x_name | z) for z (..., batch, latent): (..., batch). Rows without it get 0, undecoded."""
    *outer, count, _ = z.shape
    value, rows = batch.values[name], batch.present[:, model.names.index(name)].nonzero().squeeze(1)
    if not len(rows):
        return z.new_zeros(*outer, count)
    if len(rows) < count:
        z, value = z.index_select(-2, rows), value.index_select(0, rows)
    likelihood = model.decode({name: z.flatten(0, -2)})[name]
    scores = likelihood.log_prob(value.expand(*outer, *value.shape).flatten(0, len(outer))).view(*outer, -1)
    return scores if len(rows) == count else scores.new_zeros(*outer, count).index_copy(-1, rows, scores)
