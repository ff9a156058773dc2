"""Families of posteriors: Normal or Laplace, and how an encoder's second output becomes their scale."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor
from torch.nn.functional import softplus

from polyvae import gaussian
from polyvae.errors import InputError
from polyvae.gaussian import MEAN_LIMIT, Gaussian, bounded

Kind = Literal["normal", "laplace"]
Scale = Literal["exp", "softplus", "softmax"]
LEAST_SCALE = 1e-6


class Laplace(NamedTuple):
    """A factorised Laplace law by its mean and log variance, log(2 b^2), both (..., latent)."""

    mean: Tensor
    logvar: Tensor

    has_products = False

    def like(self, mean: Tensor, logvar: Tensor) -> Self:
        """A law of the same family."""
        return self._replace(mean=mean, logvar=logvar)

    @property
    def log_scale(self) -> Tensor:
        """log b."""
        return 0.5 * (self.logvar - math.log(2))

    def rsample(self, standard: Tensor) -> Tensor:
        """The reparameterised sample, at the quantile of `standard`, which is Normal(0, 1), (..., latent)."""
        tail = torch.special.log_ndtr(-standard.abs())
        return self.mean + self.log_scale.exp() * standard.sign() * -(tail + math.log(2))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at z (..., latent), summed over the latent axis: (...)."""
        distance = (z - self.mean).abs() * (-self.log_scale).exp()
        return -(distance + self.log_scale + math.log(2)).sum(-1)


Posterior = Gaussian | Laplace
LAWS: Mapping[Kind, type[Gaussian] | type[Laplace]] = {"normal": Gaussian, "laplace": Laplace}


def of_scale(kind: Kind, mean: Tensor, log_scale: Tensor) -> Posterior:
    """The law with this mean and log scale: the standard deviation of a Normal, b of a Laplace."""
    return LAWS[kind](mean, 2 * log_scale + (math.log(2) if kind == "laplace" else 0.0))


def shared_scale(logits: Tensor) -> Tensor:
    """Scales (..., D) that sum to D and are at least 1e-6: softmax(l) D (1 - 1e-6) + 1e-6 (Shi et al. 2019)."""
    return logits.softmax(-1) * logits.shape[-1] * (1 - LEAST_SCALE) + LEAST_SCALE


@dataclass(frozen=True)
class Family:
    """What the two outputs of an encoder mean, each (batch, latent): the mean, and through `scale` the width.

    kind: normal or laplace. scale: exp, the second output is the log variance; softplus, the scale is softplus(l) +
    1e-6; softmax, the scales softmax(l) D (1 - 1e-6) + 1e-6 of the D dimensions sum to D, so that they cannot all
    shrink (Shi et al. 2019). A scale is the standard deviation of a Normal, b of a Laplace.
    Raises InputError for an unknown kind or scale.
    """

    kind: Kind = "normal"
    scale: Scale = "exp"

    def __post_init__(self) -> None:
        for name, known in (("kind", get_args(Kind)), ("scale", get_args(Scale))):
            if getattr(self, name) not in known:
                raise InputError(f"posterior {name} {getattr(self, name)!r}; choose one of {', '.join(known)}")

    @property
    def has_products(self) -> bool:
        return LAWS[self.kind].has_products

    def __call__(self, mean: Tensor, output: Tensor) -> Posterior:
        """The posterior; finite whatever the encoder gives (`gaussian.bounded`)."""
        if self.scale == "exp":
            return LAWS[self.kind](*bounded(mean, output))
        precise = torch.promote_types(output.dtype, torch.float32)  # mixed precision ends here
        mean, output = mean.to(precise), output.to(precise)
        if self.scale == "softplus":
            law = of_scale(self.kind, mean, (softplus(output) + LEAST_SCALE).log())
            return LAWS[self.kind](*bounded(*law))
        return of_scale(self.kind, MEAN_LIMIT * torch.tanh(mean / MEAN_LIMIT), shared_scale(output).log())

    def blank(self, zeros: Tensor) -> Posterior:
        """What stands where a modality is absent, and is given no weight."""
        return LAWS[self.kind](zeros, zeros)


def kl(a: Posterior, b: Posterior) -> Tensor:
    """KL(a || b) in nats, summed over the latent axis: (...). A closed form for every pair of families."""
    return kl_by_dimension(a, b).sum(-1)


def kl_by_dimension(a: Posterior, b: Posterior) -> Tensor:
    """KL of each latent dimension: (..., latent)."""
    shift = a.mean - b.mean
    if isinstance(a, Gaussian) and isinstance(b, Gaussian):
        return gaussian.kl_by_dimension(a, b)
    if isinstance(b, Gaussian):  # Laplace against Normal: entropies, and the second moment
        moment = (a.logvar.exp() + shift.square()) * (-b.logvar).exp()
        return 0.5 * (b.logvar + math.log(2 * math.pi) + moment) - (Laplace(*a).log_scale + math.log(2) + 1)
    ratio = (-b.log_scale).exp()
    if isinstance(a, Laplace):
        apart, own = shift.abs(), a.log_scale.exp()
        return b.log_scale - a.log_scale - 1 + ratio * (apart + own * (-apart / own).exp())
    sd = (0.5 * a.logvar).exp()  # Normal against Laplace: the mean of a folded Normal
    standard = shift / sd
    folded = sd * math.sqrt(2 / math.pi) * (-0.5 * standard.square()).exp()
    folded = folded + shift * torch.erf(standard / math.sqrt(2))
    return b.log_scale + math.log(2) + ratio * folded - 0.5 * (a.logvar + math.log(2 * math.pi * math.e))
