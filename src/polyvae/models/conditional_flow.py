"""A normalising flow of a code given another one: neural spline transforms of zuko that read what is given."""

import math
from typing import Any

import torch
from torch import Tensor, nn


class ConditionalFlow(nn.Module):
    """p(w | u) by spline transforms (Durkan et al. 2019), w standardised and u of length about 1.

    Fully autoregressive: a density costs one pass, a draw one for every dimension of w and transform.
    """

    def __init__(self, latent_dim: int, given_dim: int, transforms: int, hidden: int) -> None:
        import zuko  # here: most runs have no flow, and it starts slowly

        super().__init__()
        self.register_buffer("shift", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.ones(latent_dim))
        self.shift: Tensor
        self.scale: Tensor
        widths = (hidden, hidden)
        self.transform = zuko.flows.NSF(latent_dim, given_dim, transforms=transforms, hidden_features=widths).transform

    def log_prob(self, w: Tensor, u: Tensor) -> Tensor:
        """log p(w | u) in nats, of w (batch, latent) and u (batch, dimension): (batch,)."""
        standard, change = self._given(u).call_and_ladj((w - self.shift) / self.scale)
        constant = w.shape[-1] * math.log(2 * math.pi)
        return change - self.scale.log().sum() - 0.5 * (standard.square().sum(-1) + constant)

    def draw(self, standard: Tensor, u: Tensor) -> Tensor:
        """w (batch, latent) at Normal numbers of that shape."""
        return self.shift + self.scale * self._given(u).inv(standard)

    def _given(self, u: Tensor) -> Any:
        """From w, standardised, to N(0, I). The networks read numbers of size 1."""
        return self.transform(u * math.sqrt(u.shape[-1]))
