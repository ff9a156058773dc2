"""Hölder+ and Hölder++ (Vo et al. 2026): Hölder's mixture over a shared z, and a private w_m for each modality.

For a row with M modalities, parts c its experts q_j and the normalised sqrt(q_i q_j) of all pairs, which are laws of z
(`fusions.hoelder`), with weights w_c as in `hoelder`, r_n a learned law of w_n with mean 0, maximised:

    sum_c w_c { E [ sum_{m in c} log p(x_m | z, w_m) + sum_{n not in c} log p(x_n | z, r_n) ]
                - beta [ KL(c || p) + sum_{m in c} KL(q(w_m | x_m) || p) ] },    z, w_m ~ c(z) q(w_m | x_m)

So a part reads the private codes of its one or two modalities alone, and overlaps are those of z. It is a bound where
r_n = p(w_n). `hoelder_plusplus` has q(w_m | x_m, z): a network corrects the encoder's law of w_m by the z drawn.
At test time z is from the mixture over what is given, with own w_m for that, and w_n ~ p(w_n) for others (`at_test`).
Allocation is as in `hoelder`; `hoelder_plusplus` decodes one part per row.
"""

from dataclasses import replace

import torch

from polyvae import subsets
from polyvae.methods.hoelder import allocated
from polyvae.methods.method import Method, Stage
from polyvae.modality import Batch
from polyvae.models.contract import UNSEEN
from polyvae.models.pooled import PooledVAE
from polyvae.models.private import PrivateOptions
from polyvae.noise import Noise
from polyvae.objectives import Allocation, Bound
from polyvae.objectives.parts import bound_of, check, scored_at_draws, standard_normal
from polyvae.subsets import SubsetMixture


def objective(
    model: PooledVAE,
    batch: Batch,
    mixture: SubsetMixture,
    *,
    beta: float = 1.0,
    allocation: Allocation = "systematic",
    weights: torch.Tensor | None = None,
    generator: Noise = None,
) -> Bound:
    """The formula above, negated in `loss`. Raises InputError for an unknown allocation."""
    check(model, batch, mixture, beta)
    experts = model.encode(batch)
    parts, log_weights = model.pool(experts, batch.present)
    shared, which, factor = allocated(parts, log_weights, allocation, generator)
    own = model.in_part[which].expand(*factor.shape, -1)
    standard = standard_normal((*factor.shape, model.latent_dim), generator, parts.mean)
    law, u = model.with_private(experts, shared, own, standard)
    of_reference = torch.full(factor.shape, UNSEEN.index("reference"), device=factor.device)
    codes = {name: model.unseen(name, u, own[..., m], of_reference) for m, name in enumerate(model.names)}
    return bound_of(*scored_at_draws(model, batch, codes, law, u, factor), beta, weights)


HOELDER_PLUS = Method(
    "hoelder_plus",
    subsets.whole,
    "hoelder with private codes, drawn anew for modalities outside a part",
    "Vo et al. 2026, Hölder+",
    (Stage(objective=objective),),
    model="private_hoelder",
    options=PrivateOptions,
    is_bound=False,
)
ROWS = (
    HOELDER_PLUS,
    replace(
        HOELDER_PLUS,
        name="hoelder_plusplus",
        summary="hoelder_plus whose private codes depend on z",
        source="Vo et al. 2026, Hölder++",
        model="private_hoelder_reading",
    ),
)
