"""A joint VAE with one more encoder, which reads all modalities (JMVAE)."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from polyvae import gaussian
from polyvae.modality import Batch
from polyvae.models.blueprint import Blueprint
from polyvae.models.vae import MultimodalVAE
from polyvae.networks.by_name import ByName
from polyvae.networks.heads import GaussianHead
from polyvae.noise import derive_seed
from polyvae.posteriors import Posterior

JOINT_EXPERT = "joint encoder"  # what this expert is called beside the modalities
HIDDEN = 256


class JointEncoder(nn.Module):
    """Features of every modality, by an encoder of its usual form, added up into one hidden layer, then a head.

    What a row lacks adds nothing, so such a row is encoded as if its modality did not exist.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], latent_dim: int) -> None:
        super().__init__()
        self.encoders = ByName(encoders)
        self.into = ByName({name: nn.Linear(2 * latent_dim, HIDDEN) for name in encoders})
        self.head = GaussianHead(HIDDEN, latent_dim)

    def forward(self, values: Mapping[str, Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """values: name -> (batch, *shape); present: Bool (batch, modality). Two outputs (batch, latent)."""
        added = [
            torch.where(seen[:, None], self.into[name](torch.cat(self.encoders[name](values[name]), -1)), 0.0)
            for name, seen in zip(values, present.unbind(-1), strict=True)
        ]
        return self.head(torch.stack(added).sum(0).relu())


class JointEncoderVAE(MultimodalVAE):
    """joint: as `JointEncoder`. Its expert is the last one of `encode`, and the posterior given all modalities.

    One modality has its own expert; several, A, have p^(1 - |A|) prod q_m, exact where each q_m is.
    """

    takes_covariate = False  # its joint encoder is given none
    further_experts = (JOINT_EXPERT,)

    def __init__(self, *arguments: Any, joint: nn.Module, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.joint = joint

    @staticmethod
    def arguments(blueprint: Blueprint) -> dict[str, Any]:
        apart = replace(blueprint, seed=derive_seed(blueprint.seed, JOINT_EXPERT))
        encoders = {name: encoder for name, (encoder, _) in apart.pairs().items()}
        with blueprint.first_weights(JOINT_EXPERT):
            joint = JointEncoder(encoders, blueprint.latent_dim)
        return MultimodalVAE.arguments(blueprint) | {"joint": joint}

    def further(self) -> dict[str, Any]:
        return {"joint": self.joint}

    def encode(self, batch: Batch, wanted: Tensor | Collection[str] | None = None) -> Posterior:
        """The experts of `MultimodalVAE.encode`, and of the joint encoder, which reads all that a row has.

        wanted: names may be those of all experts; all modalities include the joint encoder.
        """
        experts = super().encode(batch, wanted)
        blank = self.blank.expand(len(batch.present), -1)
        by_name = not (wanted is None or isinstance(wanted, Tensor))
        is_asked = not by_name or JOINT_EXPERT in wanted or set(wanted) >= set(self.names)
        whole = self.family(*self.joint(batch.values, batch.present)) if is_asked else self.family.blank(blank)
        return experts.like(*(torch.cat([own, field[None]]) for own, field in zip(experts, whole, strict=True)))

    def fuse(self, experts: Posterior, member: Tensor, prior_expert: Tensor) -> Posterior:
        """The posterior of the members: the joint expert of all of them, else their product over the prior."""
        some = gaussian.with_prior_power(gaussian.picked(experts, slice(-1)), member, 1 - member.sum(-1))
        is_whole = member.all(-1)[..., None]
        fields = zip(gaussian.picked(experts, -1), some, strict=True)
        return some.like(*(torch.where(is_whole, whole, part) for whole, part in fields))
