"""What a method asks of its experts beyond likelihoods and divergences: functions of a whole batch.

A regulariser is called as (model, batch, experts, generator), experts being what `encode` returns for the batch, and
returns a scalar to minimise. It compares rows with each other, so that its value depends on the batch
size, and noise that belongs to rows does not make it independent of what else is in the batch.

Contrast and cycle are means over rows, in nats; a cycle of squared distances is in the squared units of codes. A row
counts what it has: it averages over its own pairs of modalities (with none, it adds 0), and is compared with rows that
have both modalities of a pair. A batch without any adds 0, without a gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyvae.covariate import beside
from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.models.contract import JointModel, has_private_codes, shared_dim_of
from polyvae.noise import Noise
from polyvae.objectives.parts import Bound, loss_alone, rsample
from polyvae.options import require
from polyvae.posteriors import Posterior
from polyvae.subsets import SubsetMixture

CycleKind = Literal["contrast", "square"]


class Regulariser(NamedTuple):
    """weight * function(model, batch, experts, generator) is added to the loss; name: in histories and records.

    passes: how often it decodes and encodes again each modality that a row has.
    """

    name: str
    weight: float
    function: Callable[[JointModel, Batch, Posterior, Noise], Tensor]
    passes: int = 0


def minimised_alone(regulariser: Regulariser) -> Callable[..., Bound]:
    """The objective of a stage that is this regulariser, times its weight, and nothing else."""

    def objective(
        model: JointModel, batch: Batch, mixture: SubsetMixture, *, generator: Noise = None, **settings: Any
    ) -> Bound:
        value = regulariser.function(model, batch, model.encode(batch), generator)
        return loss_alone(regulariser.weight * value, batch)._replace(regularisers={regulariser.name: value})

    return objective


def nt_xent(first: Tensor, second: Tensor, temperature: float, seen: Tensor) -> Tensor:
    """-log softmax of a row's partner among all others of both views (NT-Xent; Chen et al. 2020), in nats.

    first, second: (..., batch, dimension), two views, of which only the angles count; seen: Bool (..., batch), the
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
    """NT-Xent between the posterior means of z of every two modalities, a mean over pairs (CrossMI of IDMVAE, GMC).

    temperature: with C classes that means separate perfectly and evenly, log C - log(1 + (C - 1) e^-g) nats of their
    entropy, g = C / (C - 1) / temperature, are captured at most: of 10 classes .93 at 1, 2.27 at .2 and 2.30 at .1.
    share: of the dimensions of z, the first ones, that are compared; the others may differ between modalities.
    times_modalities: whether a row counts as often as it has modalities, as in the code of IDMVAE.
    Raises InputError for a temperature that is not above 0, and a share outside (0, 1].
    """

    temperature: float = 0.2
    share: float = 1.0
    times_modalities: bool = False

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)
        require(0 < self.share <= 1, "share", self.share, "above 0 and at most 1")

    def __call__(self, model: JointModel, batch: Batch, experts: Posterior, generator: Noise = None) -> Tensor:
        """The value of `batch`, a scalar; nothing is drawn."""
        means = experts.mean[: len(model.names), :, : max(1, round(self.share * shared_dim_of(model)))]
        return contrast(means, batch.present, self.temperature, self.times_modalities)


def contrast(codes: Tensor, present: Tensor, temperature: float, times_modalities: bool = False) -> Tensor:
    """NT-Xent of every two modalities in nats, a mean over pairs and rows. codes: (modality, batch, dimension)."""
    if len(codes) < 2:
        return codes.new_zeros(())
    pairs = list(zip(*combinations(range(len(codes)), 2), strict=True))
    first, second = (torch.stack([codes[i] for i in side]) for side in pairs)
    seen = torch.stack([present[:, i] & present[:, j] for i, j in zip(*pairs, strict=True)])
    return _mean(nt_xent(first, second, temperature, seen), seen, present if times_modalities else None)


@dataclass(frozen=True)
class Cycle:
    """Codes of mixed rows survive decoding and encoding again, a mean over modalities (GenAug of IDMVAE).

    For z, w of one draw of each expert and z', w' those of the row before (of those with the modality): NT-Xent between
    the posterior means of z of a row and of the decoder's mean at (z, w'), and between those of w of the row and of the
    decoder's mean at (z', w). Gradients reach encoders and decoders. It needs a model with private codes.
    temperature, times_modalities: as in `Contrast`. share: that of z in the sum of both; w has the rest.
    Raises InputError for a temperature that is not above 0, and a share outside [0, 1].
    kind: "square" takes the squared distance of the two means in place of NT-Xent; it has no temperature.
    """

    temperature: float = 0.2
    times_modalities: bool = False
    share: float = 0.5
    kind: CycleKind = "contrast"

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)
        require(0 <= self.share <= 1, "cycle_share", self.share, "in [0, 1]")

    def __call__(self, model: JointModel, batch: Batch, experts: Posterior, generator: Noise = None) -> Tensor:
        """The value of `batch`, a scalar. Raises InputError for a model without private codes."""
        if not has_private_codes(model):
            raise InputError("a cycle mixes private codes, and the model has none; use the kind of model 'private'")
        drawn, seen, split = rsample(experts, generator), batch.present.mT, model.shared_dim
        before = drawn.take_along_dim(_before(seen)[..., None], 1)
        mixed = torch.cat([_mixed(drawn, before, split), _mixed(before, drawn, split)], 1)  # (modality, 2 batch, u)
        level = None if batch.level is None else batch.level.repeat(2, 1)
        laws = model.decode(dict(zip(model.names, beside(mixed, level), strict=True)))
        values = {name: law.mean for name, law in laws.items()}
        again = Batch.known(values, batch.present.repeat(2, 1), None, is_complete=batch.is_complete, level=level)
        means = model.encode(again).mean
        of_z, of_w = means.chunk(2, 1)  # private codes of other modalities have mean 0, and no part in either kind
        shared = self._missed(experts.mean[..., :split], of_z[..., :split], seen)
        private = self._missed(experts.mean[..., split:], of_w[..., split:], seen)
        both = self.share * shared + (1 - self.share) * private
        return _mean(both, seen, batch.present if self.times_modalities else None)

    def _missed(self, first: Tensor, second: Tensor, seen: Tensor) -> Tensor:
        """How far means (modality, batch, dimension) are from being the same, (modality, batch); 0 where not seen."""
        if self.kind == "contrast":
            return nt_xent(first, second, self.temperature, seen)
        return torch.where(seen, (first - second).square().sum(-1), 0.0)


def _mixed(shared: Tensor, private: Tensor, split: int) -> Tensor:
    return torch.cat([shared[..., :split], private[..., split:]], -1)


def _before(seen: Tensor) -> Tensor:
    """Per row, the one before it that `seen` (modality, batch) has, the last one for the first: Int64, as `seen`."""
    rows = torch.arange(seen.shape[-1], device=seen.device)
    latest = torch.where(seen, rows, -1).cummax(-1).values
    before = latest.roll(1, -1)
    return torch.where(before < 0, latest[..., -1:], before).clamp(min=0)


def _mean(losses: Tensor, seen: Tensor, times: Tensor | None) -> Tensor:
    """The mean over rows of each row's mean over what it has; losses, seen: (entry, batch); times: factors by row."""
    of_rows = losses.sum(0) / seen.sum(0).clamp(min=1)
    return (of_rows if times is None else of_rows * times.sum(-1)).mean()


def _check_temperature(temperature: float) -> None:
    require(temperature > 0, "temperature", temperature, "above 0")
