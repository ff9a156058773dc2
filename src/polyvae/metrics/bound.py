"""L_S on the test set, in nats per example (paper, eq. 2): whatever was minimised."""

from typing import Unpack

import torch

from polyvae import keys, objectives
from polyvae.dataset import MultimodalDataset
from polyvae.metrics.protocol import Options, measuring
from polyvae.models.contract import Model, joint, trained_mixture
from polyvae.subsets import Powerset, SubsetMixture

MOST_EXACT_TERMS = 8


def bound(model: Model, data: MultimodalDataset, *, beta: float = 1.0, **options: Unpack[Options]) -> dict[str, float]:
    """-L_S of the model's S at `beta` and its parts (`objectives.elbo`) as means over rows, in nats.

    S has the weights that the model has learned, if it learns them. That holds however the model was trained: what
    a run minimised itself is `metrics.objective`.
    Returns bound/ + loss (with beta and the modalities' weights), distortion, rate, and log_likelihood/<modality>: the
    reconstruction term under S over the rows that have the modality (no estimate of the evidence).
    Every subset is decoded if S has at most 8 terms; else each row draws one, which has the same expectation.
    Raises NotDefined for a model that is not joint, InputError without rows.
    """
    known = joint(model)
    mixture = trained_mixture(known)
    allocation: objectives.Allocation = "systematic" if mixture.is_bound and _is_large(mixture) else "exact"
    weights = data.present.new_tensor([m.weight for m in data.modalities], dtype=torch.float32)
    total, log_likelihood = torch.zeros(3, dtype=torch.float64), torch.zeros(len(data.names), dtype=torch.float64)
    with measuring(known, data, least=1, **options) as trial:
        for ids, batch in trial.batches():
            noise = trial.noise("bound", ids)
            part = objectives.elbo(
                known, batch, mixture, beta=beta, allocation=allocation, weights=weights, generator=noise
            )
            total += len(ids) * torch.stack([part.loss, part.distortion, part.rate]).double().cpu()
            log_likelihood += part.log_likelihood.double().cpu().sum(0)
    loss, distortion, rate = (total / len(trial.rows)).tolist()
    seen = data.present[trial.rows].sum(0).tolist()
    scores = {"bound/loss": loss, "bound/distortion": distortion, "bound/rate": rate}
    for name, amount, count in zip(data.names, log_likelihood.tolist(), seen, strict=True):
        if count:
            scores[keys.of(keys.RECONSTRUCTION, name)] = amount / count
    return scores


def _is_large(mixture: SubsetMixture) -> bool:
    if isinstance(mixture, Powerset):
        return 2 ** len(mixture.names) - 1 > MOST_EXACT_TERMS
    return len(mixture.terms) > MOST_EXACT_TERMS
