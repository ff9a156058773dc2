"""Moments of what networks give for training rows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from polyvae.dataset import MultimodalDataset, chunks
from polyvae.modality import Batch

ENCODED = 500  # rows at a time


@torch.no_grad()
def moments(
    model: nn.Module, drawn: Callable[[Batch], tuple[Tensor, Tensor | float]], data: MultimodalDataset, least_sd: float
) -> tuple[Tensor, Tensor]:
    """Mean and sd (modality, width) of draws from a model as it is used, over the rows that have the modality.

    drawn: a batch -> means and variances of draws, (modality, batch, width). float64. No sd is below least_sd; of a
    modality that no row has, the mean is 0.
    """
    count = data.present.sum(0).clamp(min=1)[:, None]
    total = squares = torch.zeros((), dtype=torch.float64, device=data.present.device)
    is_training = model.training
    model.eval()
    for rows in chunks(range(len(data)), ENCODED):
        batch = data.batch(list(rows))
        mean, variance = drawn(batch)
        square = mean.double().square() + variance
        mean, square = (torch.where(batch.present.mT[..., None], x.double(), 0.0).sum(1) for x in (mean, square))
        total, squares = total + mean, squares + square
    model.train(is_training)
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=least_sd**2).sqrt()
