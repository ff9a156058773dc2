"""A normalising flow of a code given another: neural spline transforms of zuko whose networks read what is given."""

import math

import torch
from torch import Tensor, nn


class ConditionalFlow(nn.Module):
    """p(w | u): spline transforms (Durkan et al. 2019) of w once it is standardised, to N(0, I).

    Fully autoregressive: a density costs one pass, a draw one for each dimension of w and transform.
    """

    def __init__(self, latent_dim: int, given_dim: int, transforms: int, hidden: int) -> None:
        import zuko  # here: most runs have no flow, and it starts slowly

        super().__init__()
        self.register_buffer("shift", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.ones(latent_dim))
        self.shift: Tensor
        self.scale: Tensor
        self.flow = zuko.flows.NSF(
            latent_dim, given_dim, transforms=transforms, hidden_features=(hidden, hidden)
        ).transform

    def log_prob(self, w: Tensor, given: Tensor) -> Tensor:
        """log p(w | given) in nats, of w (batch, latent) and given (batch, dimension): (batch,)."""
        standard, change = self.flow(given).call_and_ladj((w - self.shift) / self.scale)
        constant = w.shape[-1] * math.log(2 * math.pi)
        return change - self.scale.log().sum() - 0.5 * (standard.square().sum(-1) + constant)

    def draw(self, standard: Tensor, given: Tensor) -> Tensor:
        """w (batch, latent) at Normal numbers of that shape."""
        return self.shift + self.scale * self.flow(given).inv(standard)
