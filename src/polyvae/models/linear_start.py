"""First weights of `linear_mlp` networks: factor analysis of the training rows (`models.factor_analysis`).

A model that starts there fills in about what ridge regression would (docs/applied.md), and training adds what is not
linear.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from polyvae.dataset import MultimodalDataset
from polyvae.likelihoods import LocationScale
from polyvae.models.contract import Model
from polyvae.models.factor_analysis import (
    LEAST_NOISE,
    Factor,
    Views,
    clearly_best,
    cross_validated,
    factors,
    filled,
    log_errors,
    without,
)
from polyvae.models.fused import LEAST_PRECISION, Correlations, FusedVAE
from polyvae.models.vae import MultimodalVAE
from polyvae.networks.heads import LearnedScale
from polyvae.networks.linear_mlp import LinearDecoder, LinearEncoder
from polyvae.noise import derive_seed
from polyvae.posteriors import Family

MOST_ROWS = 3000
MOST_FEATURES = 1000  # of a view, which are enough to tell numbers of codes apart
FOLDS = 5
LEAST_ROWS = 40  # fewer show next to nothing in cross-validation


class _Tables(NamedTuple):
    """Rows as the linear maps of encoders read them: by view, centred values, 0 where a row lacks the view; who has it
    and which cells are known; the means taken out, (level, feature). level: (row, level), without a covariate None.
    rows: their numbers in the data.
    """

    views: dict[str, np.ndarray]
    present: dict[str, np.ndarray]
    known: dict[str, np.ndarray]
    centres: dict[str, np.ndarray]
    level: np.ndarray | None
    rows: np.ndarray


@torch.no_grad()
def start_linearly(model: Model, train: MultimodalDataset, seed: int = 0) -> None:
    """Sets the linear maps of a joint model with Normal posteriors; other models, and other networks, stay as they are.

    Of at most 3,000 rows, drawn by `seed`; a view that no row has stays as it is, too. A covariate's levels are taken
    out of the views first: decoders add them. Views of other values than real numbers count as if they were real, and
    their decoders learn from the start. Single missing cells count as 0, as encoders read them, so that where many are
    missing loadings start too small; training does not count them.
    """
    if not isinstance(model, MultimodalVAE) or not (pairs := _pairs(model)):
        return
    views, present, _, centres, level, _ = _tables(model, pairs, train, seed)
    found = factors(views, present, model.latent_dim)
    dense = model.rule if isinstance(model, FusedVAE) and isinstance(model.rule, Correlations) else None
    holds_prior = dense is None and False in model.mixture.joined_by_prior
    for name, factor in found.items():
        (encoder, decoder), mean = pairs[name], centres[name].mean(0)
        if dense is not None:
            dense.start(model.names.index(name), torch.from_numpy(factor.precision))
        weight, variance = _expert(factor, holds_prior=holds_prior)
        _set(encoder.linear, weight, -weight @ mean)
        encoder.head.logvar.bias.copy_(torch.from_numpy(np.log(variance)))
        if level is not None and model.by_level is not None:
            shift = -weight @ (centres[name] - mean).T
            model.by_level.bias[model.names.index(name), :, : model.latent_dim] = torch.from_numpy(shift.T).float()
        likelihood = model.modalities[model.names.index(name)].likelihood
        if likelihood.takes_any_real:
            levels = (centres[name] - mean).T if level is not None else factor.loadings[:, :0]
            _set(decoder.linear, np.hstack([factor.loadings, levels]), mean)
            scale = model.decoders[name]
            if isinstance(scale, LearnedScale) and isinstance(likelihood, LocationScale) and likelihood.has_sd:
                sd = np.sqrt(_left(name, found, views, present)).reshape(scale.log_scale.shape)
                scale.start(torch.from_numpy(np.log(sd / likelihood.sd)))


@torch.no_grad()
def codes_by_errors(
    model: Model, train: MultimodalDataset, numbers: Sequence[int], usual: int, seed: int = 0
) -> tuple[int, dict[int, float]]:
    """The number of codes with which the linear start fills in one view given the others best, and every one's error.

    The mean over views of log mean squared error, cross-validated within the training rows; groups stay whole. Views
    are centred and levels of a covariate taken out by all of these rows. numbers: to try. usual: one of them, which
    stands where none is better by two standard errors. The model reads the rows; its own number of codes does not
    matter. (usual, {}) for a model that does not start so in all views, and where fewer than 40 of the rows that are
    filled in have several views. Of wide views 1,000 features are drawn.
    """
    if not isinstance(model, MultimodalVAE) or set(pairs := _pairs(model)) != set(model.names):
        return usual, {}
    tables = _tables(model, pairs, train, seed)
    groups = tables.rows if train.groups is None else train.groups[tables.rows]
    views, known = (_few_features(of, seed) for of in (tables.views, tables.known))
    squares = cross_validated(views, tables.present, known, _folds(groups, seed), numbers)
    if (~np.isnan(squares[0])).any(0).sum() < LEAST_ROWS:
        return usual, {}
    errors = dict(zip(numbers, log_errors(squares).tolist(), strict=True))
    return numbers[clearly_best(squares, numbers.index(usual))], errors


def _few_features(tables: Views, seed: int) -> dict[str, np.ndarray]:
    """At most 1,000 columns of each, the same of tables of equal width."""
    rng = {name: np.random.default_rng(derive_seed(seed, "features", name)) for name in tables}
    return {
        name: table[:, np.sort(rng[name].permutation(table.shape[1])[:MOST_FEATURES])] for name, table in tables.items()
    }


def _folds(groups: np.ndarray, seed: int) -> np.ndarray:
    """The fold of each row, (row,), from 0 to 4; of the rows of a group the same."""
    names, of_row = np.unique(groups, return_inverse=True)
    return np.random.default_rng(derive_seed(seed, "folds")).permutation(len(names))[of_row] % FOLDS


def _tables(model: MultimodalVAE, names: Iterable[str], train: MultimodalDataset, seed: int) -> _Tables:
    """Those of these views that some row has."""
    seen = dict(zip(train.names, train.present.T.cpu().numpy(), strict=True))
    names = [name for name in names if seen[name].any()]
    rows = _drawn(np.stack([seen[name] for name in names], 1), seed)
    batch = train.batch(rows.tolist()).to("cpu")
    level = None if batch.level is None else batch.level.double().numpy()
    present = {name: seen[name][rows] for name in names}
    known = {name: ~batch.values[name].flatten(1).isnan().numpy() for name in names}
    views, centres = {}, {}
    for name in names:
        table = _read(model.encoders[name], batch.values[name])
        views[name], centres[name] = _centred(table, present[name], level)
    return _Tables(views, present, known, centres, level, rows)


def _drawn(present: np.ndarray, seed: int) -> np.ndarray:
    """At most 3,000 rows, ascending, which hold as many of each view as of the others, if there are; (row, view)."""
    order = np.random.default_rng(derive_seed(seed, "rows")).permutation(len(present))
    seen = present[order]
    place = np.where(seen, seen.cumsum(0), len(seen) + 1).min(1)  # among the rows that have a view, of the rarest one
    return np.sort(order[np.argsort(place, kind="stable")[:MOST_ROWS]])


def _expert(factor: Factor, *, holds_prior: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weight (code, feature) and variance (code,) of a view's expert: its posterior alone, or its message alone."""
    if holds_prior:
        covariance = np.linalg.inv(np.eye(len(factor.message)) + factor.precision)
        return covariance @ factor.message, np.diag(covariance)
    precision = np.diag(factor.precision) + LEAST_PRECISION  # as in `Correlations.start`, or the two would not fit
    return factor.message / precision[:, None], 1 / precision


def _pairs(model: MultimodalVAE) -> dict[str, tuple[LinearEncoder, LinearDecoder]]:
    """The linear encoders and decoders of a model with Normal posteriors that read and write its z."""
    if model.family != Family():
        return {}
    found = {
        name: (_found(model.encoders[name], LinearEncoder), _found(model.decoders[name], LinearDecoder))
        for name in model.names
    }
    return {
        name: (encoder, decoder)
        for name, (encoder, decoder) in found.items()
        if encoder is not None and decoder is not None and encoder.linear.out_features == model.latent_dim
    }


def _left(name: str, found: Mapping[str, Factor], views: Views, present: Views) -> np.ndarray:
    """Mean squares of what is left of a view, (feature,): over all views, and over all others, that codes are from."""
    seen = present[name]
    squares = [
        np.square(views[name] - filled(name, found, views, given))[seen].mean(0)
        for given in (present, without(name, present))
    ]
    return np.mean(squares, 0).clip(LEAST_NOISE)


def _found(network: nn.Module, kind: type[Any]) -> Any:
    """The first layer of this kind of a network, which may hold others that read for it or add a scale; or None."""
    return next((module for module in network.modules() if isinstance(module, kind)), None)


def _read(encoder: nn.Module, values: Tensor) -> np.ndarray:
    """What the linear map of an encoder reads of values: (row, feature)."""
    before = encoder[:-1] if isinstance(encoder, nn.Sequential) else nn.Identity()
    return before(values).flatten(1).double().numpy()


def _centred(table: np.ndarray, seen: np.ndarray, level: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The table less the means of its levels, 0 where it is not seen; and these means: (level, feature).

    Without a covariate there is one level.
    """
    level = np.ones((len(table), 1)) if level is None else level
    known = level * seen[:, None]
    means = known.T @ table / np.maximum(known.sum(0), 1)[:, None]
    return (table - level @ means) * seen[:, None], means


def _set(layer: nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    layer.weight.copy_(torch.from_numpy(weight))
    layer.bias.copy_(torch.from_numpy(bias))
