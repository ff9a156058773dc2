"""The generative discrepancy as code: exact where the law is known, certified bounds elsewhere (docs/theory.md).

This layer is pure: tables, numbers and arrays. What loads runs or trains is `polyvae.audit` and `polyvae.estimate`.
"""

from importlib import import_module
from typing import Any

from polyvae.theory.discrepancies import (
    Corollary2,
    Share,
    beta_gap,
    by_modality,
    by_subset,
    corollary2,
    discrepancy,
    factorised_floor,
    known,
    modality_floor,
    presets,
    weight_entropy,
)
from polyvae.theory.discrete import DiscreteModel, naming_code, random_model
from polyvae.theory.frontier import Mix, best_mix, mean_observed, preset_mixes, tradeoff
from polyvae.theory.generators import GENERATORS, DiscreteLaw, generator
from polyvae.theory.images import ImageLaw, image_law
from polyvae.theory.information import Entropies, entropies
from polyvae.theory.linear_gaussian import LinearGaussian
from polyvae.theory.lines import Line, Measured, certified_lines

__all__ = [
    "GENERATORS",
    "Corollary2",
    "DiscreteLaw",
    "DiscreteModel",
    "Entropies",
    "ImageLaw",
    "Line",
    "LinearGaussian",
    "Measured",
    "Mix",
    "Share",
    "best_mix",
    "beta_gap",
    "by_modality",
    "by_subset",
    "certified_lines",
    "corollary2",
    "discrepancy",
    "entropies",
    "factorised_floor",
    "generator",
    "image_law",
    "known",
    "mean_observed",
    "modality_floor",
    "naming_code",
    "preset_mixes",
    "presets",
    "random_model",
    "tradeoff",
    "weight_entropy",
]


def __getattr__(name: str) -> Any:
    """The first release called `polyvae.audit` and `polyvae.estimate` by `theory.audit` and `theory.estimate`."""
    if name in ("audit", "estimate"):
        return getattr(import_module("polyvae"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
