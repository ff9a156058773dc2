"""How well tables are filled in: error, likelihood and calibration of a missing modality given all others."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, Normal

from polyvae.dataset import MultimodalDataset, chunks
from polyvae.keys import all_but, joined
from polyvae.metrics.protocol import Subset, check_names, rows_with, scoring
from polyvae.models.contract import Model, NotDefined
from polyvae.noise import RowNoise

DRAWS = 50
TAIL = 0.1  # either side of an 80 % interval


def imputation(
    model: Model,
    data: MultimodalDataset,
    train: MultimodalDataset,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch_size: int = 500,
) -> dict[str, float]:
    """imputation/<given>/<target>/ + rmse, nll, coverage, for each table given all other modalities.

    The predictive law of a row is the mixture of the likelihoods at `draws` posterior draws. rmse: of its mean, per
    feature, in model units (standard deviations of the training rows). nll: in nats per feature. coverage: share of
    values inside its 80 % interval, .8 if calibrated (Normal and Laplace). imputation/mean/<target>/rmse: of the mean
    of the training rows, for comparison. Rows count that have the target and all others. Classes are no table.
    Raises NotDefined without a table or with one modality.
    """
    kept = check_names(model, data, rows)
    tables = [m.name for m in model.modalities if len(m.shape) == 1 and not m.is_classes]
    if not tables or len(model.names) < 2:
        raise NotDefined("no table to fill in from another modality")
    scores: dict[str, float] = {}
    with scoring(model):
        for target in tables:
            given = all_but(target, model.names)
            chosen = rows_with(data, kept, model.names)
            if len(chosen) < 2:
                continue
            parts = [_scores(model, data, given, target, ids, draws, seed) for ids in chunks(chosen, batch_size)]
            squared, nll, inside = (torch.cat(columns) for columns in zip(*parts, strict=True))
            label = f"{joined(given)}/{target}"
            scores[f"{label}/rmse"] = math.sqrt(squared.mean())
            scores[f"{label}/nll"] = float(nll.mean())
            if not bool(inside.isnan().any()):
                scores[f"{label}/coverage"] = float(inside.mean())
            values = data.batch(chosen).values[target]
            known = rows_with(train, range(len(train)), (target,))
            mean = train.batch(known).values[target].mean(0)
            scores[f"mean/{target}/rmse"] = math.sqrt((values - mean).square().mean())
    return {f"imputation/{key}": value for key, value in scores.items()}


def _scores(
    model: Model, data: MultimodalDataset, given: Subset, target: str, ids: tuple[int, ...], draws: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error, nll in nats per feature, and share inside the interval, each (row,); the last NaN if undefined."""
    batch = data.batch(list(ids))
    value = batch.values[target]
    means, scores, below = [], [], []
    for draw in range(draws):
        noise = RowNoise(seed, f"imputation/{draw}", ids)
        likelihood = model.decode(model.posterior_codes(batch, given, (target,), noise))[target]
        means.append(likelihood.mean)
        scores.append(likelihood.log_prob(value).double())
        below.append(_below(likelihood, value))
    squared = (torch.stack(means).mean(0) - value).square().mean(-1)
    nll = (math.log(draws) - torch.stack(scores).logsumexp(0)) / value.shape[-1]
    quantile = torch.stack(below).mean(0)
    inside = ((quantile > TAIL) & (quantile < 1 - TAIL)).double().mean(-1)
    return squared.cpu(), nll.cpu(), torch.where(quantile.isnan().any(-1), torch.nan, inside).cpu()


def _below(likelihood: Distribution, value: Tensor) -> Tensor:
    """The probability below `value`, by feature; NaN where it says nothing about an interval."""
    base = likelihood.base_dist if isinstance(likelihood, Independent) else likelihood
    return base.cdf(value) if type(base) in (Normal, Laplace) else torch.full_like(value, torch.nan)
