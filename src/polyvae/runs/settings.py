"""What a run minimises: objective, samples, allocation, prior and posterior, from its config or its method."""

from dataclasses import dataclass
from typing import Any

from polyvae import priors
from polyvae.config import RunConfig, flag
from polyvae.errors import InputError, choices
from polyvae.methods import Method
from polyvae.models import MODELS, RULES
from polyvae.models.vae import check_products
from polyvae.objectives import PRIOR, Recipe, Terms, objective_named, terms_of
from polyvae.options import check_call
from polyvae.posteriors import Family
from polyvae.subsets import SubsetMixture

OVER_NORMAL = ("joint_encoder", "messages")  # kinds of model that fuse experts by a power of the prior, N(0, I)


@dataclass(frozen=True)
class Settings:
    """How a joint model is trained; all None for a model of another kind, which brings its own objective.

    objective: None for a recipe of terms. samples: of the objective, None for those that draw one. components: of the
    prior, None for those without.
    """

    objective: str | None = None
    samples: int | None = None
    allocation: str | None = None
    prior: str | None = None
    components: int | None = None
    family: Family | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What an objective is called with beside beta, weights and generator."""
        given = {"allocation": self.allocation, "samples": self.samples}
        return {name: value for name, value in given.items() if value is not None}


def settings_of(config: RunConfig, method: Method, mixture: SubsetMixture, recipe: Recipe | None = None) -> Settings:
    """recipe: of the method, if it is one. Raises InputError that names the flag for contradictory settings."""
    if len(mixture.names) < 2 and (recipe is not None or method.model in RULES):
        raise InputError(f"method {method.name} compares modalities, but there is only one; use --method unimodal")
    if not MODELS.named(method.model).is_joint:
        return _own_settings(config, method)
    has_own = recipe is not None or any(stage.objective is not None for stage in method.stages)
    if config.objective != "auto" and has_own:
        raise InputError(f"--objective {config.objective}: method {method.name} has its own; leave the flag out")
    objective = objective_named(method.objective if config.objective == "auto" else config.objective)
    if objective.draws and not mixture.is_bound:
        raise InputError(f"--objective {objective.name}: not all terms of {method.name} predict everything; use elbo")
    if config.objective_samples is not None and not objective.draws:
        own = f"method {method.name} has its own; leave the flag out" if has_own else "elbo draws one sample per subset"
        raise InputError(f"--objective-samples applies to importance-weighted objectives; {own}")
    prior = _prior(config, method)
    allocation = _allocation(config, method, mixture)
    family = Family(
        method.family.kind if config.posterior == "auto" else config.posterior,
        method.family.scale if config.posterior_scale == "auto" else config.posterior_scale,
    )
    _check_family(method, family, mixture)
    if method.compares_rows and config.sizes.batch_size < 2:
        raise InputError(f"--batch-size {config.sizes.batch_size}: method {method.name} compares rows; use at least 2")
    if recipe is not None:
        _check_terms(method, terms_of(recipe, mixture.names), family, prior)
    return Settings(
        objective=None if recipe else objective.name,
        samples=(config.objective_samples or method.samples) if objective.draws else None,
        allocation=allocation,
        prior=prior,
        components=(config.prior_components or priors.COMPONENTS) if prior in priors.MIXTURES else None,
        family=family,
    )


def check_objectives(method: Method, settings: Settings) -> None:
    """Raises InputError for an objective of a method's stage that cannot be called as training calls it."""
    for stage in method.stages:
        if callable(stage.objective):
            owner = f"the objective of stage {stage.name!r} of method {method.name}"
            named = ("beta", "weights", "generator", *settings.options)
            check_call(stage.objective, owner, "objective", ("model", "batch", "S"), named)


def _prior(config: RunConfig, method: Method) -> str:
    prior = method.prior if config.prior == "auto" else config.prior
    if prior not in priors.PRIORS:
        raise InputError(f"--prior {prior} is unknown; {choices(prior, priors.PRIORS)}")
    if config.prior_components is not None and prior not in priors.MIXTURES:
        raise InputError(f"--prior-components applies to the priors {', '.join(priors.MIXTURES)}, not to {prior}")
    if method.model in OVER_NORMAL and prior != "normal":
        raise InputError(f"--prior {prior}: method {method.name} divides by N(0, I) at test time; use normal")
    return prior


def _allocation(config: RunConfig, method: Method, mixture: SubsetMixture) -> str:
    if config.allocation == "auto":
        return method.allocation if mixture.is_bound else "exact"
    if config.allocation == "systematic" and not mixture.is_bound:
        raise InputError(f"--allocation systematic: not all terms of {method.name} predict everything; use exact")
    return config.allocation


def _check_family(method: Method, family: Family, mixture: SubsetMixture) -> None:
    """Raises InputError for posteriors that the method must fuse but cannot."""
    if method.model in RULES and not family.has_products:
        raise InputError(f"--posterior {family.kind}: method {method.name} pools Normal posteriors; use normal")
    try:
        check_products(family, mixture)
    except InputError as error:
        raise InputError(f"--posterior {family.kind}: {error}") from None


def _check_terms(method: Method, terms: Terms, family: Family, prior: str) -> None:
    """Raises InputError for posteriors and priors under which the terms of a method are undefined."""
    if terms.needs_normal and not family.has_products:
        raise InputError(f"--posterior {family.kind}: method {method.name} multiplies posteriors; use normal")
    if PRIOR in terms.laws and prior != "normal":
        raise InputError(f"--prior {prior}: a term of {method.name} assumes the prior N(0, I); use normal")


def _own_settings(config: RunConfig, method: Method) -> Settings:
    """Nothing is left to choose if a method trains a model without a joint posterior, which brings its own settings."""
    flags = (
        "objective",
        "objective_samples",
        "allocation",
        "prior",
        "prior_components",
        "posterior",
        "posterior_scale",
    )
    for name in flags:
        if getattr(config, name) not in ("auto", None):
            raise InputError(f"{flag(name)}: method {method.name} trains its own kind of model; leave the flag out")
    if any(stage.objective is None for stage in method.stages):
        raise InputError(
            f"method {method.name} trains a model without a joint posterior ({method.model}), so each of its stages "
            "needs its own objective"
        )
    return Settings()
