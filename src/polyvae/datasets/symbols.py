"""Discrete toy data whose every entropy is known: a shared class and private symbols, PolyMNIST in small."""

from dataclasses import dataclass

import numpy as np
import torch

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.likelihoods import Categorical
from polyvae.modality import Modality
from polyvae.theory import DiscreteLaw
from polyvae.theory.generators import common_cause

CLASSES, PRIVATE, MOST = 4, 4, 5
SIZES = {"train": 4000, "test": 2000}


@dataclass(frozen=True)
class SymbolsOptions:
    """modalities: how many, 1 to 5."""

    modalities: int = 3


def symbols_law(modalities: int = 3, seed: int = 0) -> DiscreteLaw:
    """The law behind `load_symbols`: each modality shows the class (of 4) and one of 4 private values."""
    if not 1 <= modalities <= MOST or seed < 0:
        raise InputError(f"symbols needs 1 to {MOST} modalities and seed >= 0, got {modalities} and {seed}")
    return common_cause(modalities, CLASSES, np.random.default_rng([4, seed]), PRIVATE)


def load_symbols(options: SymbolsOptions, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    """Rows of `symbols_law(modalities, seed)`: one-hot modalities m0.. of 16 symbols, and the class as label."""
    rows = SIZES[split] if size is None else size
    drawn = symbols_law(options.modalities, seed).draw(rows, np.random.default_rng([5, int(split == "test"), seed]))
    return as_rows(drawn, {"split": split, "modalities": options.modalities, "size": rows, "seed": seed})


def as_rows(cells: dict[str, np.ndarray], info: dict) -> MultimodalDataset:
    """Symbols, name -> Int (row,), as a data set of one-hot modalities."""
    width = CLASSES * PRIVATE
    values = {name: torch.eye(width)[torch.from_numpy(cell)] for name, cell in cells.items()}
    specs = tuple(Modality(name, (width,), Categorical()) for name in values)
    label = torch.from_numpy(next(iter(cells.values())) // PRIVATE)
    return MultimodalDataset.complete("symbols", specs, values, labels=label, info=info)
