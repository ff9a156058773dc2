"""The prior of a shared code and of private ones, side by side."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polyvae.gaussian import GaussianMixture, picked
from polyvae.modality import Batch
from polyvae.noise import Noise, of_draw
from polyvae.posteriors import Kind, Posterior
from polyvae.priors.base import Prior
from polyvae.priors.standard import Centred


class WithPrivate(Prior):
    """Any prior of the first `shared_dim` dimensions, times independent standard laws of `private_dim` further ones."""

    def __init__(self, shared: Prior, shared_dim: int, private_dim: int, kind: Kind) -> None:
        super().__init__()
        self.shared, self.shared_dim, self.private_dim = shared, shared_dim, private_dim
        self.private = Centred(private_dim, kind)
        self.has_closed_kl = shared.has_closed_kl

    def around(self, shared: Prior) -> "WithPrivate":
        """The same with another prior for the first dimensions."""
        return WithPrivate(shared, self.shared_dim, self.private_dim, self.private.kind)

    def describe(self) -> dict[str, Any]:
        return self.shared.describe() | {"private": {"dim": self.private_dim, "kind": self.private.kind}}

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        codes = self.shared.sample(count, generator)
        return torch.cat([codes, self.private.sample(count, of_draw(generator, 1))], -1)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.shared.log_prob(z[..., : self.shared_dim]) + self.private.log_prob(z[..., self.shared_dim :])

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        """The sum over both blocks, each in closed form where it has one."""
        first, rest = (..., slice(self.shared_dim)), (..., slice(self.shared_dim, None))
        of_shared = self.shared.kl(picked(posterior, first), z[first])
        return of_shared + self.private.kl(picked(posterior, rest), z[rest])

    def bind(self, posterior: Callable[[Batch], GaussianMixture]) -> None:
        def of_shared(batch: Batch) -> GaussianMixture:
            law = posterior(batch)
            return law._replace(components=picked(law.components, (..., slice(self.shared_dim))))

        self.shared.bind(of_shared)
