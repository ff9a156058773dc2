"""The table of methods: a name, its S, its objective, its source.

Members of the family differ in S alone (`family`). A method outside the family has a file here, with its formula, its
recipe of terms or another objective, its kind of model if it needs one, and its rows; a user's own is passed to
`register`.
"""

from collections.abc import Sequence

from polyvae import subsets
from polyvae.methods import aligned_flows, crmvae, family, jmvae, mmjsd, mmvm, mvtcae
from polyvae.methods.family import OWN_S
from polyvae.methods.method import Method, Objective, Stage
from polyvae.objectives import Q, objective_named
from polyvae.options import check_defaults
from polyvae.registry import Registry

_FILES = (family, mvtcae, crmvae, jmvae, mmjsd, mmvm, aligned_flows)
METHODS: Registry[Method] = Registry(
    "method", {row.name: row for file in _FILES for row in file.ROWS} | {"custom": OWN_S}
)


def register(method: Method) -> Method:
    """Adds a method to the table, under its name. Raises InputError for a taken name, and options without defaults."""
    check_defaults(method.options, f"method {method.name!r}")
    return METHODS.register(method.name, method)


def cost(method: Method, names: Sequence[str]) -> tuple[float, float]:
    """(encoded, decoded) modalities a row and step, on average, by default; without terms of a stage's own."""
    names = names[:1] if method.is_single else names
    mixture = (method.mixture or subsets.mopoe)(names)
    encoded = float(len(names))
    if (recipe := method.terms_for({})) is not None:
        further = {name for law in recipe(tuple(names)).laws for name in law.given} - set(names)
        encoded *= 1 + len(further)  # each reads all modalities
    elif method.objective == "elbo" and method.allocation == "systematic" and mixture.is_bound:
        encoded = float((mixture.weights * mixture.matrix.sum(-1)).sum())
    return encoded, decoded(method, names)


def decoded(
    method: Method,
    names: Sequence[str],
    *,
    objective: str | None = None,
    samples: int | None = None,
    allocation: str | None = None,
) -> float:
    """Decoded modalities a row and step, without terms of a stage's own.

    objective, samples (K), allocation: of a run, None for the method's own. Raises InputError for an unknown objective.
    """
    names = names[:1] if method.is_single else names
    mixture = (method.mixture or subsets.mopoe)(names)
    is_systematic = (allocation or method.allocation) == "systematic"
    if (recipe := method.terms_for({})) is not None:
        draws = recipe(tuple(names)).draws
        parts = (1 if is_systematic or isinstance(draw.of, Q) else len(draw.of.parts) for draw in draws)
        return float(sum(n * len(draw.targets or names) for n, draw in zip(parts, draws, strict=True)))
    draws = (samples or method.samples) if objective_named(objective or method.objective).draws else 1
    if is_systematic and mixture.is_bound:
        return float(draws * len(names))
    return float(draws * mixture.targets.sum())


__all__ = ["METHODS", "Method", "Objective", "Stage", "cost", "decoded", "register"]
