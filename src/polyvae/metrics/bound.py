"""L_S on the test set, in nats per example (paper, eq. 2): whatever was minimised."""

from collections.abc import Sequence

import torch
from torch import Tensor

from polyvae import objectives
from polyvae.dataset import MultimodalDataset, chunks
from polyvae.errors import InputError
from polyvae.metrics.protocol import scoring
from polyvae.models.contract import Model, joint
from polyvae.noise import RowNoise
from polyvae.subsets import Powerset, SubsetMixture

MOST_EXACT_TERMS = 8


def bound(
    model: Model,
    data: MultimodalDataset,
    *,
    beta: float = 1.0,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch_size: int = 500,
) -> dict[str, float]:
    """-L_S of the model's S at `beta` and its parts (`objectives.elbo`) as means over `rows` (default all), in nats.

    That is so whatever the model was trained by: what a run minimised itself is `metrics.objective`.
    Returns bound/ + loss (with beta and the modalities' weights), distortion, rate, and log_likelihood/<modality>: the
    reconstruction term under S over the rows that have the modality (no estimate of the evidence).
    Every subset is decoded if S has at most 8 terms; else each row draws one, which has the same expectation.
    Raises NotDefined for a model that is not joint, InputError without rows.
    """
    known = joint(model)
    mixture = known.mixture
    kept = list(range(len(data)) if rows is None else rows)
    if not kept:
        raise InputError("no test rows; the bound needs at least 1")
    allocation: objectives.Allocation = "systematic" if mixture.is_bound and _is_large(mixture) else "exact"
    weights = data.present.new_tensor([m.weight for m in data.modalities], dtype=torch.float32)
    total = torch.zeros(3, dtype=torch.float64)
    log_likelihood = torch.zeros(len(data.names), dtype=torch.float64)
    with scoring(model):
        for ids in chunks(kept, batch_size):
            part = objectives.elbo(
                known,
                data.batch(list(ids)),
                mixture,
                beta=beta,
                allocation=allocation,
                weights=weights,
                generator=RowNoise(seed, "bound", ids),
            )
            total += len(ids) * _double(torch.stack([part.loss, part.distortion, part.rate]))
            log_likelihood += _double(part.log_likelihood).sum(0)
    loss, distortion, rate = (total / len(kept)).tolist()
    seen = data.present[kept].sum(0).tolist()
    scores = {"bound/loss": loss, "bound/distortion": distortion, "bound/rate": rate}
    for name, amount, count in zip(data.names, log_likelihood.tolist(), seen, strict=True):
        if count:
            scores[f"bound/log_likelihood/{name}"] = amount / count
    return scores


def _is_large(mixture: SubsetMixture) -> bool:
    if isinstance(mixture, Powerset):
        return 2 ** len(mixture.names) - 1 > MOST_EXACT_TERMS
    return len(mixture.terms) > MOST_EXACT_TERMS


def _double(values: Tensor) -> Tensor:
    return values.double().cpu()
