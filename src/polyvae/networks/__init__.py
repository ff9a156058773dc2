"""Networks: each file offers `build(modality, latent_dim) -> (encoder, decoder)`.

An encoder maps (batch, *shape) to a pair (mean, logvar), each (batch, latent). A decoder maps (batch, latent) to
the parameters of the modality's likelihood, (batch, *shape). Both are plain modules; any pair of that form will do.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from polyvae.modality import Modality
from polyvae.networks import caption, conv, linear_mlp, mlp, resnet, transformer
from polyvae.registry import Registry

Build = Callable[[Modality, int], tuple[nn.Module, nn.Module]]
NETWORKS: Registry[Build] = Registry(
    "network",
    {
        "mlp": mlp.build,
        "linear_mlp": linear_mlp.build,
        "conv": conv.build,
        "conv_half": partial(conv.build, width=0.5),  # about a third of the work
        "conv_wide": partial(conv.build, width=0.5, features=256),  # room for a digit and its place
        "resnet": resnet.build,
        "transformer": transformer.build,
    },
)


def register(name: str, build: Build) -> Build:
    """Adds networks of your own: `build(modality, latent_dim)`. Raises InputError for a name that is taken."""
    return NETWORKS.register(name, build)


def default(modality: Modality) -> str:
    """The network chosen when the user names none: by what the modality is, and its size."""
    if modality.vocabulary:
        return "conv" if modality.shape[0] == caption.POSITIONS else "transformer"
    return "conv" if modality.is_image and modality.shape[1:] in ((28, 28), (32, 32), (64, 64)) else "mlp"


def build(name: str, modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """(encoder, decoder) of the network called `name`. Raises InputError for an unknown name or unfit shape."""
    return NETWORKS.named(name)(modality, latent_dim)
