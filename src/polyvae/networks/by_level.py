"""What the level of a covariate adds to the outputs of encoders."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from polyvae.covariate import Covariate


class ByLevel(nn.Module):
    """A bias of each encoder's two outputs (batch, width) that depends on the level, 0 at first.

    The layers before it may tell the level from what they read; this one need not.
    """

    def __init__(self, covariate: Covariate, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.covariate, self.names = covariate, tuple(names)
        self.bias = nn.Parameter(torch.zeros(len(self.names), len(covariate.levels), 2 * width))

    def forward(self, name: str, outputs: Iterable[Tensor], level: Tensor) -> tuple[Tensor, ...]:
        """outputs: of encoder `name`. level: one-hot (batch, level)."""
        biases = (level @ self.bias[self.names.index(name)]).chunk(2, -1)
        return tuple(output + bias for output, bias in zip(outputs, biases, strict=True))
