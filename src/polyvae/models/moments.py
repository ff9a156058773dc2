"""Moments of what networks say of training rows."""

from collections.abc import Callable

import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset, chunks
from polyvae.modality import Batch

ENCODED = 500  # rows at a time


@torch.no_grad()
def moments(outputs: Callable[[Batch], Tensor], data: MultimodalDataset, least_sd: float) -> tuple[Tensor, Tensor]:
    """Mean and sd (modality, width) of outputs (modality, batch, width) over the rows that have the modality.

    float64. No sd is below least_sd; of a modality that no row has, the mean is 0.
    """
    count = data.present.sum(0).clamp(min=1)[:, None]
    total = squares = torch.zeros((), dtype=torch.float64, device=data.present.device)
    for rows in chunks(range(len(data)), ENCODED):
        batch = data.batch(list(rows))
        found = torch.where(batch.present.mT[..., None], outputs(batch).double(), 0.0)
        total, squares = total + found.sum(1), squares + found.square().sum(1)
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=least_sd**2).sqrt()
