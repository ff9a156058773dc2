"""The table of methods: a name, its S, its objective, its source.

Members of the family differ in S alone (`family`). A method outside the family has a file here, with its formula, its
recipe of terms or another objective, its kind of model if it needs one, and its rows; a user's own is passed to
`register`.
"""

from collections.abc import Sequence
from types import ModuleType

from polyvae import subsets
from polyvae.methods import (
    aligned_flows,
    code_vae,
    contrastive_plus,
    crmvae,
    dmvae,
    family,
    gpoe,
    helvae,
    hoelder,
    hoelder_plus,
    idmvae,
    jmvae,
    jnf,
    masked,
    mld,
    mmjsd,
    mmvae_plus,
    mmvae_plusplus,
    mmvm,
    mopoe_dense,
    mopoe_style,
    mvtcae,
    telbo,
)
from polyvae.methods.family import OWN_S
from polyvae.methods.method import Method, Objective, Stage
from polyvae.models import MODELS
from polyvae.objectives import Q, objective_named, terms_of
from polyvae.options import check_defaults
from polyvae.registry import Registry

_FILES = (
    *(family, mvtcae, crmvae, jmvae, telbo, jnf, mmjsd, mmvm, helvae, hoelder, code_vae, gpoe, masked),
    mopoe_dense,
    *(mmvae_plus, mmvae_plusplus, dmvae, mopoe_style, hoelder_plus, idmvae, contrastive_plus, mld, aligned_flows),
)
METHODS: Registry[Method] = Registry(
    "method", {row.name: row for file in _FILES for row in file.ROWS} | {"custom": OWN_S}
)


def file_of(method: Method) -> ModuleType | None:
    """The file whose first lines are the formula of a method; None for a user's own."""
    return next((file for file in _FILES if method in (*file.ROWS, getattr(file, "OWN_S", None))), None)


def register(method: Method) -> Method:
    """Adds a method to the table, under its name. Raises InputError for a taken name, and options without defaults."""
    check_defaults(method.options, f"method {method.name!r}")
    return METHODS.register(method.name, method)


def cost(method: Method, names: Sequence[str]) -> tuple[float, float]:
    """(encoded, decoded) modalities per row and step, on average, by default; without terms of a stage's own."""
    names = names[:1] if method.is_single else names
    mixture = (method.mixture or subsets.mopoe)(names)
    encoded = float(len(names))
    if (recipe := method.terms_for({})) is not None:
        read = {name for law in terms_of(recipe, tuple(names)).laws for name in law.given}
        encoded = float(len(read & set(names)) + len(names) * len(read - set(names)))  # others read all modalities
        encoded += len(names) * _passes(method)
    elif (
        MODELS.named(method.model).is_joint  # others draw no subset
        and method.objective == "elbo"
        and method.allocation == "systematic"
        and mixture.is_bound
    ):
        encoded = mixture.observed
    return encoded, decoded(method, names)


def decoded(
    method: Method,
    names: Sequence[str],
    *,
    objective: str | None = None,
    samples: int | None = None,
    allocation: str | None = None,
) -> float:
    """Decoded modalities per row and step, without terms of a stage's own.

    objective, samples (K), allocation: of a run, None for the method's own. Raises InputError for an unknown objective.
    """
    names = names[:1] if method.is_single else names
    mixture = (method.mixture or subsets.mopoe)(names)
    is_systematic = (allocation or method.allocation) == "systematic"
    if (recipe := method.terms_for({})) is not None:
        draws = terms_of(recipe, tuple(names)).draws
        parts = (1 if is_systematic or isinstance(draw.of, Q) else len(draw.of.parts) for draw in draws)
        drawn = sum(n * len(draw.targets or names) for n, draw in zip(parts, draws, strict=True))
        return float(drawn + _passes(method) * len(names))
    draws = (samples or method.samples) if objective_named(objective or method.objective).draws else 1
    if is_systematic and mixture.is_bound:
        return float(draws * len(names))
    return float(draws * mixture.targets.sum())


def _passes(method: Method) -> int:
    """How often regularisers decode and encode each modality again."""
    return sum(regulariser.passes for regulariser in method.regularisers_for({}))


__all__ = ["METHODS", "Method", "Objective", "Stage", "cost", "decoded", "file_of", "register"]
