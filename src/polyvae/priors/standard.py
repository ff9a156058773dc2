"""Priors with independent dimensions around zero: standard, or with learned scales."""

from typing import Any

import torch
from torch import Tensor, nn

from polyvae import gaussian, noise, posteriors
from polyvae.gaussian import Gaussian
from polyvae.noise import Noise
from polyvae.posteriors import Kind, Posterior
from polyvae.priors.base import Prior


class Centred(Prior):
    """Normal or Laplace around zero, with scale 1, or with learned scales softmax(l) D that sum to D (Shi et al. 2019).

    The sum is fixed because a common factor of all scales could as well be moved into the networks. The first scales
    are 1, so learning cannot make the best bound worse than that of the standard prior.
    """

    has_closed_kl = True

    def __init__(self, latent_dim: int, kind: Kind = "normal", *, learned: bool = False) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.zeros: Tensor
        self.logits = nn.Parameter(torch.zeros(latent_dim)) if learned else None

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind if self.logits is None else f"learned_{self.kind}"}

    def scale(self) -> Tensor:
        """The standard deviation of a Normal, b of a Laplace: (latent,)."""
        return self.zeros + 1 if self.logits is None else posteriors.shared_scale(self.logits)

    def law(self) -> Posterior:
        """The prior as a law with fields (latent,)."""
        return posteriors.of_scale(self.kind, self.zeros, self.scale().log())

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        return self.law().rsample(noise.normal(generator, count, len(self.zeros), self.zeros))

    def log_prob(self, z: Tensor) -> Tensor:
        return self.law().log_prob(z)

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        """KL(posterior || prior) in nats, in closed form: (...); z is ignored."""
        return posteriors.kl(posterior, self.law())


class StandardNormal(Centred):
    """N(0, I), the prior of the paper."""

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        return noise.normal(generator, count, len(self.zeros), self.zeros)

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        return gaussian.kl_to_prior(posterior) if isinstance(posterior, Gaussian) else super().kl(posterior, z)
