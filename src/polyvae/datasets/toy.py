"""A linear-Gaussian data set: everything about it is known in closed form."""

from dataclasses import dataclass

import numpy as np
import torch

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.likelihoods import Normal
from polyvae.modality import Modality
from polyvae.theory import LinearGaussian

LATENT, FEATURES, NOISE = 2, 4, 0.5
SIZES = {"train": 2000, "test": 1000}


@dataclass(frozen=True)
class ToyOptions:
    """modalities: how many tables."""

    modalities: int = 5


def linear_gaussian(modalities: int = 5, seed: int = 0) -> LinearGaussian:
    """The law behind `load_toy`: W_m has standard Normal entries drawn from (seed, m)."""
    if modalities < 1 or seed < 0:
        raise InputError(f"toy needs modalities >= 1 and seed >= 0, got {modalities} and {seed}")
    weights = [np.random.default_rng([1, m, seed]).standard_normal((FEATURES, LATENT)) for m in range(modalities)]
    return LinearGaussian(tuple(weights), NOISE)


def load_toy(options: ToyOptions, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    """Rows of `linear_gaussian(modalities, seed)`: tables m0.. of 4 features, scored by Normal(0.5), no labels."""
    modalities = options.modalities
    law = linear_gaussian(modalities, seed)
    rows = SIZES[split] if size is None else size
    test = int(split == "test")
    z = np.random.default_rng([2, test, seed]).standard_normal((rows, LATENT))
    values = {}
    for m, weight in enumerate(law.weights):
        noise = np.random.default_rng([3, test, m, seed]).standard_normal((rows, FEATURES))
        values[f"m{m}"] = torch.from_numpy((z @ weight.T + law.noise * noise).astype(np.float32))
    specs = tuple(Modality(name, (FEATURES,), Normal(law.noise)) for name in values)
    info = {"split": split, "modalities": modalities, "size": rows, "seed": seed, "latent": LATENT, "noise": NOISE}
    return MultimodalDataset.complete("toy", specs, values, info=info)
