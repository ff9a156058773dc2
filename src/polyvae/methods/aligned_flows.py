"""aligned_flows, ours and unpublished: learn what modalities share by contrast, draw by unimodal VAEs, join by flows.

A latent-variable model p(u) prod_m p(w_m | u) p(x_m | w_m), fitted in three stages, each with all else frozen:

    1. minimised over g_m: NT-Xent between every two of u_m = g_m(x_m), unit vectors (`objectives.regularisers`)
    2. maximised: sum_m E_{q(w_m | x_m)} log p(x_m | w_m) - beta KL(q(w_m | x_m) || N(0, I)), independent VAEs
    3. maximised over p(u) and p(w_m | u): E log p(u) + sum_m E log p(w_m | u), w_m of q(w_m | x_m), u of q(u | X)

q(u | X) = 1/M sum_m N(u_m, spread^2 I) over what a row has, so u is of one modality at random. With what stage 3 leaves
as it is, that is the evidence bound of the whole model, and what stage 3 reports:

    log p(X) >= E { log p(u) - log q(u | X) + sum_m log p(x_m | w_m) + log p(w_m | u) - log q(w_m | x_m) }

No decoder sees u and no pixel shapes it, so pictures are those of unimodal VAEs, and there is no shortcut to learn. At
test time what is given is drawn from its own q(w_m | x_m), all else from p(w_m | u), u from what is given.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from polyvae import noise, subsets
from polyvae.errors import InputError
from polyvae.methods.method import Method, Stage, parameters_of
from polyvae.modality import Batch
from polyvae.models import AlignedFlows, AlignedOptions
from polyvae.noise import Noise
from polyvae.objectives import Bound, OfTerms, alone, systematic_quantiles
from polyvae.objectives.parts import loss_alone, scores_of
from polyvae.objectives.regularisers import contrast
from polyvae.subsets import SubsetMixture

ALONE = OfTerms(alone)


def align(model: AlignedFlows, batch: Batch, mixture: SubsetMixture, **settings: Any) -> Bound:
    """Stage 1: the contrast of what a row has. No other quantity is in nats of a bound, so all but `loss` is 0."""
    return loss_alone(contrast(model.directions(batch), batch.present, model.options.temperature), batch)


def draw_each(
    model: AlignedFlows, batch: Batch, mixture: SubsetMixture, *, beta: Tensor, weights: Tensor, generator: Noise
) -> Bound:
    """Stage 2: the sum of the ELBOs of independent VAEs."""
    return ALONE(model.vaes, batch, beta=beta, weights=weights, generator=generator)


def join(
    model: AlignedFlows, batch: Batch, mixture: SubsetMixture, *, generator: Noise = None, **settings: Any
) -> Bound:
    """Stage 3: the evidence bound in nats, whatever the VAEs' beta and weights in training; only flows learn."""
    names, present, sd = model.names, batch.present, model.options.spread
    with torch.no_grad():
        own, directions = model.vaes.encode(batch), model.directions(batch)
        count, rows, width = own.mean.shape
        dim = directions.shape[-1]
        standard = noise.normal(generator, rows, dim + count * width, directions)
        member = mixture.pick(systematic_quantiles(rows, generator, present.device), present).given
        u = (directions * member.T[..., None]).sum(0) + sd * standard[:, :dim]
        apart = ((u - directions) / sd).square().sum(-1).masked_fill(~present.T, torch.inf)
        log_u = (-0.5 * apart).logsumexp(0) - present.sum(-1).log() - dim * math.log(sd * math.sqrt(2 * math.pi))
        w = own.rsample(standard[:, dim:].view(rows, count, width).transpose(0, 1))
        scores = scores_of(model.vaes, batch, dict(zip(names, w, strict=True)))
        log_likelihood, log_own = torch.stack([scores[name] for name in names], -1), own.log_prob(w).T
    log_flow = torch.stack([model.flow(n).log_prob(z, u) for n, z in zip(names, w, strict=True)], -1)
    rate = log_u - model.prior.log_prob(u) + torch.where(present, log_own - log_flow, 0.0).sum(-1)
    distortion = -log_likelihood.sum(-1).mean()
    return Bound(distortion + rate.mean(), log_likelihood, rate, distortion, rate.mean())


def singles(names: Sequence[str]) -> SubsetMixture:
    """S, from which q(u | X) is formed. Raises InputError for one modality."""
    if len(names) < 2:
        raise InputError("method aligned_flows compares modalities, but there is only one; use --method unimodal")
    return subsets.mmvae(names)


ROWS = (
    Method(
        "aligned_flows",
        singles,
        "contrast finds what modalities share, flows from it draw the code of each one's VAE",
        "ours, unpublished; docs/methods.md",
        stages=(
            Stage("contrast", align, "contrast", parameters_of("aligners", "heads"), compares_rows=True),
            Stage("vaes", draw_each, "vaes", parameters_of("vaes"), warm_up=0.6),
            Stage("flows", join, "flows", parameters_of("flows", "prior"), AlignedFlows.freeze),
        ),
        model="aligned_flows",
        options=AlignedOptions,
    ),
)
