"""A linear map and a multilayer perceptron side by side, for tables (wide and deep: Cheng et al. 2016).

The perceptron adds next to nothing at first, so a model starts as factor analysis, which `models.linear_start` fits to
the training rows; training adds what a linear model misses.
"""

import math

from torch import Tensor, nn

from polyvae.modality import Modality
from polyvae.networks.heads import GaussianHead

HIDDEN = 128
FIRST = 1e-5  # sd of the last weights: messages are multiplied by precisions


class LinearEncoder(nn.Module):
    """(batch, *shape) to mean and logvar, each (batch, latent)."""

    def __init__(self, size: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, latent_dim)
        self.deep = nn.Sequential(*_hidden(size))
        self.head = GaussianHead(HIDDEN, latent_dim)
        _hush(self.head.mean)
        nn.init.normal_(self.head.logvar.weight, std=FIRST)

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
        _hush(self.deep[-1])

    def forward(self, codes: Tensor) -> Tensor:
        return (self.linear(codes) + self.deep(codes)).unflatten(1, self.shape)


def build(modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """A linear map and two hidden layers of 128 units each way, for a modality of any shape."""
    return LinearEncoder(math.prod(modality.shape), latent_dim), LinearDecoder(latent_dim, modality.shape)


def _hidden(width: int) -> tuple[nn.Module, ...]:
    return nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()


def _hush(layer: nn.Module) -> None:
    """Makes what a last layer adds next to nothing; at 0, the layers before it would have no gradient."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=FIRST)
