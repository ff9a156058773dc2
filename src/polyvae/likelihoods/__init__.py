"""Likelihoods: frozen descriptions that turn a decoder's output into a distribution over one modality."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from polyvae.errors import InputError
from polyvae.likelihoods.base import SCALE, Form, Likelihood, OfNumbers
from polyvae.likelihoods.counts import Counts, NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from polyvae.likelihoods.discrete import END, Bernoulli, Categorical, Ordinal, Text
from polyvae.likelihoods.gaps import with_gaps
from polyvae.likelihoods.real import BinnedLaplace, Laplace, LocationScale, Normal, StudentT
from polyvae.registry import Registry

__all__ = [
    "END",
    "LIKELIHOODS",
    "SCALE",
    "Bernoulli",
    "BinnedLaplace",
    "Categorical",
    "Counts",
    "Form",
    "Laplace",
    "Likelihood",
    "LocationScale",
    "NegativeBinomial",
    "Normal",
    "OfNumbers",
    "Ordinal",
    "Poisson",
    "StudentT",
    "Text",
    "ZeroInflatedNegativeBinomial",
    "from_json",
    "has_scale",
    "kind_of",
    "make",
    "register",
    "to_json",
    "with_gaps",
]

LIKELIHOODS: Registry[type[Any]] = Registry(
    "likelihood",
    {
        "laplace": Laplace,
        "normal": Normal,
        "student_t": StudentT,
        "laplace_8bit": BinnedLaplace,
        "bernoulli": Bernoulli,
        "categorical": Categorical,
        "ordinal": Ordinal,
        "text": Text,
        "poisson": Poisson,
        "negative_binomial": NegativeBinomial,
        "zinb": ZeroInflatedNegativeBinomial,
    },
)


def register(name: str, likelihood: type[Any]) -> type[Any]:
    """Adds a `Likelihood` of your own; `OfNumbers` is a base that has all but `__call__`.

    Raises InputError for a name that is taken, for what is not a dataclass, and for a class that lacks something.
    """
    if not is_dataclass(likelihood):
        raise InputError(f"likelihood {name!r} must be a frozen dataclass, whose fields are saved with a model")
    parts = ("parameters", "is_one_hot", "takes_any_real", "unfit", "__call__")
    if lacking := [part for part in parts if not hasattr(likelihood, part)]:
        raise InputError(f"likelihood {name!r} lacks {', '.join(lacking)}; inherit from likelihoods.OfNumbers")
    return LIKELIHOODS.register(name, likelihood)


def has_scale(kind: str) -> bool:
    """Whether the likelihood called `kind` has a scale to choose."""
    return "scale" in {field.name for field in fields(LIKELIHOODS.named(kind))}


def make(kind: str, scale: float | None = SCALE) -> Likelihood:
    """The likelihood called `kind`; `scale` is for those that have one (None: learned)."""
    likelihood = LIKELIHOODS.named(kind)
    return likelihood(scale=scale) if has_scale(kind) else likelihood()


def kind_of(likelihood: Likelihood) -> str:
    """The name it is registered by. Raises InputError for one that is not."""
    for name, registered in LIKELIHOODS.items():
        if type(likelihood) is registered:
            return name
    name = type(likelihood).__name__
    raise InputError(f"likelihood {name} has no name to be saved by; say likelihoods.register(NAME, {name})")


def to_json(likelihood: Likelihood) -> dict[str, Any]:
    return {"kind": kind_of(likelihood), **asdict(likelihood)}  # ty: ignore[invalid-argument-type]


def from_json(content: Mapping[str, Any]) -> Likelihood:
    settings = {name: value for name, value in content.items() if name != "kind"}
    return LIKELIHOODS.named(content["kind"])(**settings)
