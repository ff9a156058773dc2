"""A multilayer perceptron for tables, classes and anything small."""

import math

from torch import nn

from polyvae.modality import Modality
from polyvae.networks.heads import GaussianHead

HIDDEN = 256


def build(modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """Two hidden layers of 256 units each way, for a modality of any shape."""
    size = math.prod(modality.shape)
    encoder = nn.Sequential(nn.Flatten(), *_hidden(size), GaussianHead(HIDDEN, latent_dim))
    decoder = nn.Sequential(*_hidden(latent_dim), nn.Linear(HIDDEN, size), nn.Unflatten(1, modality.shape))
    return encoder, decoder


def _hidden(width: int) -> tuple[nn.Module, ...]:
    return nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()
