"""An encoder of two networks that share nothing."""

import torch
from torch import Tensor, nn


class TwoTrunks(nn.Module):
    """Two encoders of the same input, whose outputs lie side by side (MMVAE+: one for z, one for w)."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = (torch.cat(parts, -1) for parts in zip(self.first(values), self.second(values), strict=True))
        return mean, logvar
