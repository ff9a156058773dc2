"""Likelihoods of real numbers."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions import Laplace as TorchLaplace
from torch.distributions import Normal as TorchNormal
from torch.distributions import StudentT as TorchStudentT

from polyvae.errors import InputError
from polyvae.likelihoods.base import SCALE, Form, OfNumbers, log1mexp


@dataclass(frozen=True)
class LocationScale(OfNumbers):
    """scale: a fixed number > 0, or None for one learned scale per feature."""

    scale: float | None = SCALE

    def __post_init__(self) -> None:
        if self.scale is not None and not (self.scale > 0 and math.isfinite(self.scale)):
            raise InputError(f"likelihood scale {self.scale} must be a finite number above 0, or None to learn it")

    @property
    def parameters(self) -> int:
        return 2 if self.scale is None else 1

    @abstractmethod
    def __call__(self, params: Tensor, event_dims: int) -> Distribution: ...

    @property
    def sd(self) -> float:
        """The standard deviation where the scale is 1; inf for Student's t of at most 2 degrees."""
        return float(replace(self, scale=None)(torch.zeros(2, 1), 1).stddev)

    @property
    def has_sd(self) -> bool:
        return math.isfinite(self.sd)

    def location_and_scale(self, params: Tensor, event_dims: int) -> tuple[Tensor, Tensor]:
        if self.scale is not None:
            return params, params.new_full((), self.scale)  # unlike new_tensor, no copy from the host
        location, log_scale = params.unbind(-event_dims - 1)
        return location, log_scale.exp()


@dataclass(frozen=True)
class Laplace(LocationScale):
    """Laplace density."""

    takes_any_real: ClassVar[bool] = True

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        location, scale = self.location_and_scale(params, event_dims)
        base = TorchLaplace(location, scale, validate_args=False)
        if self.scale is None:
            return Independent(base, event_dims, validate_args=False)
        return _OneScale(base, event_dims, torch.abs, self.scale, math.log(2 * self.scale))


@dataclass(frozen=True)
class Normal(LocationScale):
    """Normal density."""

    takes_any_real: ClassVar[bool] = True

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        location, scale = self.location_and_scale(params, event_dims)
        base = TorchNormal(location, scale, validate_args=False)
        if self.scale is None:
            return Independent(base, event_dims, validate_args=False)
        return _OneScale(base, event_dims, torch.square, 2 * self.scale**2, math.log(self.scale * math.sqrt(math.tau)))


@dataclass(frozen=True)
class StudentT(LocationScale):
    """Student's t: tails that make single wild values cheap. freedom: its degrees, above 1, so that there is a mean."""

    freedom: float = 4.0
    takes_any_real: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.freedom > 1 and math.isfinite(self.freedom)):
            raise InputError(f"degrees of freedom {self.freedom} must be a finite number above 1")

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        location, scale = self.location_and_scale(params, event_dims)
        base = TorchStudentT(self.freedom, location, scale, validate_args=False)
        return Independent(base, event_dims, validate_args=False)


@dataclass(frozen=True)
class BinnedLaplace(LocationScale):
    """Probability of an 8-bit value k / 255: the Laplace mass of its bin, outer bins open. Nats of discrete data."""

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        is_bytes = seen.dtype == torch.uint8
        return super().unfit(seen, form) or (None if is_bytes else "does not hold bytes (images of uint8)")

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        location, scale = self.location_and_scale(params, event_dims)
        return Independent(_BinnedLaplace(location, scale, validate_args=False), event_dims, validate_args=False)


class _OneScale(Independent):
    """Features that share a known scale: log density = -sum(distance) / unit - features * log_normaliser.

    Summed first and scaled after, no array of scales or of their logarithms is made: a third of the time.
    """

    def __init__(
        self,
        base: TorchLaplace | TorchNormal,
        event_dims: int,
        distance: Callable[[Tensor], Tensor],
        unit: float,
        log_normaliser: float,
    ) -> None:
        super().__init__(base, event_dims, validate_args=False)
        self.distance, self.unit = distance, unit
        self.constant = log_normaliser * math.prod(self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        distances = self.distance(self.mean - value)
        return -distances.sum(tuple(range(-len(self.event_shape), 0))) / self.unit - self.constant


class _BinnedLaplace(TorchLaplace):
    """log P(bin of x) for x = k / 255, computed from tails so that no bin underflows to probability zero.

    `mean` is the location: what is shown of an image, as for the density.
    """

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return (super().sample(torch.Size(sample_shape)).clamp(0, 1) * 255).round() / 255

    def log_prob(self, value: Tensor) -> Tensor:
        half = 0.5 / 255
        low = torch.where(value < half, -torch.inf, (value - half - self.loc) / self.scale)
        high = torch.where(value > 1 - half, torch.inf, (value + half - self.loc) / self.scale)
        # Mirror bins right of the location to its left, where the distribution function is exp(t) / 2.
        mirrored = low + high > 0
        near, far = torch.where(mirrored, -low, high), torch.where(mirrored, -high, low)
        one_side = near.clamp(max=0) + log1mexp((near.clamp(max=0) - far).clamp(min=1e-12)) - math.log(2)
        across = torch.log1p(-0.5 * (-near.clamp(min=0)).exp() - 0.5 * far.clamp(max=0).exp())
        return torch.where(near <= 0, one_side, across)
