"""The parts that every encoder shares."""

from torch import Tensor, nn

from polyvae.errors import InputError
from polyvae.modality import Modality

FIRST_LOGVAR = -4.0


class GaussianHead(nn.Module):
    """Features (batch, width) to mean and logvar, each (batch, latent).

    Posteriors start narrow (logvar -4), the same for all inputs: with the usual start at 0, noise of the prior's width
    hides the mean from the decoders, and mixtures of experts spend their first thousands of steps on a plateau.
    """

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Linear(width, latent_dim)
        self.logvar = nn.Linear(width, latent_dim)
        nn.init.normal_(self.logvar.weight, std=1e-3)
        nn.init.constant_(self.logvar.bias, FIRST_LOGVAR)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(features), self.logvar(features)


def require_28(modality: Modality, network: str) -> int:
    """The channels of a 28x28 image modality. Raises InputError for any other shape."""
    if not modality.is_image or modality.shape[1:] != (28, 28):
        raise InputError(
            f"network {network!r} takes images of 28x28 pixels, but modality {modality.name!r} has shape "
            f"{modality.shape}; use network 'mlp' or pass your own networks"
        )
    return modality.shape[0]
