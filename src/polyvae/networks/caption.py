"""The convolutional caption network of the MMVAE code (Shi et al. 2019): a caption is an image, position by feature.

Two departures: groups are normalised instead of batches, since a row must not depend on its neighbours (the number of
weights is the same); and the decoder's word vectors are its own, not tied to those of the encoder.
"""

from typing import Any

from torch import nn

from polyvae.errors import InputError
from polyvae.modality import Modality
from polyvae.networks.heads import Embedding, GaussianHead, words_of

FEATURES = 128
POSITIONS = 32
GROUPS = 8


def build(modality: Modality, latent_dim: int, width: float = 1.0) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for text of 32 positions; `width` scales the channels. Raises InputError for other shapes."""
    words = len(words_of(modality, "conv"))
    if modality.shape[0] != POSITIONS:
        raise InputError(
            f"network 'conv' needs text of {POSITIONS} positions, not {modality.shape[0]} ({modality.name!r})"
        )
    narrow, middle, wide = (round(width * hidden) for hidden in (32, 64, 128))
    along: dict[str, Any] = {"kernel_size": (1, 4), "stride": (1, 2), "padding": (0, 1), "bias": False}
    both: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1, "bias": False}
    encoder = nn.Sequential(
        *(Embedding(words, FEATURES), nn.Unflatten(1, (1, POSITIONS))),
        *_active(nn.Conv2d(1, narrow, **both), narrow),
        *_active(nn.Conv2d(narrow, middle, **both), middle),
        *_active(nn.Conv2d(middle, wide, **both), wide),
        *_active(nn.Conv2d(wide, wide, **along), wide),
        *_active(nn.Conv2d(wide, wide, **along), wide),
        *(nn.Flatten(), GaussianHead(16 * wide, latent_dim)),
    )
    decoder = nn.Sequential(
        nn.Unflatten(1, (latent_dim, 1, 1)),
        *_active(nn.ConvTranspose2d(latent_dim, wide, 4, bias=False), wide),
        *_active(nn.ConvTranspose2d(wide, wide, **along), wide),
        *_active(nn.ConvTranspose2d(wide, wide, **along), wide),
        *_active(nn.ConvTranspose2d(wide, middle, **both), middle),
        *_active(nn.ConvTranspose2d(middle, narrow, **both), narrow),
        *(nn.ConvTranspose2d(narrow, 1, **both), nn.ReLU(), nn.Flatten(1, 2), nn.Linear(FEATURES, words)),
    )
    return encoder, decoder


def _active(layer: nn.Module, channels: int) -> tuple[nn.Module, ...]:
    return layer, nn.GroupNorm(GROUPS, channels), nn.ReLU()
