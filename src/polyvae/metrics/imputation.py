"""How well tables are filled in: error, likelihood and calibration of a missing modality given all others."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, Normal

from polyvae import keys
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
    of the training rows, for comparison. Rows count that have the target and all others; where fewer than 2 have,
    <given> is what most of the rows that have the target also have. Single missing values and features that are
    constant in the training rows do not count; NaN stands where nothing can be scored. Classes are no table.
    Raises NotDefined without a table, with one modality, or where no two rows can be scored.
    """
    tables = [m.name for m in model.modalities if len(m.shape) == 1 and not m.is_classes]
    if not tables or len(model.names) < 2:
        raise NotDefined("no table to fill in from another modality")
    scores: dict[str, float] = {}
    with measuring(model, data, **options) as on_all:
        for target in tables:
            seen = train.batch(rows_with(train, range(len(train)), (target,))).values[target]
            gaps = seen.isnan()
            varies = seen.masked_fill(gaps, -math.inf).amax(0) > seen.masked_fill(gaps, math.inf).amin(0)
            given = _given(on_all, target)
            if not given or not bool(varies.any()):
                scores[f"{joined(all_but(target, model.names))}/{target}/rmse"] = math.nan
                continue
            trial = on_all.having((*given, target))
            parts = [_scores(trial, given, target, varies, ids, batch, draws) for ids, batch in trial.batches()]
            squared, nll, inside = (torch.cat(columns) for columns in zip(*parts, strict=True))
            label = f"{joined(given)}/{target}"
            scores[f"{label}/rmse"] = math.sqrt(squared.nanmean())
            scores[f"{label}/nll"] = float(nll.mean())
            if not bool(inside.isnan().all()):
                scores[f"{label}/coverage"] = float(inside.nanmean())
            errors = (data.batch(trial.rows).values[target] - seen.nanmean(0))[:, varies]
            scores[f"mean/{target}/rmse"] = math.sqrt(errors.square().nanmean())
    if all(map(math.isnan, scores.values())):
        raise NotDefined("no table varies in the training rows and is in 2 test rows beside another modality")
    return {f"imputation/{key}": value for key, value in scores.items()}


def warnings(scores: Mapping[str, float]) -> dict[str, str]:
    """Key -> that the model is no better there than the mean of the training rows."""
    worse = {}
    for key, value in scores.items():
        _, given, target, score = key.split("/")
        plain = scores.get(keys.imputation_by_mean(target), math.inf)
        if score == "rmse" and given != "mean" and value >= plain:
            worse[key] = f"no better than the mean of the training rows ({plain:.4f}): do not fill in {target} by it"
    return worse


def _given(trial: Trial[Model], target: str) -> Subset:
    """All other modalities, or else those that most of the rows which have the target also have; () for no two rows."""
    names, others = trial.model.names, all_but(target, trial.model.names)
    if len(trial.having(names).rows) >= 2:
        return others
    present = trial.data.present[trial.having((target,)).rows].tolist()
    seen = (tuple(n for n, here in zip(names, row, strict=True) if here and n != target) for row in present)
    counts = Counter(given for given in seen if given)
    given, count = max(counts.items(), key=lambda item: (item[1], len(item[0])), default=((), 0))
    return given if count >= 2 else ()


def _scores(
    trial: Trial[Model],
    given: Subset,
    target: str,
    varies: Tensor,
    ids: tuple[int, ...],
    batch: Batch,
    draws: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error, nll in nats per feature, and share inside the interval, each (row,); the last NaN if undefined."""
    model, value = trial.model, batch.values[target]
    whole = bool(varies.all())
    means, scores, below = [], [], []
    codes = code_draws(model, batch, given, (target,))
    for draw in range(draws):
        likelihood = model.decode(codes(trial.noise(f"imputation/{draw}", ids)))[target]
        means.append(likelihood.mean)
        scores.append((likelihood.log_prob(value) if whole else _by_feature(likelihood, value, varies)).double())
        below.append(_below(likelihood, value))
    squared = (torch.stack(means).mean(0) - value)[:, varies].square().nanmean(-1)
    known = (~value[:, varies].isnan()).sum(-1)
    nll = (math.log(draws) - torch.stack(scores).logsumexp(0)) / known.clamp(min=1)
    quantile = torch.stack(below).mean(0)[:, varies]
    inside = ((quantile > TAIL) & (quantile < 1 - TAIL)).double().masked_fill(quantile.isnan(), torch.nan).nanmean(-1)
    return squared.cpu(), nll.cpu(), inside.cpu()


def _by_feature(likelihood: Distribution, value: Tensor, varies: Tensor) -> Tensor:
    """log likelihood of some of the features."""
    base = likelihood.base_dist if isinstance(likelihood, Independent) else likelihood
    return base.log_prob(value)[:, varies].nansum(-1)


def _below(likelihood: Distribution, value: Tensor) -> Tensor:
    """The probability below `value`, by feature; NaN where it says nothing about an interval."""
    base = likelihood.base_dist if isinstance(likelihood, Independent) else likelihood
    return base.cdf(value) if type(base) in (Normal, Laplace) else torch.full_like(value, torch.nan)
