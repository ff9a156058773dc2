"""Networks: each file offers `build(modality, latent_dim) -> (encoder, decoder)`.

An encoder maps (batch, *shape) to a pair (mean, logvar), each (batch, latent). A decoder maps (batch, latent) to
the parameters of the modality's likelihood, (batch, *shape). Both are plain modules; any pair of that form will do.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from polyvae.errors import InputError
from polyvae.modality import Modality
from polyvae.networks import caption, conv, mlp, resnet, transformer

Build = Callable[[Modality, int], tuple[nn.Module, nn.Module]]
NETWORKS: dict[str, Build] = {
    "mlp": mlp.build,
    "conv": conv.build,
    "conv_half": partial(conv.build, width=0.5),  # about a third of the work
    "resnet": resnet.build,
    "transformer": transformer.build,
}


def default(modality: Modality) -> str:
    """The network chosen when the user names none: by what the modality is, and its size."""
    if modality.vocabulary:
        return "conv" if modality.shape[0] == caption.POSITIONS else "transformer"
    return "conv" if modality.is_image and modality.shape[1:] in ((28, 28), (32, 32), (64, 64)) else "mlp"


def build(name: str, modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """(encoder, decoder) of the network called `name`. Raises InputError for an unknown name or unfit shape."""
    if name not in NETWORKS:
        raise InputError(
            f"unknown network {name!r} for modality {modality.name!r}; choose one of {', '.join(NETWORKS)}"
        )
    return NETWORKS[name](modality, latent_dim)
