"""The 28x28 convolutional network of the MoPoE code (Sutter et al. 2021)."""

import torch
from torch import Tensor, nn

from polyvae.modality import Modality
from polyvae.networks.heads import GaussianHead, require_28


def build(modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for 28x28 images with any number of channels. Raises InputError for other shapes."""
    channels = require_28(modality, "conv")
    encoder = nn.Sequential(
        ChannelsLast(),
        *(nn.Conv2d(channels, 32, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(64, 128, 3, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(2048, latent_dim), nn.ReLU()),
        GaussianHead(latent_dim, latent_dim),
    )
    decoder = nn.Sequential(
        *(nn.Linear(latent_dim, 2048), nn.ReLU(), nn.Unflatten(1, (128, 4, 4)), ChannelsLast()),
        *(nn.ConvTranspose2d(128, 64, 3, 2, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 32, 3, 2, 1, output_padding=1), nn.ReLU()),
        nn.ConvTranspose2d(32, channels, 3, 2, 1, output_padding=1),
    )
    return encoder, decoder


class ChannelsLast(nn.Module):
    """Lays images out with channels innermost, which convolutions run fastest on."""

    def forward(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last)
