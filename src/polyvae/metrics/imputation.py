"""How well tables are filled in: error, likelihood and calibration of a missing modality given all others."""

import math
from typing import Unpack

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, Normal

from polyvae.dataset import MultimodalDataset
from polyvae.keys import all_but, joined
from polyvae.metrics.pairs import Subset
from polyvae.metrics.protocol import Options, Trial, measuring, rows_with
from polyvae.modality import Batch
from polyvae.models.contract import Model, NotDefined, code_draws

DRAWS = 50
TAIL = 0.1  # either side of an 80 % interval


def imputation(
    model: Model, data: MultimodalDataset, train: MultimodalDataset, *, draws: int = DRAWS, **options: Unpack[Options]
) -> dict[str, float]:
    """imputation/<given>/<target>/ + rmse, nll, coverage, for each table given all other modalities.

    The predictive law of a row is the mixture of the likelihoods at `draws` posterior draws. rmse: of its mean, per
    feature, in model units (standard deviations of the training rows). nll: in nats per feature. coverage: share of
    values inside its 80 % interval, .8 if calibrated (Normal and Laplace). imputation/mean/<target>/rmse: of the mean
    of the training rows, for comparison. Rows count that have the target and all others. Classes are no table.
    Raises NotDefined without a table or with one modality.
    """
    tables = [m.name for m in model.modalities if len(m.shape) == 1 and not m.is_classes]
    if not tables or len(model.names) < 2:
        raise NotDefined("no table to fill in from another modality")
    scores: dict[str, float] = {}
    with measuring(model, data, **options) as on_all:
        trial = on_all.having(model.names)
        for target in tables if len(trial.rows) >= 2 else ():
            given = all_but(target, model.names)
            parts = [_scores(trial, given, target, ids, batch, draws) for ids, batch in trial.batches()]
            squared, nll, inside = (torch.cat(columns) for columns in zip(*parts, strict=True))
            label = f"{joined(given)}/{target}"
            scores[f"{label}/rmse"] = math.sqrt(squared.mean())
            scores[f"{label}/nll"] = float(nll.mean())
            if not bool(inside.isnan().any()):
                scores[f"{label}/coverage"] = float(inside.mean())
            values = data.batch(trial.rows).values[target]
            mean = train.batch(rows_with(train, range(len(train)), (target,))).values[target].mean(0)
            scores[f"mean/{target}/rmse"] = math.sqrt((values - mean).square().mean())
    return {f"imputation/{key}": value for key, value in scores.items()}


def _scores(
    trial: Trial[Model], given: Subset, target: str, ids: tuple[int, ...], batch: Batch, draws: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error, nll in nats per feature, and share inside the interval, each (row,); the last NaN if undefined."""
    model, value = trial.model, batch.values[target]
    means, scores, below = [], [], []
    codes = code_draws(model, batch, given, (target,))
    for draw in range(draws):
        likelihood = model.decode(codes(trial.noise(f"imputation/{draw}", ids)))[target]
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
