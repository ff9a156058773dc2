"""What all objectives share: the model they need, the bound they return, weights of terms, noise."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution

from polyvae import gaussian, noise, waiting
from polyvae.covariate import beside
from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.models import contract
from polyvae.models.contract import Codes, JointModel, Model
from polyvae.noise import Noise, RowNoise, ShareNoise
from polyvae.posteriors import Posterior
from polyvae.subsets import Powerset, SubsetMixture

Allocation = Literal["systematic", "exact"]


class Bound(NamedTuple):
    """A bound and its parts, in nats.

    loss: scalar to minimise, the negated bound, mean over the batch. For L_S and `elbo_tight` that is distortion (with
    modality weights) + beta * rate; importance-weighted losses are lower.
    log_likelihood: (batch, modality), averaged over S; 0 where a modality is absent.
    kl: (batch,), averaged over S. distortion, rate: scalar means of -log_likelihood (unweighted) and kl.
    Of importance-weighted objectives only `loss` has gradients.
    regularisers: name -> value, unweighted, of what `loss` holds beside a bound (`objectives.regularisers`). They
    depend on the whole batch, whatever noise belongs to its rows.
    """

    loss: Tensor
    log_likelihood: Tensor
    kl: Tensor
    distortion: Tensor
    rate: Tensor
    regularisers: Mapping[str, Tensor] = MappingProxyType({})


def bound_of(log_likelihood: Tensor, kl: Tensor, beta: float | Tensor, weights: Tensor | None) -> Bound:
    """Of log likelihoods (batch, modality) and divergences (batch,). weights: (modality,), in the loss (default 1)."""
    weighted = log_likelihood if weights is None else log_likelihood * weights
    distortion, rate = -log_likelihood.sum(-1).mean(), kl.mean()
    return Bound(-weighted.sum(-1).mean() + beta * rate, log_likelihood, kl, distortion, rate)


def check_beta(beta: float | Tensor) -> None:
    """Raises InputError for a negative number. A tensor, of a stage in which beta rises, is not read."""
    if not isinstance(beta, Tensor) and beta < 0:
        raise InputError(f"beta is {beta}; it must be at least 0")


def check(model: JointModel, batch: Batch, mixture: SubsetMixture, beta: float | Tensor) -> None:
    """Raises InputError for a negative beta, an S over other modalities, or a row that no term of S can encode."""
    check_beta(beta)
    if mixture.names != model.names:
        raise InputError(f"S is over {', '.join(mixture.names)}, the model over {', '.join(model.names)}")
    if not (batch.is_complete or mixture.covers_any_row):
        check_covered(mixture, batch.present)


def check_covered(mixture: SubsetMixture, present: Tensor, row: str = "row") -> None:
    """Raises InputError for a row that no term of S can encode, which it calls `row`. present: Bool (row, modality)."""
    if not bool((covered := mixture.covers(present)).all()):
        place = f"{row} {int((~covered).nonzero()[0])}"
        advice = "leave such rows out, or add a term to S that encodes what they have"
        raise InputError(f"{place} has nothing that a term of S encodes; {advice}")


def systematic_quantiles(batch_size: int, generator: Noise, device: torch.device) -> Tensor:
    """u_i = (u + permutation(i)) / batch, one uniform u: evenly spread quantiles in random order, each uniform.

    Noise that belongs to rows gives each row its own uniform quantile, so that rows do not depend on the batch.
    """
    if isinstance(generator, RowNoise):
        return noise.uniform(generator, batch_size, torch.empty(0, device=device))
    if isinstance(generator, ShareNoise):
        return systematic_quantiles(generator.count, generator.generator, device)[generator.share]
    stream = noise.stream_of(generator)
    u = torch.rand((), generator=stream, device=device, dtype=torch.float64)
    return (u + noise.permutation(batch_size, stream, device)) / batch_size


def loss_alone(loss: Tensor, batch: Batch) -> Bound:
    """For a loss that says nothing about likelihoods and rates: they are 0."""
    nothing = loss.new_zeros(batch.present.shape)
    return Bound(loss, nothing, nothing.sum(-1), nothing.sum(), nothing.sum())


def check_allocation(allocation: str) -> None:
    """Raises InputError for what is not an `Allocation`."""
    if allocation not in get_args(Allocation):
        raise InputError(f"unknown allocation {allocation!r}; choose 'systematic' or 'exact'")


def subsets_of(present: Tensor, allocation: Allocation, generator: Noise) -> tuple[Tensor, Tensor]:
    """Non-empty subsets of what rows have, given Bool (n, batch, modality), and factors (n, batch), float64.

    "exact": all of them by their bits, with factor 1, and 0 with nothing given where a row lacks one of the subset.
    "systematic": one per row, uniformly and evenly over the batch, with the number of its subsets as a factor. So the
    sum over n of factor * f(given) is that of f over all subsets, on average.
    Raises InputError for another allocation.
    """
    check_allocation(allocation)
    count, device = present.shape[-1], present.device
    if allocation == "systematic":
        quantiles = systematic_quantiles(len(present), generator, device)
        names = tuple(map(str, range(count)))
        return Powerset(names).pick(quantiles, present).given[None], (2.0 ** present.double().sum(-1) - 1)[None]
    bits = torch.arange(1, 2**count, device=device)[:, None] >> torch.arange(count, device=device)
    matrix = (bits & 1).bool()[:, None]
    given = matrix & ~(matrix & ~present).any(-1, keepdim=True)
    return given, given.any(-1).double()


def decoded_and_scored(
    model: JointModel, batch: Batch, posterior: Posterior, factor: Tensor, generator: Noise
) -> tuple[Tensor, Tensor]:
    """What posteriors (n, batch, latent) decode, log likelihoods (batch, modality), and their divergences (batch,).

    Sums over n, each times its factor (n, batch). One draw of each posterior.
    """
    z = rsample(posterior, generator)
    return scored_at_draws(model, batch, dict.fromkeys(model.names, z), posterior, z, factor)


def scored_at_draws(
    model: JointModel, batch: Batch, codes: Codes, posterior: Posterior, z: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """As `decoded_and_scored`, at draws z (n, batch, latent), of which decoders read `codes`."""
    scores, factor = scores_of(model, batch, codes), factor.to(z.dtype)
    log_likelihood = torch.stack([(factor * scores[name]).sum(0) for name in model.names], -1)
    return log_likelihood, (factor * model.prior.kl(posterior, z)).sum(0)


def every_term(model: JointModel, batch: Batch, mixture: SubsetMixture) -> tuple[Posterior, Tensor]:
    """The posterior of every term (subset, batch, latent), and weights (subset, batch)."""
    present, left = batch.present, mixture.within(batch.present)
    targets = mixture.on(present.device).targets[:, None] & present
    alive = left.given.any(-1) & targets.any(-1)
    # A term with nothing to encode or to predict has weight zero; the prior keeps its posterior finite.
    member, prior_expert = left.given & alive[..., None], left.prior_expert | ~alive
    experts = model.encode(batch, mixture.encoded if batch.is_complete else member.any(0))
    return checked_fused(model, experts, mixture, member, prior_expert), omega_of(mixture, alive)


def checked_fused(
    model: JointModel, experts: Posterior, mixture: SubsetMixture, member: Tensor, prior_expert: Tensor
) -> Posterior:
    """The posterior for terms of S, none of which is empty. Raises InputError if there are no products."""
    if mixture.has_products and not experts.has_products:
        raise gaussian.no_product(experts)
    return contract.fused(model, experts, member, prior_expert)


def omega_of(mixture: SubsetMixture, alive: Tensor) -> Tensor:
    """Weights (subset, batch), those of terms that predict everything renormalised over the live ones of each row."""
    terms = mixture.on(alive.device)
    omega, joint = terms.weights[:, None] * alive, terms.is_joint[:, None]
    total = (omega * joint).sum(0)
    return torch.where(joint & (total > 0), omega / total.clamp(min=1e-300), omega)


def rsample(posterior: Posterior, generator: Noise) -> Tensor:
    return posterior.rsample(standard_normal(posterior.mean.shape, generator, posterior.mean))


def standard_normal(shape: Sequence[int], generator: Noise, like: Tensor) -> Tensor:
    """Standard Normal numbers of shape (..., batch, latent), those of each row drawn together."""
    *outer, rows, latent = shape
    drawn = noise.normal(generator, rows, math.prod(outer) * latent, like)
    return drawn.view(rows, *outer, latent).movedim(0, -2)


def scores_of(model: Model, batch: Batch, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """log likelihood(x_m | z_m) of every modality m in codes (..., batch, latent): (..., batch). Rows without it get 0.

    Where reading is free, those rows are not decoded. Elsewhere all modalities are decoded in one go.
    """
    read = {z: beside(z, batch.level) for z in codes.values()}  # what was one tensor stays one
    codes = {name: read[z] for name, z in codes.items()}
    if waiting.is_free(batch.present.device):
        return {name: _scores_by_index(model, batch, name, z) for name, z in codes.items()}
    flat: dict[Tensor, Tensor] = {z: z.flatten(0, -2) for z in codes.values()}
    laws, scores = model.decode({name: flat[z] for name, z in codes.items()}), {}
    for name, z in codes.items():
        each = _scores(laws[name], batch.values[name], z)
        seen = batch.present[:, model.names.index(name)]
        scores[name] = each if batch.is_complete else torch.where(seen, each, 0.0)
    return scores


def _scores_by_index(model: Model, batch: Batch, name: str, z: Tensor) -> Tensor:
    value = batch.values[name]
    if batch.is_complete:
        return _scores(model.decode({name: z.flatten(0, -2)})[name], value, z)
    rows = batch.present[:, model.names.index(name)].nonzero().squeeze(1)
    if not len(rows):
        return z.new_zeros(z.shape[:-1])
    chosen = z.index_select(-2, rows)
    found = _scores(model.decode({name: chosen.flatten(0, -2)})[name], value.index_select(0, rows), chosen)
    return found.new_zeros(z.shape[:-1]).index_copy(-1, rows, found)


def _scores(likelihood: Distribution, value: Tensor, z: Tensor) -> Tensor:
    *outer, _, _ = z.shape
    return likelihood.log_prob(value.expand(*outer, *value.shape).flatten(0, len(outer))).view(*outer, -1)
