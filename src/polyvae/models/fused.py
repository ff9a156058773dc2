"""Joint VAEs whose subsets' posteriors come from a rule of fusion (`fusions`, or a network) in place of the product."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyvae import fusions, gaussian, subsets
from polyvae.errors import InputError
from polyvae.gaussian import GaussianMixture
from polyvae.models.blueprint import Blueprint
from polyvae.models.vae import MultimodalVAE
from polyvae.networks.heads import GaussianHead
from polyvae.posteriors import Posterior
from polyvae.subsets import Listed, SubsetMixture, Term

LEAST_PRECISION = 1e-2  # added in every direction to a precision from which correlations start
Rule = Callable[[Any, Tensor], Any]  # (experts, members) -> posterior, as in `fusions`; a module if it has parameters


class ExpertWeights(nn.Module):
    """The rule `fusions.weighted` with learned weights, equal ones at first."""

    def __init__(self, modalities: int, latent_dim: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(modalities, latent_dim))

    def forward(self, experts: Posterior, member: Tensor) -> Posterior:
        return fusions.weighted(experts, member, self.logits)


class Correlations(nn.Module):
    """The rule `fusions.dense` with learned correlations, none at first."""

    def __init__(self, modalities: int, latent_dim: int) -> None:
        super().__init__()
        self.roots = nn.Parameter(torch.eye(latent_dim).repeat(modalities, 1, 1))

    def forward(self, experts: Posterior, member: Tensor) -> Posterior:
        return fusions.dense(experts, member, functional.normalize(self.roots, dim=-1))

    @torch.no_grad()
    def start(self, modality: int, precision: Tensor) -> None:
        """Sets the correlations to those of precision + LEAST_PRECISION I; precision (latent, latent), of any rank."""
        values, vectors = torch.linalg.eigh(precision + LEAST_PRECISION * torch.eye(len(precision)).to(precision))
        self.roots[modality] = functional.normalize(vectors * values.sqrt(), dim=-1).to(self.roots)


class SetNetwork(nn.Module):
    """A rule that is a network: features of each member's mean and log variance, their sum, then a head (deep sets).

    Members have no order, and what is not a member adds nothing. width, depth: of the layers before the sum.
    blocks: of self-attention between them and the sum, in which members look at each other (set transformer; pre-norm,
    no dropout), each with `heads` heads, which divide the width.
    """

    def __init__(self, latent_dim: int, width: int, depth: int, blocks: int = 0, heads: int = 1) -> None:
        super().__init__()
        widths = [2 * latent_dim, *[width] * depth]
        layers = (part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU()))
        self.features = nn.Sequential(*layers)
        self.attention: nn.Module | None = None
        if blocks:
            block = nn.TransformerEncoderLayer(width, heads, width, dropout=0.0, batch_first=True, norm_first=True)
            self.attention = nn.TransformerEncoder(block, blocks, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), GaussianHead(width, latent_dim))

    def forward(self, experts: Posterior, member: Tensor) -> Posterior:
        each = self.features(torch.cat([experts.mean, experts.logvar], -1)).movedim(0, -2)  # (batch, modality, width)
        sets = torch.broadcast_shapes(member.shape, each.shape[:-1])
        features, member = each.expand(*sets, -1), member.expand(sets)
        if self.attention is not None:
            seen = self.attention(features.flatten(0, -3), src_key_padding_mask=~member.flatten(0, -2))
            features = seen.view_as(features)
        pooled = torch.where(member[..., None], features, 0.0).sum(-2)
        return experts.like(*gaussian.bounded(*self.head(pooled)))


def _set_network(blueprint: Blueprint) -> Rule:
    with blueprint.first_weights("set network"):
        return SetNetwork(blueprint.latent_dim, **blueprint.options)


def _correlated(blueprint: Blueprint) -> Rule:
    rho, count = blueprint.options["rho"], len(blueprint.modalities)
    least = -1 / (count - 1) if count > 1 else -torch.inf
    if not least < rho < 1:
        raise InputError(f"--method-options rho={rho}: of {count} modalities it must be above {least:.4g} and below 1")
    return partial(fusions.correlated, rho=rho)


RULES: Mapping[str, Callable[[Blueprint], Rule]] = {  # a kind of model -> its rule; all of these compare modalities
    "messages": lambda blueprint: fusions.over_messages,
    "hellinger": lambda blueprint: fusions.hellinger,
    "hoelder": lambda blueprint: fusions.hellinger,
    "private_hoelder": lambda blueprint: fusions.hellinger,
    "private_hoelder_reading": lambda blueprint: fusions.hellinger,
    "weighted": lambda blueprint: ExpertWeights(len(blueprint.modalities), blueprint.latent_dim),
    "correlated": _correlated,
    "dense": lambda blueprint: Correlations(len(blueprint.modalities), blueprint.latent_dim),
    "set_network": _set_network,
}


class FusedVAE(MultimodalVAE):
    """The posterior of a subset is rule(experts, members), of Normal posteriors. S has no prior expert; a rule may.

    Raises InputError for an S with prior experts, and for other families of posteriors.
    """

    def __init__(self, *arguments: Any, rule: Rule, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not self.family.has_products:
            raise InputError(f"rules of fusion are for Normal posteriors, not for {self.family.kind}; use normal")
        if True in self.mixture.joined_by_prior:
            raise InputError("S has a prior expert, but rules of fusion have none; use whole, mmvae or every")
        self.rule = rule

    @classmethod
    def of(cls, blueprint: Blueprint) -> Self:
        """The untrained model of a blueprint."""
        return cls(**cls.arguments(blueprint), rule=RULES[blueprint.kind](blueprint))

    def further(self) -> dict[str, Any]:
        return {"rule": self.rule}

    def fuse(self, experts: Posterior, member: Tensor, prior_expert: Tensor) -> Posterior:
        """The posterior of the members; where there are none, which has weight 0, something finite."""
        return self.rule(experts, somebody(member))


class HoelderVAE(FusedVAE):
    """Given a subset, z has the mixture `fusions.hoelder`, with weights that depend on the row.

    Where one Normal law is asked for (`fuse`), as L_S does, it is that of the same moments.
    """

    def components(self, experts: Posterior, member: Tensor, prior_expert: Tensor, weights: Tensor) -> GaussianMixture:
        """Every part of every term of S: (part * term, batch, latent)."""
        return pooled(experts, member, weights)


class LearnedWeights(nn.Module):
    """Weights of all non-empty subsets: the softmax of free logits over those that a row can have.

    Subsets are numbered by their bits, from 1. omega: factor on the entropy of the weights in the objective.
    """

    def __init__(self, modalities: int, omega: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(2**modalities - 1))
        self.omega = omega

    def forward(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (subset, batch), 0 for subsets of what a row lacks, and their entropy (batch,), in nats."""
        count = present.shape[-1]
        able = (torch.arange(1, 2**count, device=present.device)[:, None] & subsets.number_of(~present)) == 0
        log_weights = torch.where(able, self.logits[:, None], -torch.inf).log_softmax(0)
        weights = log_weights.exp()
        return weights, -(weights * torch.where(able, log_weights, 0.0)).sum(0)


class CodeVAE(FusedVAE):
    """Experts with correlated errors, and learned weights of all subsets (CoDE-VAE)."""

    def __init__(self, *arguments: Any, weights: LearnedWeights, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.weights = weights

    @classmethod
    def of(cls, blueprint: Blueprint) -> Self:
        """The untrained model of a blueprint."""
        weights = LearnedWeights(len(blueprint.modalities), blueprint.options["omega"])
        return cls(**cls.arguments(blueprint), rule=RULES[blueprint.kind](blueprint), weights=weights)

    def further(self) -> dict[str, Any]:
        return super().further() | {"weights": self.weights}

    @torch.no_grad()
    def learned_mixture(self) -> SubsetMixture:
        """S with the learned weights; without terms whose weight is too small for a number."""
        everything = torch.ones(1, len(self.names), dtype=torch.bool, device=self.device)
        weights = self.weights(everything)[0][:, 0].double()
        pairs = zip(self.mixture.terms, (weights / weights.sum()).tolist(), strict=True)
        return Listed(self.names, tuple(Term(term.given, weight) for term, weight in pairs if weight > 0))


def pooled(experts: Posterior, member: Tensor, weights: Tensor) -> GaussianMixture:
    """The parts of `fusions.hoelder` for every term of S, (part * term, batch, latent); weights: (batch, term)."""
    parts, log_weights = fusions.hoelder(experts, somebody(member))
    of_terms = (field[:, None].expand(-1, len(member), -1, -1).flatten(0, 1) for field in parts)
    return GaussianMixture(parts.like(*of_terms), (log_weights.exp() * weights.T).flatten(0, 1).T)


def somebody(member: Tensor) -> Tensor:
    """Members (..., modality), all of them where there are none."""
    return member | ~member.any(-1, keepdim=True)
