"""Likelihoods of binary values, classes and text."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent, OneHotCategorical
from torch.nn.functional import logsigmoid, pad

from polyvae.likelihoods.base import Form, OfNumbers, in_unit_interval, log1mexp

END = 2  # the id of the end token in every vocabulary (`polyvae.text`)


@dataclass(frozen=True)
class Bernoulli(OfNumbers):
    """Binary values, or intensities in [0, 1] read as probabilities; the decoder gives logits."""

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        fits = in_unit_interval(seen, form)
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
class Ordinal(Categorical):
    """One-hot vectors of ordered classes: cumulative logits (McCullagh 1980), P(class <= k) = sigmoid(t_k - location).

    A decoder gives as many numbers as there are classes: their mean is the location. The thresholds t_k are learned.
    """

    @property
    def parameters(self) -> int:
        return 2

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        reason = "is text; choose text or categorical" if form.is_text else super().unfit(seen, form)
        return reason or (None if seen.shape[-1] > 1 else "has a single class, which has no order")

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        output, log_steps = params.unbind(-event_dims - 1)
        steps = log_steps[..., :-1].exp()
        thresholds = steps.cumsum(-1) - output.shape[-1] / 2
        above = thresholds - output.mean(-1, keepdim=True)
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)), at the ends with b or -a infinite
        log_mass = (
            pad(logsigmoid(above), (0, 1)) + pad(logsigmoid(-above), (1, 0)) + pad(log1mexp(steps[..., 1:]), (1, 1))
        )
        return super().__call__(log_mass, event_dims)


@dataclass(frozen=True)
class Text(OfNumbers):
    """Words at each position (one-hot, last axis), scored up to and including the end token; the decoder gives logits.

    What follows the end token is not text, so it costs nothing. `Categorical` scores the padding too, as published.
    """

    is_one_hot: ClassVar[bool] = True

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        return None if form.is_text else "is not text"

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        return _Text(logits=params, validate_args=False)


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


def _is_one_hot(seen: Tensor) -> bool:
    return bool(((seen == 0) | (seen == 1)).all()) and bool((seen.sum(-1) == 1).all())
