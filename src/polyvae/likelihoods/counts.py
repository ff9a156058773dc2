"""Likelihoods of counts: 0, 1, 2, ..."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions import NegativeBinomial as TorchNegativeBinomial
from torch.distributions import Poisson as TorchPoisson
from torch.distributions.constraints import Constraint
from torch.nn.functional import logsigmoid, softplus

from polyvae.errors import InputError
from polyvae.likelihoods.base import Form, OfNumbers

MOST = 25.0  # the log of an expected count tends to it at most


@dataclass(frozen=True)
class Counts(OfNumbers):
    """Features that are independent given z, by the log of their expected counts and what else `law` needs.

    library: None: the decoder gives the logs of the expected counts. A number: it gives logits of the features' shares
    in the row's total, which is known, not modelled, where a row is scored, as in scvi-tools with observed library
    sizes. Where there is no row to score (absent or generated), the total is this number.
    """

    library: float | None = None

    def __post_init__(self) -> None:
        if self.library is not None and not (self.library > 0 and math.isfinite(self.library)):
            raise InputError(f"library {self.library} must be a finite number above 0, or None for counts without one")

    def unfit(self, seen: Tensor, form: Form) -> str | None:
        if form.is_text or form.is_image:
            return f"is {'text' if form.is_text else 'an image'}, not a table of counts"
        is_scaled = seen.dtype == torch.uint8 or form.is_standardised
        are_counts = not is_scaled and bool(((seen >= 0) & (seen % 1 == 0)).all())
        return None if are_counts else "holds values that are not counts (0, 1, 2, ...)"

    @staticmethod
    @abstractmethod
    def law(log_mean: Tensor, *learned: Tensor) -> Distribution:
        """Per feature. learned: the other parameters, the same for all z."""

    def __call__(self, params: Tensor, event_dims: int) -> Distribution:
        output, *learned = params.unbind(-event_dims - 1) if self.parameters > 1 else (params,)
        if self.library is None:
            law = self.law(MOST - softplus(MOST - output), *learned)
        else:
            log_share = output.flatten(-event_dims).log_softmax(-1).view_as(output)
            law = _OfTotals(lambda log_total: self.law(log_share + log_total, *learned), self.library, event_dims)
        return Independent(law, event_dims, validate_args=False)


@dataclass(frozen=True)
class Poisson(Counts):
    """Variance = mean."""

    @staticmethod
    def law(log_mean: Tensor, *learned: Tensor) -> Distribution:
        return _Poisson(log_mean)


@dataclass(frozen=True)
class NegativeBinomial(Counts):
    """Variance = mean + mean^2 / theta; the inverse dispersion theta is learned per feature (Lopez et al. 2018)."""

    @property
    def parameters(self) -> int:
        return 2

    @staticmethod
    def law(log_mean: Tensor, *learned: Tensor) -> Distribution:
        (log_theta,) = learned
        return TorchNegativeBinomial(log_theta.exp(), logits=log_mean - log_theta, validate_args=False)


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomial(Counts):
    """0 with a probability that is learned, one per feature, else negative binomial with that mean."""

    @property
    def parameters(self) -> int:
        return 3

    @staticmethod
    def law(log_mean: Tensor, *learned: Tensor) -> Distribution:
        log_theta, logit = learned
        return _ZeroInflated(NegativeBinomial.law(log_mean, log_theta), logit)


class _Poisson(TorchPoisson):
    """By the log of the rate, which may underflow."""

    def __init__(self, log_rate: Tensor) -> None:
        super().__init__(log_rate.exp(), validate_args=False)
        self.log_rate = log_rate

    def log_prob(self, value: Tensor) -> Tensor:
        return value * self.log_rate - self.rate - (value + 1).lgamma()


class _ZeroInflated(Distribution):
    """0 with probability sigmoid(logit), else of the law `counts`."""

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, counts: Distribution, logit: Tensor) -> None:
        super().__init__(counts.batch_shape, validate_args=False)
        self.counts, self.logit = counts, logit

    @property
    def mean(self) -> Tensor:
        return self.logit.neg().sigmoid() * self.counts.mean

    @property
    def variance(self) -> Tensor:
        share = self.logit.neg().sigmoid()
        return share * (self.counts.variance + (1 - share) * self.counts.mean.square())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self.counts.sample(torch.Size(sample_shape))
        return drawn * torch.bernoulli(self.logit.neg().sigmoid().expand_as(drawn))

    def log_prob(self, value: Tensor) -> Tensor:
        of_counts = logsigmoid(-self.logit) + self.counts.log_prob(value)
        return torch.where(value == 0, torch.logaddexp(logsigmoid(self.logit), of_counts), of_counts)


class _OfTotals(Distribution):
    """Features whose expected total is that of the value that is scored, over the last `event_dims` axes.

    law_of: the log of a total -> the law of the features. library: the total of what is drawn, and of the moments.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, law_of: Callable[[Tensor | float], Distribution], library: float, event_dims: int) -> None:
        self.law_of, self.typical = law_of, law_of(math.log(library))
        self.axes = tuple(range(-event_dims, 0))
        super().__init__(self.typical.batch_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.typical.mean

    @property
    def variance(self) -> Tensor:
        return self.typical.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.typical.sample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        total = value.sum(self.axes, keepdim=True)
        return self.law_of(total.clamp(min=1).log()).log_prob(value)  # an empty row has no shares
