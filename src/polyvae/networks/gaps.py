"""What networks read where single values of a table are missing."""

import torch
from torch import Tensor, nn

from polyvae.modality import Modality


class FillGaps(nn.Module):
    """0, the mean of a standardised feature, for NaN."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.where(values.isnan(), 0.0, values)


def reading(modality: Modality, network: nn.Module) -> nn.Module:
    """The network, reading what `modality` holds."""
    return nn.Sequential(FillGaps(), network) if modality.has_gaps else network
