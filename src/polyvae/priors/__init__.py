"""Priors over the latent space: each offers `sample`, `log_prob` and `kl(posterior, z)`."""

from collections.abc import Callable

from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.priors.base import Prior
from polyvae.priors.flow import FlowPrior
from polyvae.priors.mixtures import GaussianMixturePrior, VampPrior
from polyvae.priors.standard import Centred, StandardNormal

COMPONENTS = 50
MIXTURES = ("gmm", "gmm_full", "vamp")  # those that have a number of components
PRIORS: dict[str, Callable[..., Prior]] = {
    "normal": lambda latent_dim, components, inputs: StandardNormal(latent_dim),
    "laplace": lambda latent_dim, components, inputs: Centred(latent_dim, "laplace"),
    "learned_normal": lambda latent_dim, components, inputs: Centred(latent_dim, "normal", learned=True),
    "learned_laplace": lambda latent_dim, components, inputs: Centred(latent_dim, "laplace", learned=True),
    "gmm": lambda latent_dim, components, inputs: GaussianMixturePrior(latent_dim, components),
    "gmm_full": lambda latent_dim, components, inputs: GaussianMixturePrior(latent_dim, components, full=True),
    "vamp": lambda latent_dim, components, inputs: VampPrior(inputs),
    "flow": lambda latent_dim, components, inputs: FlowPrior(latent_dim),
}


def make(kind: str, latent_dim: int, components: int = COMPONENTS, inputs: Batch | None = None) -> Prior:
    """The prior called `kind`. components: of a mixture. inputs: first pseudo-inputs of `vamp`.

    Raises InputError for an unknown kind, and for `vamp` without inputs.
    """
    if kind not in PRIORS:
        raise InputError(f"unknown prior {kind!r}; choose one of {', '.join(PRIORS)}")
    if kind == "vamp" and inputs is None:
        raise InputError("prior 'vamp' starts from a batch of pseudo-inputs; pass inputs, say some training rows")
    return PRIORS[kind](latent_dim, components, inputs)


__all__ = [
    "COMPONENTS",
    "MIXTURES",
    "PRIORS",
    "Centred",
    "FlowPrior",
    "GaussianMixturePrior",
    "Prior",
    "StandardNormal",
    "VampPrior",
    "make",
]
