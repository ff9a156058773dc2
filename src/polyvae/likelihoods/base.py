"""What likelihoods have in common.

A likelihood is called with decoder outputs of shape (..., *shape), or (..., parameters, *shape) when each element has
several parameters, and returns a `Distribution` whose event is the modality: `log_prob` sums over it, in nats.
"""

import math
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

SCALE = 0.75  # what the paper's code base uses for images


class Form(NamedTuple):
    """What a modality's stored values are: token ids of a text, an image, numbers in units that are not the model's."""

    is_text: bool = False
    is_image: bool = False
    is_standardised: bool = False


class Likelihood(Protocol):
    """A frozen dataclass with fields that JSON can hold; `register` adds one of your own.

    is_one_hot: of one-hot vectors along the last axis. takes_any_real: of any real number, so that tables may be
    standardised for it.
    """

    is_one_hot: ClassVar[bool]
    takes_any_real: ClassVar[bool]

    @property
    def parameters(self) -> int:
        """Per element, at least 1: the decoder gives the first, all others are learned and the same for all z."""
        ...

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        """Why it cannot score the observed stored values `seen` (row, *stored_shape), or None if it can."""
        ...

    def __call__(self, params: Tensor, event_dims: int) -> Distribution: ...


class OfNumbers:
    """What likelihoods of numbers have in common: one parameter, values in [0, 1] for images, no text."""

    is_one_hot: ClassVar[bool] = False
    takes_any_real: ClassVar[bool] = False

    @property
    def parameters(self) -> int:
        return 1

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        if form.is_text:
            return "is text; choose text or categorical"
        return "has values outside [0, 1]" if form.is_image and not in_unit_interval(seen, form) else None


def in_unit_interval(seen: Tensor, form: Form) -> bool:
    is_bytes = seen.dtype == torch.uint8  # for value / 255
    return is_bytes or (not form.is_standardised and bool(((seen >= 0) & (seen <= 1)).all()))


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0 (Maechler 2012)."""
    x_small, x_large = x.clamp(max=math.log(2)), x.clamp(min=math.log(2))
    return torch.where(x < math.log(2), torch.log(-torch.expm1(-x_small)), torch.log1p(-torch.exp(-x_large)))
