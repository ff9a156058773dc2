"""Likelihoods: frozen descriptions that turn a decoder's output into a distribution over one modality.

A likelihood is called with decoder outputs of shape (..., *shape), or (..., 2, *shape) when each element has two
parameters, and returns a `Distribution` whose event is the modality: `log_prob` sums over it, in nats.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent, OneHotCategorical
from torch.distributions import Laplace as TorchLaplace
from torch.distributions import Normal as TorchNormal

from polyvae.errors import InputError
from polyvae.registry import Registry

SCALE = 0.75  # what the paper's code base uses for images
END = 2  # the id of the end token in every vocabulary (`polyvae.text`)


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
        """Of each element: 1, which the decoder gives, or 2, of which the second is learned and the same for all z."""
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
        return "has values outside [0, 1]" if form.is_image and not _in_unit_interval(seen, form) else None


@dataclass(frozen=True)
class _LocationScale(OfNumbers):
    """scale: a fixed number > 0, or None for one learned scale per feature."""

    scale: float | None = SCALE

    def __post_init__(self) -> None:
        if self.scale is not None and not (self.scale > 0 and math.isfinite(self.scale)):
            raise InputError(f"likelihood scale {self.scale} must be a finite number above 0, or None to learn it")

    @property
    def parameters(self) -> int:
        return 2 if self.scale is None else 1

    def location_and_scale(self, params: Tensor, event_dims: int) -> tuple[Tensor, Tensor]:
        if self.scale is not None:
            return params, params.new_full((), self.scale)  # unlike new_tensor, no copy from the host
        location, log_scale = params.unbind(-event_dims - 1)
        return location, log_scale.exp()


@dataclass(frozen=True)
class Laplace(_LocationScale):
    """Laplace density."""

    takes_any_real: ClassVar[bool] = True

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        location, scale = self.location_and_scale(params, event_dims)
        base = TorchLaplace(location, scale, validate_args=False)
        if self.scale is None:
            return Independent(base, event_dims, validate_args=False)
        return _OneScale(base, event_dims, torch.abs, self.scale, math.log(2 * self.scale))


@dataclass(frozen=True)
class Normal(_LocationScale):
    """Normal density."""

    takes_any_real: ClassVar[bool] = True

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        location, scale = self.location_and_scale(params, event_dims)
        base = TorchNormal(location, scale, validate_args=False)
        if self.scale is None:
            return Independent(base, event_dims, validate_args=False)
        return _OneScale(base, event_dims, torch.square, 2 * self.scale**2, math.log(self.scale * math.sqrt(math.tau)))


@dataclass(frozen=True)
class BinnedLaplace(_LocationScale):
    """Probability of an 8-bit value k / 255: the Laplace mass of its bin, outer bins open. Nats of discrete data."""

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        is_bytes = seen.dtype == torch.uint8
        return super().unfit(seen, form) or (None if is_bytes else "holds no bytes (images of uint8)")

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        location, scale = self.location_and_scale(params, event_dims)
        return Independent(_BinnedLaplace(location, scale, validate_args=False), event_dims, validate_args=False)


@dataclass(frozen=True)
class Bernoulli(OfNumbers):
    """Binary values, or intensities in [0, 1] read as probabilities; the decoder gives logits."""

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        fits = _in_unit_interval(seen, form)
        return super().unfit(seen, form) or (None if fits else "has values outside [0, 1]")

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        return Independent(TorchBernoulli(logits=params, validate_args=False), event_dims, validate_args=False)


@dataclass(frozen=True)
class Categorical(OfNumbers):
    """One-hot vectors along the last axis (classes, or words at each position); the decoder gives logits."""

    is_one_hot: ClassVar[bool] = True

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        if form.is_text:
            return None
        fits = not form.is_standardised and seen.dtype != torch.uint8 and _is_one_hot(seen)
        return super().unfit(seen, form) or (None if fits else "is not one-hot along its last axis")

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        return Independent(OneHotCategorical(logits=params, validate_args=False), event_dims - 1, validate_args=False)


@dataclass(frozen=True)
class Text(OfNumbers):
    """Words at each position (one-hot, last axis), scored up to and including the end token; the decoder gives logits.

    What follows the end token is no text, so it costs nothing. `Categorical` scores the padding too, as published.
    """

    is_one_hot: ClassVar[bool] = True

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        return None if form.is_text else "is no text"

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        return _Text(logits=params, validate_args=False)


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


class _WithGaps(Independent):
    """Elements of which single ones are missing (NaN): they are not scored."""

    def log_prob(self, value: Tensor) -> Tensor:
        known = ~value.isnan()
        each = self.base_dist.log_prob(torch.where(known, value, self.base_dist.mean.detach()))
        return torch.where(known, each, 0.0).sum(tuple(range(-self.reinterpreted_batch_ndims, 0)))


def with_gaps(law: Distribution) -> Distribution:
    """The law, of values of which some are NaN. Raises InputError where elements cannot be scored one by one."""
    if not isinstance(law, Independent) or law.reinterpreted_batch_ndims != len(law.event_shape):
        raise InputError(f"{type(law).__name__} cannot score a table with single missing values; choose normal")
    return _WithGaps(law.base_dist, law.reinterpreted_batch_ndims, validate_args=False)


class _Text(OneHotCategorical):
    """A sequence of words: the event is (position, word)."""

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)
        self._batch_shape, self._event_shape = logits.shape[:-2], logits.shape[-2:]

    def log_prob(self, value: Tensor) -> Tensor:
        ends = value[..., END]
        is_text = ends.cumsum(-1) - ends == 0  # no end token before this position
        scores = (self.logits * value).sum(-1)  # torch normalises logits at the start
        return torch.where(is_text, scores, torch.zeros_like(scores)).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        words = Categorical()(self.logits, 2)
        return words.sample(torch.Size(sample_shape))


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
        one_side = near.clamp(max=0) + _log1mexp((near.clamp(max=0) - far).clamp(min=1e-12)) - math.log(2)
        across = torch.log1p(-0.5 * (-near.clamp(min=0)).exp() - 0.5 * far.clamp(max=0).exp())
        return torch.where(near <= 0, one_side, across)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0 (Maechler 2012)."""
    x_small, x_large = x.clamp(max=math.log(2)), x.clamp(min=math.log(2))
    return torch.where(x < math.log(2), torch.log(-torch.expm1(-x_small)), torch.log1p(-torch.exp(-x_large)))


def _in_unit_interval(seen: Tensor, form: Form) -> bool:
    is_bytes = seen.dtype == torch.uint8  # for value / 255
    return is_bytes or (not form.is_standardised and bool(((seen >= 0) & (seen <= 1)).all()))


def _is_one_hot(seen: Tensor) -> bool:
    return bool(((seen == 0) | (seen == 1)).all()) and bool((seen.sum(-1) == 1).all())


LIKELIHOODS: Registry[type[Any]] = Registry(
    "likelihood",
    {
        "laplace": Laplace,
        "normal": Normal,
        "laplace_8bit": BinnedLaplace,
        "bernoulli": Bernoulli,
        "categorical": Categorical,
        "text": Text,
    },
)


def register(name: str, likelihood: type[Any]) -> type[Any]:
    """Adds a `Likelihood` of your own; `OfNumbers` is a base that has all but `__call__`.

    Raises InputError for a name that is taken, for what is no dataclass, and for a class that lacks something.
    """
    if not is_dataclass(likelihood):
        raise InputError(f"likelihood {name!r} must be a frozen dataclass, whose fields are saved with a model")
    parts = ("parameters", "is_one_hot", "takes_any_real", "unfit", "__call__")
    if lacking := [part for part in parts if not hasattr(likelihood, part)]:
        raise InputError(f"likelihood {name!r} lacks {', '.join(lacking)}; inherit from likelihoods.OfNumbers")
    return LIKELIHOODS.register(name, likelihood)


def has_scale(kind: str) -> bool:
    """Whether the likelihood called `kind` has a scale to choose."""
    return "scale" in {field.name for field in fields(LIKELIHOODS.named(kind))}


def make(kind: str, scale: float | None = SCALE) -> Likelihood:
    """The likelihood called `kind`; `scale` is for those that have one (None: learned)."""
    likelihood = LIKELIHOODS.named(kind)
    return likelihood(scale=scale) if has_scale(kind) else likelihood()


def kind_of(likelihood: Likelihood) -> str:
    """The name it is registered by. Raises InputError for one that is not."""
    for name, registered in LIKELIHOODS.items():
        if type(likelihood) is registered:
            return name
    name = type(likelihood).__name__
    raise InputError(f"likelihood {name} has no name to be saved by; say likelihoods.register(NAME, {name})")


def to_json(likelihood: Likelihood) -> dict[str, Any]:
    return {"kind": kind_of(likelihood), **asdict(likelihood)}  # ty: ignore[invalid-argument-type]


def from_json(content: Mapping[str, Any]) -> Likelihood:
    settings = {name: value for name, value in content.items() if name != "kind"}
    return LIKELIHOODS.named(content["kind"])(**settings)
