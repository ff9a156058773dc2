"""Priors over the latent space: each offers `sample`, `log_prob` and `kl(posterior)`."""

from typing import Protocol

import torch
from torch import Tensor, nn

from polyvae import gaussian, noise
from polyvae.gaussian import Gaussian
from polyvae.noise import Noise


class Prior(Protocol):
    def sample(self, count: int, generator: Noise = None) -> Tensor: ...

    def log_prob(self, z: Tensor) -> Tensor: ...

    def kl(self, posterior: Gaussian) -> Tensor: ...


class StandardNormal(nn.Module):
    """N(0, I), the prior of the paper."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.zeros: Tensor

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        """`count` draws: (count, latent)."""
        return noise.normal(generator, count, len(self.zeros), self.zeros)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats: (..., latent) -> (...)."""
        return Gaussian(self.zeros, self.zeros).log_prob(z)

    def kl(self, posterior: Gaussian) -> Tensor:
        """KL(posterior || prior) in nats: (...)."""
        return gaussian.kl_to_prior(posterior)
