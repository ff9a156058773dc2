"""The residual network of the paper (as published in the MMVAE+ and MMVM codes), for 28x28 images and larger ones."""

from torch import Tensor, nn

from polyvae.modality import Modality
from polyvae.networks.heads import ChannelsLast, GaussianHead, side_of


def build(modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for square images with any number of channels. Raises InputError for other shapes.

    The side is halved twice, as published for 28 and for 64 pixels (which has an activation before the heads).
    """
    side, channels = side_of(modality, "resnet") // 4, modality.shape[0]
    activation = () if side == 7 else (nn.LeakyReLU(0.2),)
    encoder = nn.Sequential(
        *(ChannelsLast(), nn.Conv2d(channels, 64, 3, padding=1), Block(64, 64)),
        *(nn.AvgPool2d(3, 2, 1), Block(64, 128)),
        *(nn.AvgPool2d(3, 2, 1), Block(128, 256)),
        *(*activation, nn.Flatten(), GaussianHead(256 * side * side, latent_dim)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(latent_dim, 256 * side * side), nn.Unflatten(1, (256, side, side)), ChannelsLast()),
        *(Block(256, 128), nn.Upsample(scale_factor=2)),
        *(Block(128, 64), nn.Upsample(scale_factor=2)),
        *(Block(64, 64), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(64, channels, 3, padding=1)),
    )
    return encoder, decoder


class Block(nn.Module):
    """Pre-activation residual block: shortcut(x) + 0.1 f(x), no normalisation."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        hidden = min(inward, outward)
        self.residual = nn.Sequential(
            *(nn.LeakyReLU(0.2), nn.Conv2d(inward, hidden, 3, padding=1)),
            *(nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(hidden, outward, 3, padding=1)),
        )
        self.shortcut = nn.Identity() if inward == outward else nn.Conv2d(inward, outward, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.shortcut(features) + 0.1 * self.residual(features)
