"""Rules by which several Normal experts become one posterior, beside the product (`gaussian.product`).

Each takes the experts, fields (modality, batch, latent), and who takes part: member, Bool (batch, modality) or (subset,
batch or 1, modality), nowhere empty. It returns fields of shape (batch, latent) or (subset, batch, latent). Members are
read by mask alone, so a modality that is not a member might as well not exist, and nothing is read from the device. One
expert is returned as it is, except by `dense`, which multiplies it by the prior, and by `over_messages`, which holds a
power of the prior.
"""

import math

import torch
from torch import Tensor

from polyvae import gaussian
from polyvae.gaussian import Law, picked


def over_messages(experts: Law, member: Tensor) -> Law:
    """p^(1 - |A| / M) prod q_m: each expert is a message that carries 1 / M of the prior.

    This holds where a product of all without prior expert is the exact posterior and no expert differs from the
    others in what it knows (MVTCAE). For A = all it is that product. Of one expert it is no longer that expert.
    """
    return gaussian.with_prior_power(experts, member, 1 - member.to(experts.mean.dtype).mean(-1))


def correlated(experts: Law, member: Tensor, rho: float) -> Law:
    """The best unbiased mean of experts whose errors have correlation rho (Mancisidor et al. 2025, section 3.1).

    A dimension's covariance is C = D R D, D the standard deviations of the members, R with 1 on its diagonal and rho
    off it: mean 1'C^-1 m / 1'C^-1 1, variance 1 / 1'C^-1 1. For rho above the ratio of two standard deviations the
    wider expert has a negative weight. rho: below 1, and above -1 / (k - 1) for k members.
    """
    means, logvars = _laid_out(experts, member)
    taking_part = member.movedim(-1, 0)[..., None]
    inverse = torch.where(taking_part, (-0.5 * logvars).exp(), 0.0)
    count = taking_part.sum(0).to(means.dtype)
    mean_inverse = inverse.sum(0) / count
    apart = torch.where(taking_part, inverse - mean_inverse, 0.0) / (1 - rho)
    together = mean_inverse / (1 + (count - 1) * rho)
    # sum of squares, so that no rounding makes it negative
    precision = (apart * (inverse - mean_inverse)).sum(0) + count * mean_inverse * together
    return experts.like((inverse * (apart + together) * means).sum(0) / precision, -precision.log())


def dense(experts: Law, member: Tensor, roots: Tensor) -> Law:
    """The product of N(0, I) and of experts whose dimensions are correlated, by its marginals.

    roots: (modality, latent, latent), rows of length 1. Expert m has the precision D R R' D, D the diagonal matrix of
    its inverse standard deviations, and adds D^2 times its mean. So with R = I it is the product of experts with prior
    expert, and with the right R and linear experts the exact posterior of factor analysis given any subset. Of this
    Normal law, the mean and the variances are kept. The linear algebra is in double precision.

    The inverse V of the precision P has no gradient of its own. Terms that are 0 give it the first derivative,
    -V dP V: two products of matrices, in place of a backward pass through a factorisation. All experts must be finite,
    members or not (`gaussian.bounded`).
    """
    scale = (-0.5 * experts.logvar).exp().double()
    correlations = roots.double() @ roots.double().mT
    each = torch.stack([s[..., None] * r * s[..., None, :] for s, r in zip(scale, correlations, strict=True)])
    members = member.double().expand(*member.shape[:-2], scale.shape[1], -1)
    told = torch.einsum("...bm,mbi->...bi", members, scale.square() * experts.mean.double())[..., None]
    precision = torch.einsum("...bm,mbij->...bij", members, each)
    precision = precision + torch.eye(told.shape[-2], dtype=told.dtype, device=told.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(precision.detach()).L)
    mean, variance = inverse @ told, inverse.diagonal(dim1=-2, dim2=-1)
    if precision.requires_grad:
        mean = mean - _change(inverse @ (precision @ mean.detach()))
        variance = variance - _change((inverse @ precision * inverse).sum(-1))
    return experts.like(mean[..., 0].to(experts.mean), variance.log().to(experts.mean))


def weighted(experts: Law, member: Tensor, logits: Tensor) -> Law:
    """The product of experts to the power of weights, the softmax over the members of logits (modality, latent).

    Its precision is the weighted mean of theirs (generalised product of experts, Cao & Fleet 2014).
    """
    means, logvars = _laid_out(experts, member)
    inner = (1,) * (member.dim() - 1)
    own = logits.view(len(logits), *inner, logits.shape[-1])
    log_weights = torch.where(member.movedim(-1, 0)[..., None], own, -torch.inf).log_softmax(0)
    log_precision = log_weights - logvars
    return experts.like((log_precision.softmax(0) * means).sum(0), -log_precision.logsumexp(0))


def pairs(count: int) -> list[tuple[int, int]]:
    """The parts of `hoelder`: all i <= j, (i, i) for an expert alone."""
    return [(i, j) for i in range(count) for j in range(i, count)]


def hoelder(experts: Law, member: Tensor) -> tuple[Law, Tensor]:
    """(sum_m sqrt q_m)^2, normalised, which is a mixture: of every expert, and of every pair, normalised sqrt(q_i q_j).

    A pair's weight is 2 S_ij times that of an expert, S_ij the integral of sqrt(q_i q_j) over all dimensions, so that
    many dimensions leave little of it. Returns components (part, batch, latent), parts as in `pairs`, and log weights
    (part, batch) or (part, subset, batch), -inf unless both are members; the logs of overlaps are summed
    in the type of the experts, and overlaps that underflow leave the mixture of the experts.
    """
    parts = pairs(len(experts.mean))
    first, second = (
        experts.like(*(torch.stack([field[part[side]] for part in parts]) for field in (experts.mean, experts.logvar)))
        for side in (0, 1)
    )
    log_sum = torch.logaddexp(first.logvar, second.logvar)
    logvar = math.log(2) + first.logvar + second.logvar - log_sum
    share = (first.logvar - log_sum).exp()  # of the second mean: the narrower one counts more
    components = experts.like(first.mean + share * (second.mean - first.mean), logvar)
    distance = (first.mean - second.mean).square() * (-log_sum).exp()
    log_overlap = (0.25 * (first.logvar + second.logvar) + 0.5 * (math.log(2) - log_sum) - 0.25 * distance).sum(-1)
    doubled = torch.stack([log_overlap[k] + (0.0 if i == j else math.log(2)) for k, (i, j) in enumerate(parts)])
    members = member.movedim(-1, 0)
    both = torch.stack([members[i] & members[j] for i, j in parts])
    beside = doubled if member.dim() == 2 else doubled[:, None]
    return components, torch.where(both, beside, -torch.inf).log_softmax(0)


def hellinger(experts: Law, member: Tensor) -> Law:
    """The Normal law with mean and variance of `hoelder` in each dimension (HELVAE).

    Where overlaps vanish, these are the moments of the mixture of experts.
    """
    components, log_weights = hoelder(experts, member)
    if member.dim() == 3:
        components = picked(components, (slice(None), None))
    weights = log_weights.exp()[..., None]
    mean = (weights * components.mean).sum(0)
    variance = (weights * (components.logvar.exp() + (components.mean - mean).square())).sum(0)
    return experts.like(mean, variance.log())


def _change(values: Tensor) -> Tensor:
    """0 with the gradient of `values`."""
    return values - values.detach()


def _laid_out(experts: Law, member: Tensor) -> tuple[Tensor, Tensor]:
    """Means and log variances, (modality, batch, latent) or (modality, 1, batch, latent) beside subsets."""
    count, *rows = experts.mean.shape
    inner = (1,) * (member.dim() - 2)
    return experts.mean.view(count, *inner, *rows), experts.logvar.view(count, *inner, *rows)
