"""Networks: each file offers `build(modality, latent_dim) -> (encoder, decoder)`.

An encoder maps (batch, *shape) to a pair (mean, logvar), each (batch, latent). A decoder maps (batch, latent) to
the parameters of the modality's likelihood, (batch, *shape). Both are plain modules; any pair of that form will do.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from polyvae.errors import InputError
from polyvae.modality import Modality
from polyvae.networks import conv, mlp, resnet

Build = Callable[[Modality, int], tuple[nn.Module, nn.Module]]
NETWORKS: dict[str, Build] = {
    "mlp": mlp.build,
    "conv": conv.build,
    "conv_half": partial(conv.build, width=0.5),  # about a third of the work
    "resnet": resnet.build,
}


def default(modality: Modality) -> str:
    """The network chosen when the user names none: `conv` for 28x28 images, else `mlp`."""
    return "conv" if modality.is_image and modality.shape[1:] == (28, 28) else "mlp"


def build(name: str, modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """(encoder, decoder) of the network called `name`. Raises InputError for an unknown name or unfit shape."""
    if name not in NETWORKS:
        raise InputError(
            f"unknown network {name!r} for modality {modality.name!r}; choose one of {', '.join(NETWORKS)}"
        )
    return NETWORKS[name](modality, latent_dim)
