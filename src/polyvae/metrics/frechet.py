"""Frechet distance between Gaussians fitted to features of real and of generated images.

Heusel et al. 2017, eq. 6: |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)). Only with Inception features may it be
called FID.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.metrics.extractors import Extractor
from polyvae.metrics.protocol import (
    MOST_FOR_ALL_SUBSETS,
    GenerativeModel,
    Subset,
    check_rows,
    chosen_rows,
    chunks,
    conditional_images,
    has_all,
    image_names,
    leave_one_out,
    members,
    scoring,
    unconditional_images,
    wanted_members,
)


class Moments(NamedTuple):
    """count rows with mean (dimension,) and unbiased covariance (dimension, dimension), float64."""

    count: int
    mean: np.ndarray
    covariance: np.ndarray


def moments(features: np.ndarray | Tensor) -> Moments:
    """The moments of features (row, dimension). Raises InputError for fewer than 2 rows or non-finite values."""
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise InputError(
            f"features of shape {rows.shape}; a Frechet distance needs (row, dimension) with 2 rows or more"
        )
    if not np.isfinite(rows).all():
        raise InputError("features that are not finite have no Frechet distance")
    mean = rows.mean(0)
    centred = rows - mean
    return Moments(len(rows), mean, centred.T @ centred / (len(rows) - 1))


def pooled(parts: Sequence[tuple[Moments, float]]) -> Moments:
    """Moments of a mixture of samples with weights that sum to one; of the joined sample if these are its shares."""
    mean = sum((weight * part.mean for part, weight in parts), np.zeros(()))
    spread = np.zeros(())
    for part, weight in parts:
        shift = part.mean - mean
        spread = spread + weight * ((part.count - 1) / part.count * part.covariance + np.outer(shift, shift))
    count = sum(part.count for part, _ in parts)
    return Moments(count, mean, count / (count - 1) * spread)


def frechet_distance(
    a: np.ndarray | Tensor | tuple[np.ndarray, np.ndarray] | Moments,
    b: np.ndarray | Tensor | tuple[np.ndarray, np.ndarray] | Moments,
) -> float:
    """The (squared) Frechet distance between features (row, dimension), or (mean, covariance) pairs; never negative.

    tr (C_a C_b)^(1/2) is the sum of singular values of C_a^(1/2) C_b^(1/2), which needs no complex square root and
    holds for covariances without full rank, as with fewer rows than dimensions.
    Raises InputError for fewer than 2 rows or unequal dimensions.
    """
    (mean_a, covariance_a), (mean_b, covariance_b) = _statistics(a), _statistics(b)
    if mean_a.shape != mean_b.shape:
        raise InputError(f"features of dimension {len(mean_a)} and {len(mean_b)} have no Frechet distance")
    overlap = np.linalg.svd(_root(covariance_a) @ _root(covariance_b), compute_uv=False).sum()
    distance = np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return max(0.0, float(distance))


def frechet(
    model: GenerativeModel,
    test: MultimodalDataset,
    train: MultimodalDataset,
    extractor: Extractor,
    *,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch_size: int = 500,
) -> dict[str, float]:
    """Distances between generated and real test images of each modality, by the features of `extractor`.

    rows: test rows to compare with and to condition on (default all); as many prior samples are drawn.
    Returns frechet/<extractor>/ + unconditional/<modality>; floor/<modality>, real train against real test images;
    conditional/<given>/<target> for all but the target, and for single modalities if there are at most 5;
    samples, dimension and floor_samples (the smaller of the two sets): with fewer samples than dimensions a distance
    is biased upwards, and comparable at equal numbers only. A `given` that fewer than 2 rows have is left out.
    Posterior mixtures are measured exactly: the moments of their members pool with their weights.
    """
    kept = check_rows(model, test, rows)
    with scoring(model):
        real = {t: _real(test, t, kept, extractor, batch_size) for t in image_names(model)}
        moments_of_real = {t: moments(features) for t, features in real.items()}
        found = {}
        for target, features in _unconditional(model, len(kept), extractor, seed, batch_size).items():
            found[f"unconditional/{target}"] = frechet_distance(moments(features), moments_of_real[target])
        for given, target, mixed in _conditional(model, test, kept, extractor, seed, batch_size):
            found[f"conditional/{'+'.join(given)}/{target}"] = frechet_distance(mixed, moments_of_real[target])
        equal = min(len(kept), len(train))
        for target, features in real.items():
            other = _real(train, target, chosen_rows(len(train), equal, seed), extractor, batch_size)
            found[f"floor/{target}"] = frechet_distance(other, features[chosen_rows(len(features), equal, seed)])
    dimension = len(next(iter(moments_of_real.values())).mean)
    found |= {"samples": float(len(kept)), "floor_samples": float(equal), "dimension": float(dimension)}
    return {f"frechet/{extractor.name}/{key}": value for key, value in found.items()}


def _pairs(names: Sequence[str], targets: Sequence[str]) -> list[tuple[Subset, str]]:
    givens = {(leave_one_out(names, t), t): None for t in targets if len(names) > 1}
    if len(names) <= MOST_FOR_ALL_SUBSETS:
        givens |= {((name,), t): None for name in names for t in targets if name != t}
    return list(givens)


def _real(
    data: MultimodalDataset, target: str, rows: Sequence[int], extractor: Extractor, batch_size: int
) -> np.ndarray:
    """Features of the real images of `target` in those of `rows` that have it."""
    seen = torch.as_tensor(rows)[has_all(data, data.present[rows], (target,)).cpu()].tolist()
    parts = [_numbers(extractor, data.batch(list(ids)).values[target]) for ids in chunks(seen, batch_size)]
    return np.concatenate(parts) if parts else np.zeros((0, 0))


def _unconditional(
    model: GenerativeModel, count: int, extractor: Extractor, seed: int, batch_size: int
) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {target: [] for target in image_names(model)}
    for _, images in unconditional_images(model, count, batch_size, (seed, "frechet/unconditional")):
        for target, pixels in images.items():
            parts[target].append(_numbers(extractor, pixels))
    return {target: np.concatenate(features) for target, features in parts.items()}


def _conditional(
    model: GenerativeModel,
    data: MultimodalDataset,
    rows: Sequence[int],
    extractor: Extractor,
    seed: int,
    batch_size: int,
) -> Iterator[tuple[Subset, str, Moments]]:
    """(given, target, moments) for every pair that at least 2 rows allow; each member is decoded once."""
    pairs = _pairs(model.names, image_names(model))
    wanted = wanted_members(model, pairs)
    parts: dict[tuple[Subset, str], list[np.ndarray]] = {}
    drawn_rows: dict[tuple[Subset, str], list[int]] = {}
    for drawn in conditional_images(model, data, wanted, rows, batch_size, (seed, "frechet/conditional")):
        parts.setdefault(drawn[:2], []).append(_numbers(extractor, drawn.images))
        drawn_rows.setdefault(drawn[:2], []).extend(drawn.rows)
    features = {key: np.concatenate(batches) for key, batches in parts.items()}
    for given, target in pairs:
        allowed = torch.as_tensor(rows)[has_all(data, data.present[rows], given).cpu()].numpy()
        if len(allowed) < 2:
            continue
        scored = [(features[m, target][np.isin(drawn_rows[m, target], allowed)], w) for m, w in members(model, given)]
        yield given, target, pooled([(moments(rows_of_member), weight) for rows_of_member, weight in scored])


def _numbers(extractor: Extractor, images: Tensor) -> np.ndarray:
    return extractor.features(images).cpu().numpy()


def _statistics(given: np.ndarray | Tensor | tuple[np.ndarray, np.ndarray] | Moments) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(given, tuple):
        mean, covariance = given[-2:]
        return np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    return moments(given)[1:]


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root. Eigenvalues within rounding of zero count as zero: a root would magnify them."""
    values, vectors = np.linalg.eigh(covariance)
    values = np.where(values > len(values) * np.finfo(np.float64).eps * values[-1], values, 0.0)
    return (vectors * np.sqrt(values)) @ vectors.T
