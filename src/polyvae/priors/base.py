"""What models and objectives ask of a prior over the latent space."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from polyvae.gaussian import GaussianMixture
from polyvae.modality import Batch
from polyvae.noise import Noise
from polyvae.posteriors import Posterior


class Prior(nn.Module):
    """A law of z, with or without parameters to learn.

    has_closed_kl: whether `kl` is a closed form, so that it does not look at z.
    """

    has_closed_kl: bool = False

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        """`count` draws: (count, latent)."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats: (..., latent) -> (...)."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """The arguments of `priors.make` that give a prior of this kind, as JSON holds them."""
        raise NotImplementedError

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        """KL(posterior || prior) in nats: (...). Here an unbiased estimate from z, one draw of the posterior."""
        return posterior.log_prob(z) - self.log_prob(z)

    def bind(self, posterior: Callable[[Batch], GaussianMixture]) -> None:
        """Hands over the posterior of the model that this prior belongs to; most priors do not need it."""
