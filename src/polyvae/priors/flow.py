"""A normalising flow as prior: neural spline couplings of zuko."""

from typing import Any

import torch
from torch import Tensor

from polyvae import noise
from polyvae.noise import Noise
from polyvae.priors.base import Prior

TRANSFORMS, HIDDEN = 3, (128, 128)  # of every saved flow: a change makes those unreadable


class FlowPrior(Prior):
    """Rational-quadratic spline couplings (Durkan et al. 2019): a density costs one pass, a draw two."""

    def __init__(self, latent_dim: int) -> None:
        import zuko  # here: most runs have no flow, and it starts slowly

        super().__init__()
        self.latent_dim = latent_dim
        self.register_buffer("shift", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.ones(latent_dim))
        self.shift: Tensor
        self.scale: Tensor
        passes = 2 if latent_dim > 1 else None  # couplings of two halves
        self.flow = zuko.flows.NSF(latent_dim, transforms=TRANSFORMS, hidden_features=HIDDEN, passes=passes)

    def describe(self) -> dict[str, Any]:
        return {"kind": "flow"}

    def standardise(self, codes: Tensor) -> None:
        """Puts the flow on codes (row, latent) with mean 0 and sd 1: splines bend only what lies in [-5, 5]."""
        self.shift.copy_(codes.mean(0))
        self.scale.copy_(codes.std(0).clamp(min=1e-6))

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        like = next(self.flow.parameters())
        standard = noise.normal(generator, count, self.latent_dim, like)
        return self.shift + self.scale * self.flow().transform.inv(standard)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.flow().log_prob((z - self.shift) / self.scale) - self.scale.log().sum()
