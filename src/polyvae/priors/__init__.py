"""Priors over the latent space: each offers `sample`, `log_prob` and `kl(posterior, z)`."""

from collections.abc import Callable
from typing import NotRequired, TypedDict

from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.posteriors import Kind
from polyvae.priors.base import Prior
from polyvae.priors.blocks import WithPrivate
from polyvae.priors.flow import HIDDEN, FlowPrior
from polyvae.priors.mixtures import GaussianMixturePrior, VampPrior
from polyvae.priors.standard import Centred, StandardNormal
from polyvae.schema import Size

COMPONENTS = 50
MIXTURES = ("gmm", "gmm_full", "vamp")  # those that have a number of components


class PrivateFile(TypedDict):
    """The further dimensions of `WithPrivate`, and the family of their standard law."""

    dim: Size
    kind: Kind


class PriorFile(TypedDict):
    """The arguments of `make` in JSON."""

    kind: str
    components: NotRequired[Size]
    private: NotRequired[PrivateFile]


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


def make(
    kind: str,
    latent_dim: int,
    components: int = COMPONENTS,
    inputs: Batch | None = None,
    private: PrivateFile | None = None,
) -> Prior:
    """The prior called `kind`. components: of a mixture. inputs: first pseudo-inputs of `vamp`.

    private: the last of the dimensions that have a standard law, where the prior is `WithPrivate`.
    Raises InputError for an unknown kind, for `vamp` without inputs, and where private dimensions leave no other.
    """
    if private is not None:
        if (shared := latent_dim - private["dim"]) < 1:
            raise InputError(f"{private['dim']} of {latent_dim} dimensions are private; at least one must be shared")
        return WithPrivate(make(kind, shared, components, inputs), shared, private["dim"], private["kind"])
    if kind not in PRIORS:
        raise InputError(f"unknown prior {kind!r}; choose one of {', '.join(PRIORS)}")
    if kind == "vamp" and inputs is None:
        raise InputError("prior 'vamp' starts from a batch of pseudo-inputs; pass inputs, say some training rows")
    return PRIORS[kind](latent_dim, components, inputs)


def elements(
    kind: str, latent_dim: int, components: int = COMPONENTS, row: int = 0, private: PrivateFile | None = None
) -> int:
    """How many numbers the weights of a prior hold at least. row: in a pseudo-input of `vamp`."""
    latent_dim -= 0 if private is None else private["dim"]
    each = {"gmm": latent_dim, "gmm_full": latent_dim**2, "vamp": row}
    return latent_dim * HIDDEN[0] if kind == "flow" else components * each.get(kind, 0)


__all__ = [
    "COMPONENTS",
    "MIXTURES",
    "PRIORS",
    "Centred",
    "FlowPrior",
    "GaussianMixturePrior",
    "Prior",
    "PriorFile",
    "StandardNormal",
    "VampPrior",
    "WithPrivate",
    "elements",
    "make",
]
