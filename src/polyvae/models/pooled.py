"""Private codes beside a shared z that is pooled by the rule of Hölder's mixture (`fusions.hoelder`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polyvae import fusions, gaussian, noise
from polyvae.covariate import beside
from polyvae.gaussian import GaussianMixture
from polyvae.modality import Batch
from polyvae.models.blueprint import Blueprint
from polyvae.models.contract import CodeMeans, Codes, NotDefined
from polyvae.models.fused import pooled, somebody
from polyvae.models.private import AtTest, ReferenceVAE, joined
from polyvae.networks.by_name import ByName
from polyvae.noise import Noise
from polyvae.posteriors import Posterior

HIDDEN = 128


class PooledVAE(ReferenceVAE):
    """Given a subset, z has the mixture `fusions.hoelder` of the experts of z alone, whose weights depend on the row.

    Private codes are as in `PrivateVAE`: own ones of all that is given, whatever part z is from. Where one Normal law
    of z is asked for (`fuse`), as L_S does, it is that of the same moments.
    in_part: Bool (part, modality), whose experts a part of the mixture is of.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        count = len(self.names)
        members = torch.tensor([[m in pair for m in range(count)] for pair in fusions.pairs(count)])
        self.register_buffer("in_part", members, persistent=False)
        self.in_part: Tensor

    def pool(self, experts: Posterior, member: Tensor) -> tuple[Posterior, Tensor]:
        """Parts of z (part, batch, shared), and log weights (part, batch). member: Bool (batch, modality)."""
        return fusions.hoelder(self._block(experts, slice(self.shared_dim)), member)

    def with_private(
        self, experts: Posterior, shared: Posterior, own: Tensor, standard: Tensor
    ) -> tuple[Posterior, Tensor]:
        """The law of u whose z is that of `shared`, and its draw by standard Normal numbers: (..., batch, latent).

        own: Bool (..., batch, modality), whose w_m is drawn from its own posterior, at the z of this draw; others have
        p(w_m).
        """
        z = shared.rsample(standard[..., : self.shared_dim])
        law = joined(shared, self._private_at(z, experts, own))
        return law, law.rsample(standard)

    def fuse(self, experts: Posterior, member: Tensor, prior_expert: Tensor, own: Tensor | None = None) -> Posterior:
        """Mean and variance of the mixture of z, beside private codes as in `PrivateVAE`."""
        shared = fusions.hellinger(self._block(experts, slice(self.shared_dim)), somebody(member))
        return joined(shared, self._private(experts, member if own is None else own))

    def components(self, experts: Posterior, member: Tensor, prior_expert: Tensor, weights: Tensor) -> GaussianMixture:
        """Every part of z alone, (part * term, batch, shared), as `PrivateVAE` puts private codes beside them."""
        return pooled(self._block(experts, slice(self.shared_dim)), member, weights)

    def _private_at(self, z: Tensor, experts: Posterior, own: Tensor, *, is_zero: bool = False) -> Posterior:
        return self._private(experts, own, is_zero=is_zero)


class ReadingVAE(PooledVAE):
    """q(w_m | x_m, z): a head corrects the law of w_m from the encoder of m by what it reads in z.

    Given x_A, u = (z, w) is drawn z first, so that it has no mean or bound in closed form, and is not offered as a
    joint posterior: what asks for a density says that there is none.
    heads: name -> `Correction`.
    """

    is_joint = False

    def __init__(self, *arguments: Any, heads: Mapping[str, nn.Module], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.heads = ByName(heads)

    @staticmethod
    def arguments(blueprint: Blueprint) -> dict[str, Any]:
        arguments, heads = PooledVAE.arguments(blueprint), {}
        for modality in blueprint.modalities:
            with blueprint.first_weights("correction", modality.name):
                heads[modality.name] = Correction(blueprint.latent_dim, arguments["private_dim"])
        return arguments | {"heads": heads}

    def further(self) -> dict[str, Any]:
        return super().further() | {"heads": self.heads}

    def posterior(
        self, batch: Batch, given: Sequence[str] | None = None, experts: Posterior | None = None
    ) -> GaussianMixture:
        """Raises NotDefined."""
        raise NotDefined("private codes are drawn given z, so the posterior of all codes has no closed form")

    @torch.no_grad()
    def posterior_codes(
        self,
        batch: Batch,
        given: Sequence[str],
        targets: Sequence[str],
        generator: Noise = None,
        experts: Posterior | None = None,
    ) -> Codes:
        """Codes of one draw per row given x_given, z first, by `at_test`; the same u under every target's name."""
        codes = self._drawn(batch, given, self.at_test, generator, experts)
        return dict.fromkeys(targets, beside(codes, batch.level))

    @torch.no_grad()
    def code_means(self, batch: Batch) -> dict[str, CodeMeans]:
        """Of q(z | x_m), and of q(w_m | x_m, z) at that z, for every modality."""
        experts, found = self.encode(batch), {}
        for index, name in enumerate(self.names):
            expert = gaussian.picked(experts, index)
            z = expert.mean[:, : self.shared_dim]
            found[name] = CodeMeans(z, self.heads[name](z, self._block(expert, self._own(name))).mean)
        return found

    @torch.no_grad()
    def swapped_codes(self, batch: Batch, other: Batch, generator: Noise = None) -> Codes:
        """z ~ q(z | X), and the level, of `batch` and w_m ~ q(w_m | x_m, z') of `other`, with its own z'."""
        z = self._drawn(batch, self.names, "own", generator)[:, : self.shared_dim]
        private = self._drawn(other, self.names, "own", noise.of_draw(generator, 1))[:, self.shared_dim :]
        return dict.fromkeys(self.names, beside(torch.cat([z, private], -1), batch.level))

    def _drawn(
        self, batch: Batch, given: Sequence[str], at_test: AtTest, generator: Noise, experts: Posterior | None = None
    ) -> Tensor:
        """One draw of u given x_given, z first: (batch, latent)."""
        experts = self.encode(batch, self.asked(given)) if experts is None else experts
        z = self._conditional(batch, given, experts, at_test).sample(generator)[:, : self.shared_dim]
        own = self._own_of(batch, self.asked(given), at_test)
        private = self._private_at(z, experts, own, is_zero=at_test == "zero")
        standard = noise.normal(noise.of_draw(generator, 1), *private.mean.shape, private.mean)
        return torch.cat([z, private.rsample(standard)], -1)

    def _private_at(self, z: Tensor, experts: Posterior, own: Tensor, *, is_zero: bool = False) -> Posterior:
        blocks = zip(self.names, *(field.split(self.private_dim, -1) for field in self._own_laws(experts)), strict=True)
        laws = [self.heads[name](z, experts.like(mean, logvar)) for name, mean, logvar in blocks]
        fields = (torch.cat(parts, -1) for parts in zip(*laws, strict=True))
        return self._where(own, experts.like(*fields), is_zero=is_zero)


class Correction(nn.Module):
    """Changes the law of w_m by a small network that reads it and z; nothing at first, so that z is learned as ever."""

    def __init__(self, shared_dim: int, private_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(shared_dim + 2 * private_dim, HIDDEN), nn.ReLU())
        self.out = nn.Linear(HIDDEN, 2 * private_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, z: Tensor, law: Posterior) -> Posterior:
        """z: (..., batch, shared); law: (batch, private). Returns (..., batch, private)."""
        mean, logvar = (field.expand(*z.shape[:-1], -1) for field in law)
        by_mean, by_logvar = self.out(self.hidden(torch.cat([z, mean, logvar], -1))).chunk(2, -1)
        return law.like(*gaussian.bounded(mean + by_mean, logvar + by_logvar))
