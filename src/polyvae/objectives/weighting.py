"""Importance-weighted bounds on a mixture posterior, and the estimators of their gradients.

Samples z lie in a grid (group, sample, batch). With log weights l = log likelihood(x | z) + beta (log prior(z) - log
posterior_S(z)), the density of the whole mixture below the line, a bound is sum_g u_g log sum_k a_gk exp(l_gk). One
group of all samples gives the tight bound, a group for every term of S the looser one (Shi et al. 2019), a group for
every sample the plain mixture ELBO.

With private codes, "shared" mixes z alone, as MMVAE+ does: l = log likelihood + beta (log prior(z) prior(w_m) - log
posterior_S(z) posterior_m(w_m)) for a draw of the expert of m, and other decoders read draws of r in place of their w.

Memory: all samples are first scored without gradients, a chunk at a time; then only those are scored again, with
gradients, whose normalised weight is above 1e-7, the rounding of float32. After some training few are. (An accelerator
would have to wait to know which: it scores all of them.) Decoders must treat rows alike in both passes: no dropout, no
batch statistics.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from polyvae import waiting
from polyvae.covariate import beside
from polyvae.errors import InputError
from polyvae.gaussian import picked
from polyvae.modality import Batch
from polyvae.models.contract import UNSEEN, JointModel, has_private_codes, shared_dim_of
from polyvae.noise import Noise, index_at, of_draw
from polyvae.objectives.parts import (
    Allocation,
    Bound,
    check,
    check_allocation,
    every_term,
    rsample,
    systematic_quantiles,
)
from polyvae.posteriors import Posterior
from polyvae.subsets import SubsetMixture

Grouping = Literal["all", "term", "sample"]
Gradient = Literal["plain", "doubly", "official", "multivae"]
Mixed = Literal["all", "shared"]
NEGLIGIBLE = 1e-7
CHUNK = 512


class Options(TypedDict, total=False):
    """The options of importance-weighted objectives.

    beta: weight of log prior - log posterior in the log weights. samples: K, for each row and term of S ("exact"), or
    for each row ("systematic"). allocation, weights, generator: as for `elbo`. chunk: samples decoded at a time.
    """

    beta: float
    samples: int
    allocation: Allocation
    weights: Tensor | None
    generator: Noise
    chunk: int


class Grid(NamedTuple):
    """Where samples come from, all (group, sample, batch): the term of S, log a_gk; and u_g (group, batch)."""

    term: Tensor
    log_share: Tensor
    weight: Tensor


class Scores(NamedTuple):
    """Of samples (pair,): log weight l; log posterior_S - log prior; the own term's share of the mixture density;
    log-likelihoods (pair, modality)."""

    log_weight: Tensor
    log_ratio: Tensor
    responsibility: Tensor
    log_likelihood: Tensor


def importance_bound(
    model: JointModel,
    batch: Batch,
    mixture: SubsetMixture,
    grouping: Grouping,
    gradient: Gradient,
    *,
    mixed: Mixed = "all",
    beta: float = 1.0,
    samples: int = 1,
    allocation: Allocation = "systematic",
    weights: Tensor | None = None,
    generator: Noise = None,
    chunk: int = CHUNK,
) -> Bound:
    """The bound of `grouping`, with the gradient estimator `gradient`.

    mixed: what the density of the mixture is of, the whole code or the shared one alone.
    Raises InputError as `elbo`, and for samples or chunk below 1, or an S whose terms do not all predict everything.
    """
    check(model, batch, mixture, beta)
    if not mixture.is_bound:
        raise InputError("importance weighting needs terms that all predict all modalities; use the objective 'elbo'")
    for name, value in (("samples", samples), ("chunk", chunk)):
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
    law, omega = every_term(model, batch, mixture)
    omega = omega.to(law.mean.dtype)
    grid = _grid(omega, grouping, samples, allocation, generator)
    rows = torch.arange(len(batch.present), device=omega.device)
    z = rsample(picked(law, (grid.term.flatten(0, 1), rows)), generator).flatten(0, 1)
    shared = shared_dim_of(model) if mixed == "shared" else z.shape[-1]
    drawn = _Samples(model, batch, law, omega.log(), z, grid.term.flatten(), weights, beta, mixture, shared)
    share = (grid.weight[:, None] * grid.log_share.exp()).flatten()
    by_index = waiting.is_free(share.device)
    pairs = torch.arange(len(share), device=share.device)
    if by_index:
        pairs = share.nonzero().squeeze(1)  # terms that a row lacks cost nothing
    with torch.no_grad():
        scores = drawn.scores(pairs, chunk)
        value, normalised = _bound_and_weights(grid, scores.log_weight, pairs)
        parts = torch.cat([scores.log_likelihood, scores.log_ratio[:, None]], -1) * share[pairs, None]
        averages = parts.new_zeros(len(rows), parts.shape[1]).index_add(0, pairs % len(rows), parts)
    loss = -value.mean()
    if torch.is_grad_enabled():
        again, responsibility = pairs, scores.responsibility  # scored a second time, with gradients
        if by_index:
            heavy = (normalised[pairs] > NEGLIGIBLE).nonzero().squeeze(1)
            again, responsibility = pairs[heavy], responsibility[heavy]
        weight = grid.weight[:, None].expand_as(grid.term).flatten()[again] * normalised[again] / len(rows)
        of_mixed, of_rest = (_factor(normalised[again], r, beta, gradient) for r in (responsibility, 1.0))
        factor = drawn.by_block(of_mixed, of_rest)
        surrogate = -drawn.attached(again, weight, factor, gradient, chunk)
        loss = loss + surrogate - surrogate.detach()
    log_likelihood, kl = averages[:, :-1], averages[:, -1]
    return Bound(loss, log_likelihood, kl, -log_likelihood.sum(-1).mean(), kl.mean())


def _grid(omega: Tensor, grouping: Grouping, samples: int, allocation: Allocation, generator: Noise) -> Grid:
    """omega: weights of terms (subset, batch). Systematic draws of a row's K terms are independent of each other,
    except that the looser bound takes all K samples of a row from one term."""
    check_allocation(allocation)
    terms, rows = omega.shape
    if allocation == "exact":
        term = torch.arange(terms, device=omega.device).repeat_interleave(samples)[:, None].expand(-1, rows)
        weight = omega[term[:, 0]] / samples
    else:
        draws = 1 if grouping == "term" else samples
        u = torch.stack([systematic_quantiles(rows, of_draw(generator, i), omega.device) for i in range(draws)])
        term = index_at(u, omega.T).expand(samples, rows)
        weight = torch.full_like(term, 1 / samples, dtype=omega.dtype)
    if grouping == "all":
        return Grid(term[None], weight.log()[None], torch.ones_like(weight[:1]))
    if grouping == "sample":
        return Grid(term[:, None], torch.zeros_like(weight)[:, None], weight)
    term, weight = (values.unflatten(0, (-1, samples)) for values in (term, weight))
    return Grid(term, torch.full_like(weight, -math.log(samples)), weight.sum(1))


def _bound_and_weights(grid: Grid, log_weight: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """The bound of each row (batch,), and the weights normalised within groups (group * sample * batch,)."""
    scattered = torch.full_like(grid.log_share, -torch.inf).flatten().index_copy(0, pairs, log_weight)
    joint = grid.log_share + scattered.view_as(grid.log_share)
    total = joint.logsumexp(1)
    counts = grid.weight > 0
    value = torch.where(counts, grid.weight * total, 0.0).sum(0)
    return value, torch.where(counts[:, None], (joint - total[:, None]).exp(), 0.0).flatten()


def _factor(normalised: Tensor, responsibility: Tensor | float, beta: float, gradient: Gradient) -> Tensor:
    """What the gradient that reaches a sample is multiplied by, beyond the sample's weight w (see `dreg`)."""
    if gradient in ("plain", "official"):
        return torch.ones_like(normalised)
    if gradient == "multivae":
        return normalised
    return 1 - beta * responsibility * (1 - normalised)


@dataclass(frozen=True, eq=False)
class _Samples:
    """Samples z (pair, latent), each of a `term` of S (pair,) and of row pair % batch; `law`: all terms' posteriors.

    shared: the first dimensions, which the mixture's density is of; the others have the density of the own term.
    """

    model: JointModel
    batch: Batch
    law: Posterior
    log_omega: Tensor
    z: Tensor
    term: Tensor
    weights: Tensor | None
    beta: float
    mixture: SubsetMixture
    shared: int

    def by_block(self, mixed: Tensor, rest: Tensor) -> Tensor:
        """(pair, latent): one number for the dimensions that the mixture's density is of, another for the others."""
        unmixed = self.z.shape[-1] - self.shared
        return torch.cat([mixed[:, None].expand(-1, self.shared), rest[:, None].expand(-1, unmixed)], -1)

    def scores(self, pairs: Tensor, chunk: int) -> Scores:
        parts = [self._score(part, self.z[part], self.law) for part in pairs.split(chunk)]
        return Scores(*(torch.cat(fields) for fields in zip(*parts, strict=True)))

    def attached(self, pairs: Tensor, weight: Tensor, factor: Tensor, gradient: Gradient, chunk: int) -> Tensor:
        """sum of weight * l, with gradients; recomputed chunk by chunk if there are several."""
        parts = list(zip(pairs.split(chunk), weight.split(chunk), factor.split(chunk), strict=True))
        if len(parts) == 1:
            return self._attached(*parts[0], gradient)
        # No generator is looked at for it: rows draw nothing here, and a CUDA graph does not let it be read.
        again = partial(checkpoint, self._attached, use_reentrant=False, preserve_rng_state=False)
        return torch.stack([again(*part, gradient) for part in parts]).sum()

    def _attached(self, pairs: Tensor, weight: Tensor, factor: Tensor, gradient: Gradient) -> Tensor:
        z = self.z[pairs]
        if gradient == "plain":
            return (weight * self._score(pairs, z, self.law).log_weight).sum()
        frozen = self.law.like(self.law.mean.detach(), self.law.logvar.detach())
        scaled = z.detach() + factor * (z - z.detach())
        total = (weight * self._score(pairs, scaled, frozen).log_weight).sum()
        if gradient != "doubly" or len(self.log_omega) == 1:
            return total
        own = self._own(self._share(pairs, z, frozen), pairs)
        others = self._share(pairs, z.detach(), frozen).exp().scatter(0, self.term[pairs][None], 0.0)
        rest = (others * self._each(pairs, z.detach(), self.law)).sum(0)
        return total - self.beta * (weight * (own + rest)).sum()

    def _score(self, pairs: Tensor, z: Tensor, law: Posterior) -> Scores:
        rows = pairs % len(self.batch.present)
        read = beside(z, None if self.batch.level is None else self.batch.level[rows])
        likelihoods = self.model.decode({name: self._read(name, pairs, read) for name in self.model.names})
        columns = [likelihoods[name].log_prob(self.batch.values[name][rows]) for name in self.model.names]
        log_likelihood = torch.where(self.batch.present[rows], torch.stack(columns, -1), 0.0)
        each = self._joint(pairs, z, law)
        log_ratio = each.logsumexp(0) + self._unmixed(pairs, z, law) - self.model.prior.log_prob(z)
        in_loss = log_likelihood if self.weights is None else log_likelihood * self.weights
        log_weight = in_loss.sum(-1) - self.beta * log_ratio
        return Scores(log_weight, log_ratio, self._own(each - each.logsumexp(0), pairs), log_likelihood)

    def _joint(self, pairs: Tensor, z: Tensor, law: Posterior) -> Tensor:
        """log omega_A + log posterior_A(z), (subset, pair)."""
        return self.log_omega[:, pairs % len(self.batch.present)] + self._each(pairs, z, law)

    def _each(self, pairs: Tensor, z: Tensor, law: Posterior) -> Tensor:
        """log posterior_A(z) of what is mixed, (subset, pair)."""
        index = slice(None), pairs % len(self.batch.present), slice(self.shared)
        return picked(law, index).log_prob(z[:, : self.shared])

    def _unmixed(self, pairs: Tensor, z: Tensor, law: Posterior) -> Tensor | float:
        """log of the own term's density of the other dimensions, (pair,)."""
        if self.shared == z.shape[-1]:
            return 0.0
        index = self.term[pairs], pairs % len(self.batch.present), slice(self.shared, None)
        return picked(law, index).log_prob(z[:, self.shared :])

    def _read(self, name: str, pairs: Tensor, codes: Tensor) -> Tensor:
        """What decoder `name` reads of codes (pair, latent)."""
        if self.shared == self.z.shape[-1] or not has_private_codes(self.model):
            return codes
        is_own = self.mixture.on(codes.device).matrix[self.term[pairs], self.model.names.index(name)]
        kind = torch.full_like(self.term[pairs], UNSEEN.index("reference"))
        return self.model.unseen(name, codes[None], is_own[None], kind[None])[0]

    def _share(self, pairs: Tensor, z: Tensor, law: Posterior) -> Tensor:
        """log of each term's share of the mixture density at z, (subset, pair)."""
        each = self._joint(pairs, z, law)
        return each - each.logsumexp(0)

    def _own(self, log_share: Tensor, pairs: Tensor) -> Tensor:
        """The share of the term that a sample is from, (pair,)."""
        return log_share.gather(0, self.term[pairs][None]).squeeze(0).exp()
