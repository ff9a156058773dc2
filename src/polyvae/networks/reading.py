"""What networks read of a modality: numbers of a size they can take, without gaps."""

import torch
from torch import Tensor, nn

from polyvae.likelihoods import Counts
from polyvae.modality import Modality


class FillGaps(nn.Module):
    """0, the mean of a standardised feature, for NaN."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.where(values.isnan(), 0.0, values)


class Log1p(nn.Module):
    """log(1 + x) of counts; what a network has made of them (a mean, a learned pseudo-input) may be below 0."""

    def forward(self, values: Tensor) -> Tensor:
        return values.clamp(min=0).log1p()


def reading(modality: Modality, network: nn.Module) -> nn.Module:
    """The network, reading what `modality` holds."""
    fills = [FillGaps()] if modality.has_gaps else []
    logs = [Log1p()] if isinstance(modality.likelihood, Counts) else []
    return nn.Sequential(*fills, *logs, network) if fills or logs else network
