"""The 28x28 residual network of the paper (as published in the MMVAE+ and MMVM codes)."""

from torch import Tensor, nn

from polyvae.modality import Modality
from polyvae.networks.conv import ChannelsLast
from polyvae.networks.heads import GaussianHead, require_28


def build(modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for 28x28 images with any number of channels. Raises InputError for other shapes."""
    channels = require_28(modality, "resnet")
    encoder = nn.Sequential(
        *(ChannelsLast(), nn.Conv2d(channels, 64, 3, padding=1), Block(64, 64)),
        *(nn.AvgPool2d(3, 2, 1), Block(64, 128)),
        *(nn.AvgPool2d(3, 2, 1), Block(128, 256)),
        *(nn.Flatten(), GaussianHead(256 * 7 * 7, latent_dim)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(latent_dim, 256 * 7 * 7), nn.Unflatten(1, (256, 7, 7)), ChannelsLast()),
        *(Block(256, 128), nn.Upsample(scale_factor=2)),
        *(Block(128, 64), nn.Upsample(scale_factor=2)),
        *(Block(64, 64), nn.LeakyReLU(0.2), nn.Conv2d(64, channels, 3, padding=1)),
    )
    return encoder, decoder


class Block(nn.Module):
    """Pre-activation residual block: shortcut(x) + 0.1 f(x), no normalisation."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        hidden = min(inward, outward)
        self.residual = nn.Sequential(
            *(nn.LeakyReLU(0.2), nn.Conv2d(inward, hidden, 3, padding=1)),
            *(nn.LeakyReLU(0.2), nn.Conv2d(hidden, outward, 3, padding=1)),
        )
        self.shortcut = nn.Identity() if inward == outward else nn.Conv2d(inward, outward, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.shortcut(features) + 0.1 * self.residual(features)
