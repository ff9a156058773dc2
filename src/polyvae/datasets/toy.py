"""A linear-Gaussian data set: everything about it is known in closed form."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.datasets.digits import check_split
from polyvae.errors import InputError
from polyvae.likelihoods import Normal
from polyvae.modality import Modality

LATENT, FEATURES, NOISE = 2, 4, 0.5
SIZES = {"train": 2000, "test": 1000}


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """x_m = W_m z + noise with z ~ N(0, I). weights: Float64 (feature, latent) for each modality; noise: its sd."""

    weights: tuple[Tensor, ...]
    noise: float

    def covariance(self, given: tuple[int, ...] | None = None) -> Tensor:
        """Covariance of the modalities `given` (None: all) laid end to end: (feature, feature)."""
        stacked = torch.cat([self.weights[m] for m in (given or range(len(self.weights)))])
        return stacked @ stacked.T + self.noise**2 * torch.eye(len(stacked), dtype=stacked.dtype)

    def log_evidence(self, values: Tensor, given: tuple[int, ...] | None = None) -> Tensor:
        """Exact log p(x_given) in nats of the rows `values` (row, feature), modalities laid end to end: (row,)."""
        factor = torch.linalg.cholesky(self.covariance(given))
        standard = torch.linalg.solve_triangular(factor, values.to(factor.dtype).T, upper=False)
        return -0.5 * (standard.square().sum(0) + len(factor) * math.log(2 * math.pi)) - factor.diagonal().log().sum()

    def entropy(self, given: tuple[int, ...] | None = None) -> float:
        """Differential entropy of x_given in nats: minus the expected log evidence."""
        covariance = self.covariance(given)
        return float(0.5 * (torch.logdet(covariance) + len(covariance) * math.log(2 * math.pi * math.e)))


def linear_gaussian(modalities: int = 5, seed: int = 0) -> LinearGaussian:
    """The law behind `load_toy`: W_m has standard Normal entries drawn from (seed, m)."""
    if modalities < 1 or seed < 0:
        raise InputError(f"toy needs modalities >= 1 and seed >= 0, got {modalities} and {seed}")
    weights = [np.random.default_rng([1, m, seed]).standard_normal((FEATURES, LATENT)) for m in range(modalities)]
    return LinearGaussian(tuple(torch.from_numpy(w) for w in weights), NOISE)


def load_toy(*, split: str = "train", modalities: int = 5, size: int | None = None, seed: int = 0) -> MultimodalDataset:
    """Rows of `linear_gaussian(modalities, seed)`: tables m0.. of 4 features, scored by Normal(0.5), no labels."""
    check_split(split)
    law = linear_gaussian(modalities, seed)
    rows = SIZES[split] if size is None else size
    if rows < 1:
        raise InputError(f"size {rows} must be at least 1")
    test = int(split == "test")
    z = torch.from_numpy(np.random.default_rng([2, test, seed]).standard_normal((rows, LATENT)))
    values = {}
    for m, weight in enumerate(law.weights):
        noise = np.random.default_rng([3, test, m, seed]).standard_normal((rows, FEATURES))
        values[f"m{m}"] = (z @ weight.T + law.noise * torch.from_numpy(noise)).float()
    specs = tuple(Modality(name, (FEATURES,), Normal(law.noise)) for name in values)
    info = {"split": split, "modalities": modalities, "size": rows, "seed": seed, "latent": LATENT, "noise": NOISE}
    return MultimodalDataset("toy", specs, values, torch.ones(rows, modalities, dtype=torch.bool), None, info)
