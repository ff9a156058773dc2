"""L_S, the objective of the family (paper, Definition 3)."""

import torch
from torch import Tensor

from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.models.contract import JointModel
from polyvae.noise import Noise
from polyvae.objectives.parts import (
    Allocation,
    Bound,
    bound_of,
    check,
    check_allocation,
    checked_fused,
    every_term,
    rsample,
    scores_of,
    systematic_quantiles,
)
from polyvae.subsets import SubsetMixture


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
    every subset gets the floor or ceiling of its share of the batch: unbiased, one decode per row; it needs an S
    that is a mixture (`is_bound`).
    Missing data: a term encodes what a row has of its subset, terms with nothing left drop out and the others'
    weights renormalise; only present modalities are predicted.
    Raises InputError for a negative beta, for systematic allocation of an S that is not a mixture, for an S over other
    modalities than the model's, and for a row that no term of S can encode.
    """
    check(model, batch, mixture, beta)
    check_allocation(allocation)
    parts = _systematic if allocation == "systematic" else _exact
    return bound_of(*parts(model, batch, mixture, generator), beta, weights)


def _systematic(model: JointModel, batch: Batch, mixture: SubsetMixture, generator: Noise) -> tuple[Tensor, Tensor]:
    if not mixture.is_bound:
        raise InputError("systematic allocation needs terms that all predict all modalities; use allocation='exact'")
    draw = mixture.pick(systematic_quantiles(len(batch.present), generator, batch.present.device), batch.present)
    experts = model.encode(batch, draw.given)  # what a row's subset leaves out costs nothing
    posterior = checked_fused(model, experts, mixture, draw.given, draw.prior_expert)
    z = rsample(posterior, generator)
    scores = scores_of(model, batch, dict.fromkeys(model.names, z))
    return torch.stack([scores[name] for name in model.names], -1), model.prior.kl(posterior, z)


def _exact(model: JointModel, batch: Batch, mixture: SubsetMixture, generator: Noise) -> tuple[Tensor, Tensor]:
    posterior, omega = every_term(model, batch, mixture)
    z = rsample(posterior, generator)
    omega, weights, codes = omega.to(z.dtype), {}, {}
    for name in model.names:
        predicts = [i for i, term in enumerate(mixture.terms) if term.target is None or name in term.target]
        if len(predicts) == len(z):
            weights[name], codes[name] = omega, z
        elif predicts:
            weights[name], codes[name] = (torch.stack([part[i] for i in predicts]) for part in (omega, z))
    scores = scores_of(model, batch, codes)
    columns = [
        (weights[name] * scores[name]).sum(0) if name in scores else z.new_zeros(len(batch.present))
        for name in model.names
    ]
    return torch.stack(columns, -1), (omega * model.prior.kl(posterior, z)).sum(0)
