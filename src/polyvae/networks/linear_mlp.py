"""A linear map and a multilayer perceptron side by side, for tables (wide and deep: Cheng et al. 2016).

The perceptron's share of a mean is 0 at first, so a model starts as factor analysis, which `models.linear_start` fits
to the training rows in closed form; training adds what a linear model misses.
"""

import math

import torch
from torch import Tensor, nn

from polyvae.modality import Modality
from polyvae.networks.heads import GaussianHead

HIDDEN = 128


class LinearEncoder(nn.Module):
    """(batch, *shape) to mean and logvar, each (batch, latent)."""

    def __init__(self, size: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, latent_dim)
        self.deep = nn.Sequential(*_hidden(size))
        self.head = GaussianHead(HIDDEN, latent_dim)
        _silence(self.head.mean)
        nn.init.zeros_(self.head.logvar.weight)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        flat = values.flatten(1)
        mean, logvar = self.head(self.deep(flat))
        return self.linear(flat) + mean, logvar


class LinearDecoder(nn.Module):
    """(batch, latent) to (batch, *shape)."""

    def __init__(self, latent_dim: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.linear = nn.Linear(latent_dim, math.prod(shape))
        self.deep = nn.Sequential(*_hidden(latent_dim), nn.Linear(HIDDEN, math.prod(shape)))
        _silence(self.deep[-1])

    def forward(self, codes: Tensor) -> Tensor:
        return (self.linear(codes) + self.deep(codes)).unflatten(1, self.shape)


def build(modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """A linear map and two hidden layers of 128 units each way, for a modality of any shape."""
    return LinearEncoder(math.prod(modality.shape), latent_dim), LinearDecoder(latent_dim, modality.shape)


def _hidden(width: int) -> tuple[nn.Module, ...]:
    return nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()


def _silence(layer: nn.Module) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
