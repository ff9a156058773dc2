"""MVAE with ELBO sub-sampling as published (Wu & Goodman 2018, section 2.3): eq. 84, and random subsets each step.

With ELBO(A) = E_{q_A} sum_{m in A} log p(x_m | z) - beta KL(q_A || p), maximised:

    ELBO(all) + sum_m ELBO({m}) + the sum of ELBO(A) over two random subsets A of 2 to M - 1 modalities
"""

from typing import Any

import torch

from polyvae.modality import Batch
from polyvae.models.contract import JointModel
from polyvae.noise import Noise, stream_of
from polyvae.objectives import Bound, elbo
from polyvae.subsets import Listed, SubsetMixture, Term

RANDOM_SUBSETS = 2  # per step


def elbo_with_random_subsets(
    model: JointModel,
    batch: Batch,
    mixture: SubsetMixture,
    *,
    random_subsets: int = RANDOM_SUBSETS,
    generator: Noise = None,
    **how: Any,
) -> Bound:
    """L_S of S and of `random_subsets` more terms, each predicting just what it encodes, with weight 1.

    They are drawn anew at each call, uniformly among the subsets of 2 to M - 1 modalities; with M = 2 there are none.
    """
    if len(mixture.names) < 3:
        return elbo(model, batch, mixture, generator=generator, **how)
    source = stream_of(generator)
    device = batch.present.device
    drawn: list[Term] = []
    while len(drawn) < random_subsets:
        chosen = torch.rand(len(mixture.names), generator=source, device=device) < 0.5
        given = tuple(name for name, taken in zip(mixture.names, chosen.tolist(), strict=True) if taken)
        if 1 < len(given) < len(mixture.names):
            drawn.append(Term(given, 1.0, target=given, prior_expert=True))
    return elbo(model, batch, Listed(mixture.names, (*mixture.terms, *drawn)), generator=generator, **how)
