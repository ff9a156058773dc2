"""Fréchet distance between Gaussians fitted to features of real and of generated data.

Heusel et al. 2017, eq. 6: |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)). Only with Inception features may it be
called FID.
"""

from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset, chosen_rows
from polyvae.errors import InputError
from polyvae.judges.extractors import Extractor
from polyvae.keys import joined
from polyvae.metrics.moments import Moments, moments
from polyvae.metrics.pairs import few_pairs
from polyvae.metrics.protocol import Options, readable
from polyvae.metrics.readings import Read, Readings, read_data, read_model
from polyvae.models.contract import Model
from polyvae.noise import derive_seed

Features = np.ndarray | Tensor
Statistics = tuple[np.ndarray, np.ndarray] | Moments
POINTS = 8  # sample sizes of the extrapolation
LEAST_FOR_LIMIT = 200


def frechet_distance(a: Features | Statistics, b: Features | Statistics) -> float:
    """The (squared) Fréchet distance between features (row, dimension), or (mean, covariance) pairs; never negative.

    tr (C_a C_b)^(1/2) is the sum of singular values of C_a^(1/2) C_b^(1/2), which needs no complex square root and
    holds for covariances without full rank, as with fewer rows than dimensions.
    Raises InputError for fewer than 2 rows, unequal dimensions, or values that are not finite.
    """
    (mean_a, covariance_a), (mean_b, covariance_b) = _statistics(a), _statistics(b)
    if not all(np.isfinite(x).all() for x in (mean_a, covariance_a, mean_b, covariance_b)):
        raise InputError("features that are not finite have no Fréchet distance")
    if mean_a.shape != mean_b.shape:
        raise InputError(f"features of dimension {len(mean_a)} and {len(mean_b)} have no Fréchet distance")
    overlap = float(torch.linalg.svdvals(_root(covariance_a) @ _root(covariance_b)).sum())
    distance = np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return max(0.0, float(distance))


def frechet_limit(real: Features, generated: Features, seed: int = 0) -> float:
    """The distance extrapolated to endless samples (Chong & Forsyth 2020, FID-infinity): linear in 1 / n.

    The bias of the plain distance is of order 1 / n in the rows of either set, so both shrink together here; a line
    through the distances at 8 sizes, evenly spaced in 1 / n, is read off at 0. It may fall below 0 by noise.
    Raises InputError for fewer than 200 rows, or fewer than 5 times the dimension, where the bias is not linear.
    """
    most, least = min(len(real), len(generated)), max(LEAST_FOR_LIMIT, 5 * (real.shape[1] + 1))
    if most < least:
        raise InputError(f"{most} rows; extrapolating a Fréchet distance in {real.shape[1]} dimensions needs {least}")
    rng = np.random.default_rng(derive_seed(seed, "frechet_limit"))
    sizes = np.round(1 / np.linspace(1 / most, 5 / most, POINTS)).astype(int)
    both = [torch.as_tensor(x, dtype=torch.float64) for x in (real, generated)]
    distances = [frechet_distance(*(x[rng.permutation(len(x))[:size]] for x in both)) for size in sizes]
    return float(np.polyfit(1 / sizes, distances, 1)[1])


def frechet(
    model: Model, test: MultimodalDataset, train: MultimodalDataset, extractor: Extractor, **options: Unpack[Options]
) -> dict[str, float]:
    """Distances between generated and real test values of each modality that `extractor` reads, by its features.

    As many prior samples are drawn as there are test rows to compare with and to condition on.
    Returns frechet/<extractor>/ + unconditional/<modality>; floor/<modality>, real train against real test data;
    conditional/<given>/<target> for all but the target, and for single modalities if there are at most 5;
    samples, dimension and floor_samples (the smaller of the two sets): with fewer samples than dimensions
    (fewer_samples_than_dimensions is 1) a distance is biased upwards, and comparable at equal numbers only.
    A `given` that fewer than 2 rows have is left out.
    Posterior mixtures are measured exactly: the moments of their members pool with their weights.
    """
    pairs = few_pairs(model.names, readable(model, extractor))
    readings = read_model(model, test, extractor, moment_pairs=pairs, **options)
    return frechet_of(readings, real_train(readings, train))


def real_train(readings: Readings, train: MultimodalDataset, cache: Path | None = None) -> dict[str, Read]:
    """What is read in as many training rows as there are test rows."""
    trial = readings.trial
    rows = chosen_rows(len(train), len(trial.rows), trial.seed)
    return read_data(train, readings.real, rows, readings.extractor, trial.batch_size, cache)


def frechet_of(readings: Readings, train: dict[str, Read]) -> dict[str, float]:
    """The values of `frechet`, from readings that hold moments, and from what is read in training rows."""
    seed = readings.trial.seed
    real = {target: moments(read.features) for target, read in readings.real.items()}
    distances = {}
    for target, read in readings.prior.items():
        distances[f"unconditional/{target}"] = frechet_distance(moments(read.features), real[target])
    for (given, target), drawn in readings.moments.items():
        distances[f"conditional/{joined(given)}/{target}"] = frechet_distance(drawn, real[target])
    sizes = []
    for target, read in readings.real.items():
        features, other = read.features, train[target].features
        sizes.append(equal := min(len(features), len(other)))
        distances[f"floor/{target}"] = frechet_distance(
            other[chosen_rows(len(other), equal, seed)], features[chosen_rows(len(features), equal, seed)]
        )
    count, dimension = len(readings.trial.rows), len(next(iter(real.values())).mean)
    distances |= {"samples": float(count), "floor_samples": float(min(sizes)), "dimension": float(dimension)}
    distances |= {"fewer_samples_than_dimensions": 1.0} if count < dimension else {}
    return {f"frechet/{readings.extractor.name}/{key}": value for key, value in distances.items()}


def frechet_limit_of(readings: Readings) -> dict[str, float]:
    """frechet_limit/<extractor>/unconditional/<modality>."""
    return {
        f"frechet_limit/{readings.extractor.name}/unconditional/{name}": frechet_limit(
            readings.real[name].features, read.features, readings.trial.seed
        )
        for name, read in readings.prior.items()
    }


def _statistics(given: Features | Statistics) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(given, Moments):
        return given.mean, given.covariance
    if isinstance(given, tuple):
        mean, covariance = given
        return np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    return moments(given)[1:]


def _root(covariance: np.ndarray) -> Tensor:
    """The symmetric square root. Eigenvalues within rounding of zero count as zero: a root would magnify them.

    By torch and not by NumPy, whose threads nobody limits: on many cores they wait for each other.
    """
    values, vectors = torch.linalg.eigh(torch.from_numpy(covariance))
    values = torch.where(values > len(values) * np.finfo(np.float64).eps * values[-1], values, 0.0)
    return (vectors * values.sqrt()) @ vectors.T
