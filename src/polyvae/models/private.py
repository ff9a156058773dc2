"""Joint VAEs with a private code w_m beside the shared z: every decoder reads z and its own w_m.

Such a model is a joint VAE over u = (z, w_1, ..., w_M): q(z | x_m) q(w_m | x_m) and p(w_n) of all others is the expert
of m, and p(z) p(w_1) ... p(w_M) the prior, so bounds, likelihoods, fitted priors and generation take u for z.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from polyvae import gaussian, noise, posteriors, priors
from polyvae.covariate import beside
from polyvae.errors import InputError
from polyvae.gaussian import GaussianMixture
from polyvae.modality import Batch, Modality
from polyvae.models.blueprint import OWN, Blueprint, Networks, Pair
from polyvae.models.contract import UNSEEN, CodeMeans, Codes
from polyvae.models.vae import MultimodalVAE
from polyvae.networks.by_level import ByLevel
from polyvae.networks.by_name import ByName
from polyvae.networks.trunks import TwoTrunks
from polyvae.noise import Noise, derive_seed
from polyvae.options import require
from polyvae.posteriors import Family, Posterior
from polyvae.priors import Centred, Prior, WithPrivate
from polyvae.subsets import SubsetMixture

AtTest = Literal["own", "prior", "zero"]
PRIVATE_DIM = 32


@dataclass(frozen=True)
class PrivateOptions:
    """private_dim: dimensions of each w_m, at least 1. at_test: as in `PrivateVAE`.

    two_trunks: whether z and w_m have encoders of their own, as published for MMVAE+; your own networks stay one.
    """

    private_dim: int = PRIVATE_DIM
    at_test: AtTest = "own"
    two_trunks: bool = False

    def __post_init__(self) -> None:
        least = "at least 1; a method without private codes is mmvae or mopoe"
        require(self.private_dim >= 1, "private_dim", self.private_dim, least)


class PrivateVAE(MultimodalVAE):
    """latent_dim: of u = (z, w_1, ..., w_M), `private_dim` for each w_m.

    p(w_m) is the standard law of the posteriors' family. The posterior of x_A is the mixture over z by the rule of S,
    in each component with the posteriors q(w_m | x_m) of what a row has of A, and p(w_n) of all others.
    at_test: what is decoded given x_A. "own": draws of that posterior, so that members of A have their own w_m.
    "prior": w_m from p(w_m) for all, members of A too. "zero": w_n = 0 in place of draws of p(w_n).
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        networks: Networks,
        mixture: SubsetMixture,
        latent_dim: int,
        *,
        private_dim: int,
        at_test: AtTest = "own",
        prior: Prior | None = None,
        family: Family | None = None,
        by_level: ByLevel | None = None,
    ) -> None:
        if at_test not in get_args(AtTest):
            raise InputError(f"at_test is {at_test!r}; choose one of {', '.join(get_args(AtTest))}")
        family = family or Family()
        prior = priors.make(family.kind, latent_dim) if prior is None else prior
        super().__init__(modalities, networks, mixture, latent_dim, prior=prior, family=family, by_level=by_level)
        self.private_dim, self.at_test = private_dim, at_test
        self.references: ByName | None = None
        self.shared_dim = latent_dim - private_dim * len(self.names)
        self.blank = torch.zeros(self.shared_dim + private_dim)  # of one encoder's outputs
        self.register_buffer("is_own_block", torch.eye(len(self.names), dtype=torch.bool), persistent=False)
        self.is_own_block: Tensor

    @classmethod
    def network_dim(cls, blueprint: Blueprint) -> int:
        return blueprint.latent_dim + blueprint.options.get("private_dim", PRIVATE_DIM)

    @classmethod
    def code_dim(cls, blueprint: Blueprint) -> int:
        private = cls.network_dim(blueprint) - blueprint.latent_dim
        return blueprint.latent_dim + private * len(blueprint.modalities)

    @staticmethod
    def arguments(blueprint: Blueprint) -> dict[str, Any]:
        """What the models of a blueprint are built from; its latent dimensions and prior are those of z."""
        shared, width, latent = blueprint.latent_dim, PrivateVAE.network_dim(blueprint), PrivateVAE.code_dim(blueprint)
        kind, prior = blueprint.family.kind, None
        if blueprint.prior["kind"] != kind:  # else one law for all dimensions, which metrics know as such
            prior = WithPrivate(blueprint.first_prior(), shared, latent - shared, kind)
        return {
            "modalities": blueprint.modalities,
            "networks": {m.name: _networks(blueprint, m.name, width) for m in blueprint.modalities},
            "mixture": blueprint.mixture,
            "latent_dim": latent,
            "private_dim": width - shared,
            "at_test": blueprint.options.get("at_test", "own"),
            "prior": prior,
            "family": blueprint.family,
            "by_level": blueprint.by_level(width),
        }

    def further(self) -> dict[str, Any]:
        return {"private_dim": self.private_dim, "at_test": self.at_test}

    def law_of(self, mean: Tensor, second: Tensor) -> Posterior:
        """Of z and of w_m apart, so that a scale which dimensions share is shared within each."""
        cut = (self.shared_dim, self.private_dim)
        return joined(*(self.family(*parts) for parts in zip(mean.split(cut, -1), second.split(cut, -1), strict=True)))

    def encode(self, batch: Batch, wanted: Tensor | Collection[str] | None = None) -> Posterior:
        """The experts over u, (modality, batch, latent): each has the standard law for the private codes of others."""
        narrow = super().encode(batch, wanted)
        own = self._block(narrow, slice(self.shared_dim, None))
        is_own = self.is_own_block[:, None, :, None]
        fields = (
            torch.where(is_own, field[:, :, None], other[:, :, None]).flatten(2)
            for field, other in zip(own, self._standard(own), strict=True)
        )
        return joined(self._block(narrow, slice(self.shared_dim)), own.like(*fields))

    def fuse(self, experts: Posterior, member: Tensor, prior_expert: Tensor, own: Tensor | None = None) -> Posterior:
        """The product for z; q(w_m | x_m) where `own` (None: `member`) says so, else p(w_m)."""
        shared = gaussian.product(self._block(experts, slice(self.shared_dim)), member, prior_expert)
        return joined(shared, self._private(experts, member if own is None else own))

    def posterior(
        self, batch: Batch, given: Sequence[str] | None = None, experts: Posterior | None = None
    ) -> GaussianMixture:
        """The posterior of u: as in `MultimodalVAE`, with own private codes of all that is given in every component."""
        return self._conditional(batch, given, experts, "own")

    def code_posterior(
        self, batch: Batch, given: Sequence[str] | None = None, experts: Posterior | None = None
    ) -> GaussianMixture:
        """The law that codes are drawn from given x_given, by `at_test`; "zero" has no density."""
        return self._conditional(batch, given, experts, self.at_test)

    def _conditional(
        self, batch: Batch, given: Sequence[str] | None, experts: Posterior | None, at_test: AtTest
    ) -> GaussianMixture:
        asked = self.asked(given)
        experts = self.encode(batch, asked) if experts is None else experts
        law = super().posterior(batch, given, experts)
        own = self._own_of(batch, asked, at_test)
        shared = self._block(law.components, slice(self.shared_dim))
        return law._replace(components=joined(shared, self._private(experts, own, is_zero=at_test == "zero")))

    def _own_of(self, batch: Batch, asked: Sequence[str], at_test: AtTest) -> Tensor:
        """Whose private codes have their own posterior at test time, Bool (batch, modality)."""
        own = batch.present
        if len(asked) < len(self.names):
            own = own & torch.tensor([name in asked for name in self.names], device=own.device)
        return torch.zeros_like(own) if at_test == "prior" else own

    def prior_codes(self, count: int, generator: Noise = None) -> Codes:
        """Codes of `count` unconditional samples: the same u under every name."""
        codes = self.prior.sample(count, generator)
        if self.at_test == "zero":
            codes = torch.cat([codes[:, : self.shared_dim], torch.zeros_like(codes[:, self.shared_dim :])], -1)
        return dict.fromkeys(self.names, self.with_levels(codes, generator))

    def part(self, name: str, codes: Tensor) -> Tensor:
        """z, w_m, and the level of a covariate."""
        parts = (slice(self.shared_dim), self._own(name), slice(self.latent_dim, None))
        return torch.cat([codes[..., part] for part in parts], -1)

    @torch.no_grad()
    def code_means(self, batch: Batch) -> dict[str, CodeMeans]:
        """Of q(z | x_m) and q(w_m | x_m) for every modality."""
        means = dict(zip(self.names, self.encode(batch).mean, strict=True))
        return {name: CodeMeans(mean[:, : self.shared_dim], mean[:, self._own(name)]) for name, mean in means.items()}

    @torch.no_grad()
    def swapped_codes(self, batch: Batch, other: Batch, generator: Noise = None) -> Codes:
        """z ~ q(z | X), and the level, of `batch` and w_m ~ q(w_m | x_m) of `other`, whatever `at_test` says."""
        z = self.posterior(batch).sample(generator)[:, : self.shared_dim]
        private = self.posterior(other).sample(noise.of_draw(generator, 1))[:, self.shared_dim :]
        return dict.fromkeys(self.names, beside(torch.cat([z, private], -1), batch.level))

    def unseen(self, name: str, codes: Tensor, is_own: Tensor, kind: Tensor) -> Tensor:
        """codes (draw, batch, latent) with w_m of `name`, where it is not its own, as draws of r, or 0, in its place.

        is_own: Bool, kind: an index of UNSEEN, both (draw, batch).
        """
        factor = torch.where(kind == UNSEEN.index("zero"), 0.0, 1.0).to(codes.dtype)[..., None]
        if self.references is not None:
            is_reference = (kind == UNSEEN.index("reference"))[..., None]
            reference: Any = self.references[name]
            factor = torch.where(is_reference, reference.scale(), factor)
        own = self._own(name)
        block = torch.where(is_own[..., None], codes[..., own], factor * codes[..., own])
        return torch.cat([codes[..., : own.start], block, codes[..., own.stop :]], -1)

    def _own(self, name: str) -> slice:
        start = self.shared_dim + self.names.index(name) * self.private_dim
        return slice(start, start + self.private_dim)

    def _private(self, experts: Posterior, own: Tensor, *, is_zero: bool = False) -> Posterior:
        """q(w_m | x_m) where `own` (..., batch or 1, modality) says so, else p(w_m) or 0: (..., batch, private)."""
        return self._where(own, self._own_laws(experts), is_zero=is_zero)

    def _own_laws(self, experts: Posterior) -> Posterior:
        """q(w_m | x_m) of every m, side by side: (batch, private)."""
        law = self._block(experts, slice(self.shared_dim, None))
        each = (field.unflatten(-1, (len(self.names), -1)).diagonal(0, 0, 2) for field in law)
        return law.like(*(field.mT.flatten(1) for field in each))

    def _where(self, own: Tensor, law: Posterior, *, is_zero: bool) -> Posterior:
        """law (..., batch, private) of all w_m where they have their own posterior, else p(w_m) or 0."""
        other = self._standard(law)
        if is_zero:
            other = law.like(other.mean, torch.full_like(other.logvar, -torch.inf))
        chosen = own.repeat_interleave(self.private_dim, -1)
        return law.like(*(torch.where(chosen, *fields) for fields in zip(law, other, strict=True)))

    def _standard(self, like: Posterior) -> Posterior:
        zeros = torch.zeros_like(like.mean)
        return posteriors.of_scale(self.family.kind, zeros, zeros)

    @staticmethod
    def _block(law: Posterior, dimensions: slice) -> Posterior:
        return gaussian.picked(law, (..., dimensions))


class ReferenceVAE(PrivateVAE):
    """With a law r(w_m) of every modality, of mean 0 and learned scales that sum to their number (Palumbo et al. 2023).

    In training, w_m that are not their own are draws of r in place of p(w_m); r is p(w_m) at first.
    """

    def __init__(self, *arguments: Any, references: ByName | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        laws = {name: Centred(self.private_dim, self.family.kind, learned=True) for name in self.names}
        self.references = ByName(laws) if references is None else references

    def further(self) -> dict[str, Any]:
        return super().further() | {"references": self.references}


def _networks(blueprint: Blueprint, name: str, width: int) -> Pair:
    """The encoder and decoder of z and w_m."""
    encoder, decoder = blueprint.pair(name, width)
    if blueprint.options.get("two_trunks", False) and blueprint.networks[name] != OWN:
        apart = replace(blueprint, seed=derive_seed(blueprint.seed, "private"))
        second, _ = apart.pair(name, width - blueprint.latent_dim)
        encoder = TwoTrunks(blueprint.pair(name)[0], second)
    return encoder, decoder


def joined(shared: Posterior, private: Posterior) -> Posterior:
    """Both over the latent axis; `private` is expanded to the components of `shared`."""
    fields = zip(shared, private, strict=True)
    return shared.like(*(torch.cat([a, b.expand(*a.shape[:-1], b.shape[-1])], -1) for a, b in fields))
