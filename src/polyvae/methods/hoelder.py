"""Hölder pooling (Vo et al. 2026): (sum_m sqrt q_m)^2 itself, a mixture whose weights depend on the row.

For a row with M modalities, parts c its experts q_j and the normalised sqrt(q_i q_j) of all pairs (`fusions.hoelder`),
with weights w_c proportional to 1 and to 2 S_ij, the overlap of a pair, maximised:

    sum_c w_c { E_c sum_m log p(x_m | z) - beta KL(c || p) }

w_c has gradients. It is the L_S of a mixture, hence a bound. At test time z is drawn from the mixture over the given
modalities. "exact" allocation decodes all M (M + 1) / 2 parts; "systematic" one per row, drawn uniformly with factor
w_c / u. `hoelder_plus` and `hoelder_plusplus` have private codes.
"""

import torch

from polyvae import fusions, subsets
from polyvae.methods.method import Method, Stage
from polyvae.modality import Batch
from polyvae.models.fused import HoelderVAE
from polyvae.noise import Noise, index_at
from polyvae.objectives import Allocation, Bound, systematic_quantiles
from polyvae.objectives.parts import bound_of, check, check_allocation, decoded_and_scored
from polyvae.posteriors import Posterior
from polyvae.subsets import SubsetMixture


def objective(
    model: HoelderVAE,
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
    parts, log_weights = fusions.hoelder(model.encode(batch), batch.present)
    chosen, _, factor = allocated(parts, log_weights, allocation, generator)
    return bound_of(*decoded_and_scored(model, batch, chosen, factor, generator), beta, weights)


def allocated(
    parts: Posterior, log_weights: torch.Tensor, allocation: Allocation, generator: Noise
) -> tuple[Posterior, torch.Tensor, torch.Tensor]:
    """The parts that rows decode, (n, batch, latent), which these are, Int64 (n, batch or 1), and factors (n, batch).

    "exact": all parts with their weights. "systematic": one per row, drawn uniformly from those that it has.
    Raises InputError for another allocation.
    """
    check_allocation(allocation)
    factor = log_weights.exp()
    if allocation == "exact":
        return parts, torch.arange(len(factor), device=factor.device)[:, None], factor
    able = log_weights > -torch.inf
    count = able.sum(0)
    drawn = index_at(systematic_quantiles(len(count), generator, count.device), able.T)[None]
    places = drawn[..., None].expand(-1, -1, parts.mean.shape[-1])
    return parts.like(*(field.gather(0, places) for field in parts)), drawn, factor.gather(0, drawn) * count


ROWS = (
    Method(
        "hoelder",
        subsets.whole,
        "mixture of experts and of the overlaps of all pairs",
        "Vo et al. 2026, without private codes",
        (Stage(objective=objective),),
        model="hoelder",
    ),
)
