"""How well tables are filled in: error, likelihood and calibration of a missing modality given all others."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, Normal
from torch.special import ndtr

from polyvae import keys
from polyvae.dataset import MultimodalDataset
from polyvae.imputation import DRAWS, rows_at_once
from polyvae.intervals import Calibration, interval, widened
from polyvae.keys import BASELINES, all_but, joined
from polyvae.likelihoods import Counts
from polyvae.metrics.baselines import baselines
from polyvae.metrics.pairs import Subset
from polyvae.metrics.protocol import Options, Trial, measuring, rows_with
from polyvae.modality import Batch, Modality
from polyvae.models.contract import Model, NotDefined, code_draws
from polyvae.noise import normal, opposites

DRAWN = 10  # codes of a row, where an error is asked for after every epoch
FAR_BEHIND = 1.1  # times the error of a simpler method


def imputation(
    model: Model,
    data: MultimodalDataset,
    train: MultimodalDataset,
    *,
    draws: int = DRAWS,
    calibration: Calibration | None = None,
    validation: MultimodalDataset | None = None,
    **options: Unpack[Options],
) -> dict[str, float]:
    """imputation/<given>/<target>/ + rmse, nll, coverage, validation, for tables and classes given all others.

    The predictive law of a row is the mixture of the likelihoods at `draws` posterior draws. rmse: of its mean, to
    which the mirror images of the draws count, too, per feature, rows counting alike however many values they lack, in
    model units: standard deviations of the training rows where the table is standardised, else those of the data, such
    as counts; for classes it is of their probabilities, and the share of rows whose likeliest class is the true one is
    accuracy. nll: in nats per feature, for classes per row. coverage: share of values inside the 80 % interval that
    `impute` gives with as many draws and the same `calibration`, .8 if it is right (Normal and Laplace). coverage_se:
    its standard error over rows (`standard_error`).
    imputation/<baseline>/<target>/rmse: of the mean of the training rows and of what else `baselines` has, on the same
    rows given the same. gain, gain_se: the share of this error that the model saves, and its standard error over rows,
    which are the same for both (`gain`). validation: the error on held-out rows, by which to choose a baseline before
    the test rows are looked at.
    Rows count that have the target and all others; where fewer than 2 have, <given> is what most of the rows that have
    the target also have. Single missing values and features that are constant in the training rows do not count; NaN
    stands where nothing can be scored.
    Raises NotDefined without tables and classes, with one modality, or where no two rows can be scored.
    """
    targets = [m for m in model.modalities if m.is_table or m.is_classes]
    if not targets or len(model.names) < 2:
        raise NotDefined("no table, and no classes, to fill in from another modality")
    scores: dict[str, float] = {}
    with measuring(model, data, **options) as on_all:
        for target in targets:
            scores |= _of_target(on_all, train, target, draws, calibration, validation)
    if all(map(math.isnan, scores.values())):
        raise NotDefined("nothing varies in the training rows and is in 2 test rows beside another modality")
    return {f"imputation/{key}": value for key, value in scores.items()}


def _of_target(
    on_all: Trial[Model],
    train: MultimodalDataset,
    modality: Modality,
    draws: int,
    calibration: Calibration | None,
    validation: MultimodalDataset | None,
) -> dict[str, float]:
    """<given or baseline>/<target>/ + what `imputation` says, of one target."""
    model, data, target = on_all.model, on_all.data, modality.name
    varies, given = _varying(train, modality), _given(on_all, target)
    if not given or not bool(varies.any()):
        return {f"{joined(all_but(target, model.names))}/{target}/rmse": math.nan}
    trial = on_all.having((*given, target))
    trial = replace(trial, batch_size=rows_at_once(model, draws, trial.batch_size))
    factor = None if calibration is None else calibration.of(given, target)
    parts = [_scores(trial, given, modality, varies, ids, batch, draws, factor) for ids, batch in trial.batches()]
    squared, nll, inside, right = (torch.cat(columns) for columns in zip(*parts, strict=True))
    label = f"{joined(given)}/{target}"
    scores = {f"{label}/rmse": math.sqrt(squared.nanmean()), f"{label}/nll": float(nll.mean())}
    if modality.is_classes:
        scores[f"{label}/accuracy"] = float(right.mean())
    groups = None if data.groups is None else data.groups[trial.rows]
    if not bool(inside.isnan().all()):
        scores[f"{label}/coverage"] = float(inside.nanmean())
        scores[f"{label}/coverage_se"] = standard_error(inside, groups)
    held = [] if validation is None else rows_with(validation, range(len(validation)), (*given, target))
    asked = data.batch(trial.rows)
    if validation is not None and len(held) > 1:
        asked = _joined(asked, validation.batch(held))
        of_held = replace(trial, data=validation, rows=held)
        held_out = [_squared(of_held, given, target, varies, *part, draws) for part in of_held.batches()]
        scores[f"{label}/validation"] = math.sqrt(torch.cat(held_out).nanmean())
    truth = asked.values[target]
    for name, filled in baselines(train, asked, given, target, trial.seed).items():
        filled = filled.to(truth.device)
        own, others = _error(filled, truth, varies).cpu().split([len(squared), len(truth) - len(squared)])
        scores[f"{name}/{target}/rmse"] = math.sqrt(own.nanmean())
        scores[f"{name}/{target}/gain"], scores[f"{name}/{target}/gain_se"] = gain(squared, own, groups)
        if len(others):
            scores[f"{name}/{target}/validation"] = math.sqrt(others.nanmean())
        if modality.is_classes:
            scores[f"{name}/{target}/accuracy"] = float(_right(filled, truth)[: len(squared)].mean())
    return scores


def gain(squared: Tensor, of_other: Tensor, groups: np.ndarray | None = None) -> tuple[float, float]:
    """1 - rmse / rmse of another method, and its standard error: squared errors (row,) of the same rows, NaN for none.

    By the delta method: with A and B the mean squares, the ratio sqrt(A / B) varies as the mean over rows of
    sqrt(A / B) (a / A - b / B) / 2. groups: (row,), as in `standard_error`.
    """
    known = ~(squared.isnan() | of_other.isnan())
    a, b = (errors.double().where(known, torch.nan) for errors in (squared, of_other))
    of_a, of_b = float(a.nanmean()), float(b.nanmean())
    if not of_b > 0:  # no row counts, or the other is without error
        return math.nan, math.nan
    ratio = math.sqrt(of_a / of_b)
    return 1 - ratio, standard_error(ratio * (a / of_a - b / of_b) / 2, groups)


def standard_error(values: Tensor, groups: np.ndarray | None = None) -> float:
    """That of the mean of `values` (row,), of which those that are NaN do not count.

    groups: (row,); rows of one group go together, so deviations are summed by group first (the cluster-robust variance
    of Liang and Zeger 1986). NaN for a single row or group.
    """
    known = ~values.isnan()
    rows = int(known.sum())
    each = values[known].double() - values[known].double().mean()
    if groups is not None:
        _, of_row = np.unique(groups[known.numpy()], return_inverse=True)
        each = torch.from_numpy(np.bincount(of_row, weights=each.numpy()))
    return float(each.std()) * math.sqrt(len(each)) / rows if len(each) > 1 else math.nan


def _varying(train: MultimodalDataset, target: Modality) -> Tensor:
    """The features that are not the same in all training rows, Bool (feature,); for classes all, if there are two."""
    seen = train.batch(rows_with(train, range(len(train)), (target.name,))).values[target.name]
    gaps = seen.isnan()
    varies = seen.masked_fill(gaps, -math.inf).amax(0) > seen.masked_fill(gaps, math.inf).amin(0)
    return varies | varies.any() if target.is_classes else varies


def _joined(first: Batch, second: Batch) -> Batch:
    """The rows of both."""
    values = {name: torch.cat([value, second.values[name]]) for name, value in first.values.items()}
    level = None if first.level is None or second.level is None else torch.cat([first.level, second.level])
    return Batch(values, torch.cat([first.present, second.present]), level=level)


@torch.no_grad()
def imputation_error(model: Model, data: MultimodalDataset) -> float:
    """The mean over modalities, except texts, of log mean squared error, each filled in given all else that a row has.

    Modalities count alike, whatever their sizes and units; counts as log(1 + x). To the squared error of the
    probabilities of classes, 1 / rows is added: so many rows cannot tell errors below that apart, and its log would
    otherwise fall without end. Of the mean of 5 draws and their mirror images, the same at every call; as many rows at
    a time as `rows_at_once` says. NaN where no row has one of the modalities and something else.
    """
    found = []
    for modality in model.modalities:
        target, others = modality.name, all_but(modality.name, model.names)
        able = data.present[:, data.names.index(target)] & (data.present.sum(-1) > 1)
        if modality.vocabulary is not None or not bool(able.any()):
            continue
        scale = torch.log1p if isinstance(modality.likelihood, Counts) else torch.clone
        rows = able.nonzero().squeeze(1)
        total = torch.zeros(2, dtype=torch.float64, device=able.device)  # of squared errors, of values
        for ids in rows.split(rows_at_once(model, DRAWN, len(rows))):
            batch = data.batch(ids)
            codes, value = code_draws(model, batch, others, (target,)), batch.values[target]
            noises = (noise for pair in range(DRAWN // 2) for noise in opposites(pair, able.device))
            mean = torch.stack([model.decode(codes(noise))[target].mean for noise in noises]).mean(0)
            known = ~value.isnan()
            total += torch.stack([torch.where(known, (scale(mean) - scale(value)).square(), 0.0).sum(), known.sum()])
        least = 1 / len(rows) if modality.is_classes else 0.0
        found.append(float((total[0] / total[1] + least).clamp(min=1e-12).log()))
    return sum(found) / len(found) if found else math.nan


def warnings(scores: Mapping[str, float]) -> dict[str, str]:
    """Key -> that the model is no better there than the mean of the training rows, or far behind a simpler method.

    More weight is advised only where the model keeps up in another table.
    """
    errors = {filling.target: filling.key() for filling in keys.fillings(scores)}
    plain = {t: {name: scores.get(keys.imputation_by(name, t), math.inf) for name in BASELINES} for t in errors}
    behind = {t for t, key in errors.items() if scores[key] > FAR_BEHIND * min(plain[t].values())}
    worse = {}
    for target, key in errors.items():
        by = plain[target]
        best = min(by, key=by.__getitem__)
        if scores[key] >= by["mean"]:
            worse[key] = (
                f"no better than the mean of the training rows ({by['mean']:.4f}): do not fill in {target} by it"
            )
        elif target in behind:
            weight = f", or, if the other tables are wider, give {target} more weight: --modality-weights {target}=10"
            longer = f"{best} is far better ({by[best]:.4f}, here {scores[key]:.4f}): train longer"
            worse[key] = longer if len(behind) == len(errors) else longer + weight
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


def _laws(
    trial: Trial[Model], given: Subset, target: str, ids: tuple[int, ...], batch: Batch, draws: int
) -> Iterator[tuple[Distribution, Distribution]]:
    """The likelihood of the target at every draw of a code, and at its mirror image about the mean of its law."""
    codes = code_draws(trial.model, batch, given, (target,))
    for draw in range(draws):
        noises = (trial.noise(f"imputation/{draw}", ids, spread) for spread in (1.0, -1.0))
        drawn, mirrored = (trial.model.decode(codes(noise))[target] for noise in noises)
        yield drawn, mirrored


def _error(filled: Tensor, value: Tensor, varies: Tensor) -> Tensor:
    """Squared error, (row,)."""
    return (filled - value)[:, varies].square().nanmean(-1)


def _right(filled: Tensor, value: Tensor) -> Tensor:
    """Whether the likeliest class is the true one, (row,)."""
    return (filled.argmax(-1) == value.argmax(-1)).double()


def _squared(
    trial: Trial[Model], given: Subset, target: str, varies: Tensor, ids: tuple[int, ...], batch: Batch, draws: int
) -> Tensor:
    """The squared error of `_scores` alone."""
    means = [law.mean for both in _laws(trial, given, target, ids, batch, draws) for law in both]
    return _error(torch.stack(means).mean(0), batch.values[target], varies).cpu()


def _scores(
    trial: Trial[Model],
    given: Subset,
    target: Modality,
    varies: Tensor,
    ids: tuple[int, ...],
    batch: Batch,
    draws: int,
    factor: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Squared error, nll, share inside the interval (NaN if undefined), and whether the class is right, each (row,)."""
    value = batch.values[target.name]
    whole = bool(varies.all())
    means, scores, drawn = [], [], []
    noise = normal(trial.noise("imputation/values", ids), len(ids), draws * value[0].numel(), like=value)
    laws = _laws(trial, given, target.name, ids, batch, draws)
    for of_draw, (likelihood, mirrored) in zip(noise.chunk(draws, 1), laws, strict=True):
        means += [likelihood.mean, mirrored.mean]
        scores.append((likelihood.log_prob(value) if whole else _by_feature(likelihood, value, varies)).double())
        drawn.append(_drawn(likelihood, of_draw))
    filled = torch.stack(means).mean(0)
    squared = _error(filled, value, varies)
    known = torch.ones_like(squared) if target.is_classes else (~value[:, varies].isnan()).sum(-1)
    nll = (math.log(draws) - torch.stack(scores).logsumexp(0)) / known.clamp(min=1)
    low, high = interval(torch.stack(drawn))
    if factor is not None:
        low, high = widened(low, high, factor)
    inside = ((low <= value) & (value <= high)).double().masked_fill(value.isnan() | low.isnan(), torch.nan)
    return squared.cpu(), nll.cpu(), inside[:, varies].nanmean(-1).cpu(), _right(filled, value).cpu()


def _by_feature(likelihood: Distribution, value: Tensor, varies: Tensor) -> Tensor:
    """log likelihood of some of the features."""
    base = likelihood.base_dist if isinstance(likelihood, Independent) else likelihood
    return base.log_prob(value)[:, varies].nansum(-1)


def _drawn(likelihood: Distribution, noise: Tensor) -> Tensor:
    """A draw from standard Normal noise; NaN where the likelihood says nothing about an interval."""
    base = likelihood.base_dist if isinstance(likelihood, Independent) else likelihood
    if type(base) not in (Normal, Laplace):
        return torch.full_like(noise, torch.nan)
    return base.icdf(ndtr(noise.double())).to(noise)
