"""First weights of `linear_mlp` networks: factor analysis of the training rows, by expectation maximisation.

Factor analysis is the linear model of the form of a multimodal VAE: x_m = c_m + W_m z + noise, whose covariance Psi_m
is diagonal. The posterior of z given any subset A is Normal, with precision I + sum_A W_m' Psi_m^-1 W_m, so each view
brings a message (Rubin & Thayer 1982). A model that starts there fills in about what ridge regression would
(docs/applied.md), and training adds what is not linear. EM starts from the principal components of all views side by
side, each divided by its first singular value, so that a large view does not drown a small one (multiple factor
analysis, Escofier & Pages 1994).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from polyvae.dataset import MultimodalDataset
from polyvae.likelihoods import LocationScale
from polyvae.models.contract import Model
from polyvae.models.fused import LEAST_PRECISION, Correlations, FusedVAE
from polyvae.models.vae import MultimodalVAE
from polyvae.networks.heads import LearnedScale
from polyvae.networks.linear_mlp import LinearDecoder, LinearEncoder
from polyvae.noise import derive_seed
from polyvae.posteriors import Family

MOST_ROWS = 3000
ROUNDS = 20  # of EM: it nears ridge regression within them, and has not begun to fit noise
LEAST_NOISE = 1e-2  # variance of the noise of a standardised feature


class Factor(NamedTuple):
    """Of a view: loadings (feature, code), and noise (feature,), the variance that codes leave."""

    loadings: np.ndarray
    noise: np.ndarray

    @property
    def message(self) -> np.ndarray:
        """What an observed view tells of z per unit of each feature: (code, feature)."""
        return (self.loadings / self.noise[:, None]).T

    @property
    def precision(self) -> np.ndarray:
        return self.message @ self.loadings


def factors(views: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray], codes: int) -> dict[str, Factor]:
    """Factor analysis of centred views (row, feature), 0 where a row lacks one; present: name -> Bool (row,).

    Codes are rotated so that the precisions of all views add up to a diagonal matrix, the largest first. Those beyond
    the rank of the data have loadings 0.
    """
    side_by_side = np.hstack([view / max(np.linalg.norm(view, 2), 1e-12) for view in views.values()])
    left, sizes, _ = np.linalg.svd(side_by_side, full_matrices=False)
    kept = min(codes, int((sizes > 1e-6 * sizes[0]).sum()))
    scores = left[:, :kept] * np.sqrt(len(left))
    found = {}
    for name, view in views.items():
        loadings = np.linalg.lstsq(scores[present[name]], view[present[name]], rcond=None)[0].T
        residual = view[present[name]] - scores[present[name]] @ loadings.T
        found[name] = Factor(loadings, np.square(residual).mean(0).clip(LEAST_NOISE))
    for _ in range(ROUNDS):
        found = _improved(found, views, present)
    rotation = np.linalg.eigh(np.sum([factor.precision for factor in found.values()], 0))[1][:, ::-1]
    padding = ((0, 0), (0, codes - kept))
    return {name: Factor(np.pad(f.loadings @ rotation, padding), f.noise) for name, f in found.items()}


def _improved(
    found: Mapping[str, Factor], views: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]
) -> dict[str, Factor]:
    """One round of EM, each row by the views that it has."""
    mean, covariances, which = _posterior(found, views, present)
    result = {}
    for name, view in views.items():
        seen = present[name]
        counts = np.bincount(which[seen], minlength=len(covariances))
        second = mean[seen].T @ mean[seen] + np.tensordot(counts, covariances, 1)
        crossed = view[seen].T @ mean[seen]
        loadings = np.linalg.solve(second, crossed.T).T
        noise = (np.square(view[seen]).sum(0) - (loadings * crossed).sum(1)) / seen.sum()
        result[name] = Factor(loadings, noise.clip(LEAST_NOISE))
    return result


def _posterior(
    found: Mapping[str, Factor], views: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of z given what a row has: means (row, code), covariances (pattern, code, code), and each row's pattern."""
    patterns, which = np.unique(np.stack([present[name] for name in views], 1), axis=0, return_inverse=True)
    precisions = np.stack([factor.precision for factor in found.values()])
    covariances = np.linalg.inv(np.eye(precisions.shape[1]) + np.tensordot(patterns.astype(float), precisions, 1))
    told = np.sum([view @ found[name].message.T for name, view in views.items()], 0)  # 0 from what a row lacks
    means = np.empty_like(told)
    for index, covariance in enumerate(covariances):
        means[which == index] = told[which == index] @ covariance
    return means, covariances, which


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
    seen = dict(zip(train.names, train.present.T.cpu().numpy(), strict=True))
    pairs = {name: pair for name, pair in pairs.items() if seen[name].any()}
    rows = _drawn(np.stack([seen[name] for name in pairs], 1), seed)
    batch = train.batch(rows.tolist()).to("cpu")
    level = None if batch.level is None else batch.level.double().numpy()
    present = {name: seen[name][rows] for name in pairs}
    views, centres = {}, {}
    for name in pairs:
        table = _read(model.encoders[name], batch.values[name])
        views[name], centres[name] = _centred(table, present[name], level)
    found = factors(views, present, model.latent_dim)
    for name, (encoder, decoder) in pairs.items():
        factor, mean = found[name], centres[name].mean(0)
        is_dense = isinstance(model, FusedVAE) and isinstance(model.rule, Correlations)
        if is_dense:
            model.rule.start(model.names.index(name), torch.from_numpy(factor.precision))
        holds_prior = not is_dense and not bool(model.mixture.prior_experts.all())
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


def _pairs(model: Model) -> dict[str, tuple[LinearEncoder, LinearDecoder]]:
    """The linear encoders and decoders of a joint model that read and write its z."""
    if not isinstance(model, MultimodalVAE) or model.family != Family():
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


def _left(
    name: str, found: Mapping[str, Factor], views: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Mean squares of what is left of a view, (feature,): over all views, and over all others, that codes are from."""
    others = {**present, name: np.zeros_like(present[name])}
    squares = []
    for given in (present, others):
        known = {n: view * given[n][:, None] for n, view in views.items()}
        means, _, _ = _posterior(found, known, given)
        seen = present[name]
        squares.append(np.square(views[name][seen] - means[seen] @ found[name].loadings.T).mean(0))
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
