"""What a method asks of its experts beyond likelihoods and divergences: functions of a whole batch, in nats.

A regulariser is called as (model, batch, experts, generator), experts being what `encode` says of the batch, and
returns a scalar to minimise, a mean over rows. It compares rows with each other, so that its value depends on the batch
size, and noise that belongs to rows does not make it independent of what else is in the batch.

A row counts what it has: it averages over its own pairs of modalities (with none, it adds 0), and is compared with rows
that have both modalities of a pair. A batch without any adds 0, without a gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.models.contract import JointModel
from polyvae.noise import Noise
from polyvae.posteriors import Posterior


class Regulariser(NamedTuple):
    """weight * function(model, batch, experts, generator) is added to the loss; name: in histories and records."""

    name: str
    weight: float
    function: Callable[[JointModel, Batch, Posterior, Noise], Tensor]


def nt_xent(first: Tensor, second: Tensor, temperature: float, seen: Tensor) -> Tensor:
    """-log softmax of a row's partner among all others of both views (NT-Xent; Chen et al. 2020), in nats.

    first, second: (..., batch, dimension), two views, of which the angles alone count; seen: Bool (..., batch), the
    rows that take part. Returns (..., batch), a mean over both directions, at most about 2 / temperature above
    log(2 B - 1), its value for B rows that are all alike; 0 for rows that take no part.
    """
    units = normalize(torch.cat([first, second], -2), dim=-1).double()  # which mixed precision leaves alone
    cosine = (units @ units.mT).to(first.dtype) / temperature
    taking_part = torch.cat([seen, seen], -1)
    itself = torch.eye(cosine.shape[-1], dtype=torch.bool, device=cosine.device)
    others = cosine.masked_fill(itself | ~taking_part[..., None, :], torch.finfo(cosine.dtype).min)
    partner = cosine.diagonal(seen.shape[-1], -2, -1)
    missed = others.logsumexp(-1).unflatten(-1, (2, -1)).mean(-2) - partner
    return torch.where(seen, missed, 0.0)


@dataclass(frozen=True)
class Contrast:
    """NT-Xent between the posterior means of every two modalities, a mean over pairs (CrossMI of IDMVAE, GMC).

    temperature: with C classes that means separate perfectly and evenly, log C - log(1 + (C - 1) e^-g) nats of their
    entropy, g = C / (C - 1) / temperature, are captured at most: of 10 classes .93 at 1, 2.27 at .2 and 2.30 at .1.
    share: of the dimensions of z, the first ones, that are compared; the others may differ between modalities.
    Raises InputError for a temperature that is not above 0, and a share outside (0, 1].
    """

    temperature: float = 0.2
    share: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"--method-options temperature={self.temperature}: it must be above 0")
        if not 0 < self.share <= 1:
            raise InputError(f"--method-options share={self.share}: it must be above 0 and at most 1")

    def __call__(self, model: JointModel, batch: Batch, experts: Posterior, generator: Noise = None) -> Tensor:
        means = experts.mean[: len(model.names), :, : max(1, round(self.share * model.latent_dim))]
        return contrast(means, batch.present, self.temperature)


def contrast(codes: Tensor, present: Tensor, temperature: float) -> Tensor:
    """NT-Xent of every two modalities in nats, a mean over pairs and rows. codes: (modality, batch, dimension)."""
    if len(codes) < 2:
        return codes.new_zeros(())
    pairs = list(zip(*combinations(range(len(codes)), 2), strict=True))
    first, second = (torch.stack([codes[i] for i in side]) for side in pairs)
    seen = torch.stack([present[:, i] & present[:, j] for i, j in zip(*pairs, strict=True)])
    return _mean(nt_xent(first, second, temperature, seen), seen)


def _mean(values: Tensor, seen: Tensor) -> Tensor:
    """The mean over rows of each row's mean over what it has; values, seen: (entry, batch)."""
    return (values.sum(0) / seen.sum(0).clamp(min=1)).mean()
