"""The 28x28 convolutional network of the MoPoE code (Sutter et al. 2021)."""

import torch
from torch import Tensor, nn

from polyvae.modality import Modality
from polyvae.networks.heads import GaussianHead, require_28


def build(modality: Modality, latent_dim: int, width: float = 1.0) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for 28x28 images with any number of channels; `width` scales the hidden ones.

    Raises InputError for other shapes.
    """
    channels = require_28(modality, "conv")
    narrow, middle, wide = (round(width * hidden) for hidden in (32, 64, 128))
    encoder = nn.Sequential(
        ChannelsLast(),
        *(nn.Conv2d(channels, narrow, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(narrow, middle, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(middle, wide, 3, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * wide, latent_dim), nn.ReLU()),
        GaussianHead(latent_dim, latent_dim),
    )
    decoder = nn.Sequential(
        *(nn.Linear(latent_dim, 16 * wide), nn.ReLU(), nn.Unflatten(1, (wide, 4, 4)), ChannelsLast()),
        *(nn.ConvTranspose2d(wide, middle, 3, 2, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(middle, narrow, 3, 2, 1, output_padding=1), nn.ReLU()),
        nn.ConvTranspose2d(narrow, channels, 3, 2, 1, output_padding=1),
    )
    return encoder, decoder


class ChannelsLast(nn.Module):
    """Lays images out with channels innermost, which convolutions run fastest on."""

    def forward(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last)
