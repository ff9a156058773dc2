"""MMVAE+ (Palumbo et al. 2023) as a plug-in: a model with private codes, its objective, and a line for the table.

A modality's posterior is q(z | x_m) q(w_m | x_m): a shared and a private code. It reconstructs itself from both; every
other modality n is decoded from z and a draw of r(w_n), a Normal with learned scales, so that nothing private crosses.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import polyvae as pv
from polyvae import noise
from polyvae.gaussian import Gaussian, kl_to_prior
from polyvae.modality import Batch
from polyvae.models import Blueprint, Codes, TrainableModel
from polyvae.objectives import Bound


@dataclass(frozen=True)
class Options:
    """private_dim: dimensions of w_m."""

    private_dim: int = 4


class MMVAEPlus(TrainableModel):
    """Codes are (z, w_n) side by side, so that every target's decoder reads its own w_n."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.modalities, self.mixture = blueprint.modalities, blueprint.mixture
        self.names = tuple(m.name for m in blueprint.modalities)
        self.shared, self.private = blueprint.latent_dim, Options(**blueprint.options).private_dim
        pairs = {name: blueprint.pair(name, self.shared + self.private) for name in self.names}
        self.encoders = nn.ModuleDict({name: encoder for name, (encoder, _) in pairs.items()})
        self.decoders = nn.ModuleDict({name: decoder for name, (_, decoder) in pairs.items()})
        self.log_scale = nn.ParameterDict({name: nn.Parameter(torch.zeros(self.private)) for name in self.names})

    def expert(self, name: str, values: Tensor) -> Gaussian:
        """q(z, w_m | x_m): fields (batch, shared + private)."""
        return pv.gaussian.bounded(*self.encoders[name](values))

    def with_private(self, z: Tensor, generator: noise.Noise, log_scale: Tensor | float = 0.0) -> Tensor:
        """(z, w) with w drawn from a Normal; by default from p(w), N(0, I)."""
        standard = noise.normal(generator, len(z), self.private, z)
        return torch.cat([z, torch.as_tensor(log_scale).exp() * standard], -1)

    def prior_codes(self, count: int, generator: noise.Noise = None) -> Codes:
        like = next(iter(self.log_scale.values()))
        z = noise.normal(generator, count, self.shared, like)
        private = noise.normal(generator, count, self.private * len(self.names), like).chunk(len(self.names), -1)
        return {name: torch.cat([z, w], -1) for name, w in zip(self.names, private, strict=True)}

    def posterior_codes(self, batch: Batch, given, targets, generator: noise.Noise = None) -> Codes:
        """A row's source is drawn among what it has of `given`; targets other than the source get w_n from p(w)."""
        wanted = torch.tensor([name in set(given) for name in self.names], device=batch.present.device)
        able = batch.present & wanted
        u = noise.uniform(generator, len(able), batch.present.float())
        source = (able.cumsum(-1) > (u * able.sum(-1))[:, None].floor()).float().argmax(-1)
        codes = able.new_zeros(len(able), self.shared + self.private, dtype=torch.float32)
        for index, name in enumerate(self.names):
            expert = self.expert(name, batch.values[name])
            drawn = expert.rsample(noise.normal(generator, len(able), expert.mean.shape[-1], expert.mean))
            codes = torch.where((source == index)[:, None], drawn, codes)
        crossed = {name: self.with_private(codes[:, : self.shared], generator) for name in targets}
        is_source = {name: (source == self.names.index(name))[:, None] for name in targets}
        return {name: torch.where(is_source[name], codes, crossed[name]) for name in targets}

    def decode(self, codes: Codes) -> dict[str, torch.distributions.Distribution]:
        return {
            m.name: m.distribution(self.decoders[m.name](codes[m.name])) for m in self.modalities if m.name in codes
        }


def objective(model: MMVAEPlus, batch: Batch, mixture, *, beta, weights, generator) -> Bound:
    """(1/M) sum_m { E[log p(x_m | z, w_m) + sum_n log p(x_n | z, w_n ~ r)] - beta KL(q(z, w_m | x_m) || N(0, I)) }."""
    share = batch.present / batch.present.sum(-1, keepdim=True)
    scores, kl = torch.zeros_like(share), torch.zeros_like(share[:, 0])
    for index, source in enumerate(model.names):
        expert = model.expert(source, batch.values[source])
        own = expert.rsample(noise.normal(generator, len(share), expert.mean.shape[-1], expert.mean))
        z, scales = own[:, : model.shared], model.log_scale
        codes = {name: model.with_private(z, generator, scales[name]) for name in model.names}
        likelihoods = model.decode(codes | {source: own})
        parts = torch.stack([likelihoods[name].log_prob(batch.values[name]) for name in model.names], -1)
        scores = scores + share[:, index, None] * torch.where(batch.present, parts, 0.0)
        kl = kl + share[:, index] * kl_to_prior(expert)
    loss = -(scores * weights).sum(-1).mean() + beta * kl.mean()
    return Bound(loss, scores, kl, -scores.sum(-1).mean(), kl.mean())


pv.models.register("mmvae_plus_private", MMVAEPlus)
pv.methods.register(
    pv.methods.Method(
        "mmvae_plus_private",
        pv.subsets.mmvae,
        "shared and private codes, crossed through a prior of the private ones",
        "Palumbo et al. 2023",
        stages=(pv.methods.Stage(objective=objective),),
        model="mmvae_plus_private",
        options=Options,
    )
)
