"""Diagonal Gaussians: products of experts in log space, KL divergence from N(0, I), mixtures. All values in nats."""

import math
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from polyvae import noise
from polyvae.errors import InputError
from polyvae.noise import Noise

LOGVAR_LIMIT = 20.0
MEAN_LIMIT = 1e4
NO_PRODUCT = "use Normal posteriors, or an S of single modalities without prior expert (mmvae, unimodal)"


class Gaussian(NamedTuple):
    """A diagonal Gaussian; both fields have shape (..., latent)."""

    mean: Tensor
    logvar: Tensor

    has_products = True  # a product of such densities is one again

    def like(self, mean: Tensor, logvar: Tensor) -> Self:
        """A law of the same family."""
        return self._replace(mean=mean, logvar=logvar)

    def rsample(self, standard: Tensor) -> Tensor:
        """The reparameterised sample mean + sd * standard; `standard` is Normal(0, 1), (..., latent)."""
        return self.mean + (0.5 * self.logvar).exp() * standard

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at z (..., latent), summed over the latent axis: (...)."""
        standard = (z - self.mean) * (-0.5 * self.logvar).exp()
        return -0.5 * (standard.square() + self.logvar + math.log(2 * math.pi)).sum(-1)


class Factorised(Protocol):
    """A law with independent dimensions by mean and log variance: `Gaussian`, or another family of posteriors."""

    @property
    def mean(self) -> Tensor: ...

    @property
    def logvar(self) -> Tensor: ...

    @property
    def has_products(self) -> bool: ...

    def rsample(self, standard: Tensor) -> Tensor: ...

    def log_prob(self, z: Tensor) -> Tensor: ...

    def like(self, mean: Tensor, logvar: Tensor) -> Self: ...


Law = TypeVar("Law", bound=Factorised)


def picked(law: Law, index: Any) -> Law:
    """The same law at `index` of its leading axes."""
    return law.like(law.mean[index], law.logvar[index])


def bounded(mean: Tensor, logvar: Tensor) -> Gaussian:
    """The only place where encoder outputs are limited: logvar smoothly to [-20, 20], mean to [-1e4, 1e4].

    exp(100) overflows float32 in the KL and in the sample, so a product of experts alone cannot keep the
    objective finite. Within |logvar| < 10 and |mean| < 10 the map is the identity to 5e-5.
    """
    precise = torch.promote_types(logvar.dtype, torch.float32)  # mixed precision ends here
    mean, logvar = mean.to(precise), logvar.to(precise)
    above = softplus(logvar + LOGVAR_LIMIT) - LOGVAR_LIMIT
    limited = LOGVAR_LIMIT - softplus(LOGVAR_LIMIT - above)
    return Gaussian(MEAN_LIMIT * torch.tanh(mean / MEAN_LIMIT), limited)


def product_of_experts(experts: Law, member: Tensor, prior_expert: bool | Tensor) -> Law:
    """Product of the member experts, and of N(0, I) where `prior_expert` says so (Wu & Goodman 2018).

    experts: fields of shape (modality, batch, latent).
    member: Bool (modality,), (batch, modality) or (subset, batch or 1, modality): who takes part.
    prior_expert: bool, or Bool of member's shape without its last axis.
    Returns fields of shape (batch, latent) or (subset, batch, latent).

    In log space: mean = softmax(-logvar) average over members, logvar = -logsumexp(-logvar). One expert is
    returned exactly, and any logvar in [-100, 100] stays finite. Raises InputError on an empty product, and where
    the experts' family has no products (Laplace) and more than one takes part.
    """
    prior = torch.as_tensor(prior_expert, device=member.device).expand(member.shape[:-1])
    check_product(experts, member, prior)
    return product(experts, member, prior)


def check_product(experts: Factorised, member: Tensor, prior: Tensor) -> None:
    """Raises InputError for an empty product, and for experts without products; arguments as in `product`."""
    if not bool((member.any(-1) | prior).all()):
        raise InputError("product of experts with no member and no prior expert; observe at least one modality per row")
    if not experts.has_products and bool((member.sum(-1) + prior > 1).any()):
        raise no_product(experts)


def no_product(experts: Factorised) -> InputError:
    return InputError(f"{type(experts).__name__} posteriors cannot be multiplied; {NO_PRODUCT}")


def product(experts: Law, member: Tensor, prior: Tensor) -> Law:
    """`product_of_experts` where its conditions are known to hold; prior: Bool of member's shape without the last axis.

    It reads nothing from the device.
    """
    taking_part = torch.cat([member.movedim(-1, 0), prior[None]])[..., None]
    if taking_part.dim() == 2:  # member was (modality,): the same experts for every row
        taking_part = taking_part[:, None]
    inner = (1,) * (taking_part.dim() - 3)
    count, *rows = experts.mean.shape
    nobody = experts.mean.new_zeros(1, *inner, *rows)
    means = torch.cat([experts.mean.view(count, *inner, *rows), nobody])
    log_precision = torch.cat([-experts.logvar.view(count, *inner, *rows), nobody])
    log_precision = torch.where(taking_part, log_precision, -torch.inf)
    return experts.like((log_precision.softmax(0) * means).sum(0), -log_precision.logsumexp(0))


def with_prior_power(experts: Law, member: Tensor, power: Tensor) -> Law:
    """The product of the member experts and of N(0, I) to a power, which may be negative.

    experts, member: as in `product`; power: of member's shape without the last axis. A precision sum_m L_m + power that
    a negative power leaves below that of the narrowest expert is held to it: this happens only where the power divides
    by more than the experts hold of the prior.
    """
    inner = (1,) * (member.dim() - 2)
    count, *rows = experts.mean.shape
    log_precision, means = (field.view(count, *inner, *rows) for field in (-experts.logvar, experts.mean))
    precision = torch.where(member.movedim(-1, 0)[..., None], log_precision, -torch.inf).exp()
    total = torch.maximum(precision.sum(0) + power[..., None], precision.amax(0))
    return experts.like((precision * means).sum(0) / total, -total.log())


def geometric(laws: Law, weights: Tensor) -> Law:
    """The normalised product of laws (part, ..., latent) to the power of weights (part, ...), which sum to 1.

    Its precision is the weighted mean of theirs, so it is never narrower than all of them.
    """
    log_precision = weights.log()[..., None] - laws.logvar
    return laws.like((log_precision.softmax(0) * laws.mean).sum(0), -log_precision.logsumexp(0))


def kl(a: Gaussian, b: Gaussian) -> Tensor:
    """KL(a || b) in nats, summed over the latent axis: (...)."""
    return kl_by_dimension(a, b).sum(-1)


def kl_by_dimension(a: Gaussian, b: Gaussian) -> Tensor:
    """KL of each latent dimension: (..., latent)."""
    difference = (a.mean - b.mean).square() * (-b.logvar).exp()
    return 0.5 * (b.logvar - a.logvar + (a.logvar - b.logvar).exp() + difference - 1)


def kl_to_prior(posterior: Gaussian) -> Tensor:
    """KL(posterior || N(0, I)) in nats, summed over the latent axis: (...)."""
    return 0.5 * (posterior.logvar.exp() + posterior.mean.square() - 1 - posterior.logvar).sum(-1)


class GaussianMixture(NamedTuple, Generic[Law]):
    """The mixture posterior sum_A w_A posterior(z | x_A) (paper, eq. 1), per row.

    components: fields (component, batch, latent); weights: (batch, component), sum to one.
    Components are of any family of posteriors.
    """

    components: Law
    weights: Tensor

    @property
    def mean(self) -> Tensor:
        """Weighted mean of the components' means: (batch, latent)."""
        return torch.einsum("bc,cbl->bl", self.weights, self.components.mean)

    def sample(self, generator: Noise = None) -> Tensor:
        """One draw per row, from a component drawn by its weight: (batch, latent)."""
        rows, latent = self.components.mean.shape[1:]
        u = noise.uniform(generator, rows, self.weights)
        chosen = noise.index_at(u, self.weights)
        law = picked(self.components, (chosen, torch.arange(rows, device=chosen.device)))
        return law.rsample(noise.normal(generator, rows, latent, law.mean))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of the mixture at z (..., batch, latent): (..., batch)."""
        per_component = torch.stack([self.component(c).log_prob(z) for c in range(self.weights.shape[1])], -1)
        return (self.weights.log() + per_component).logsumexp(-1)

    def component(self, index: int) -> Law:
        return picked(self.components, index)
