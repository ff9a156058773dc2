"""The multimodal VAE: encoders, decoders, a prior, and the set S that says how posteriors are formed. No loss here."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polyvae import gaussian, noise, subsets
from polyvae.errors import InputError
from polyvae.gaussian import Gaussian, GaussianMixture
from polyvae.modality import Batch, Modality
from polyvae.noise import Noise
from polyvae.priors import StandardNormal
from polyvae.subsets import SubsetMixture

Codes = dict[str, Tensor]  # what each decoder reads: name -> (batch, latent)


class MultimodalVAE(nn.Module):
    """One latent space for several modalities.

    networks: name -> (encoder, decoder) as in `polyvae.networks`.
    mixture: S, which fixes the posterior of every subset (`subsets.conditional`).
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        networks: Mapping[str, tuple[nn.Module, nn.Module]],
        mixture: SubsetMixture,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.names = tuple(m.name for m in self.modalities)
        if mixture.names != self.names:
            raise InputError(f"S is over {', '.join(mixture.names)} but the modalities are {', '.join(self.names)}")
        self.mixture = mixture
        self.latent_dim = latent_dim
        self.prior = StandardNormal(latent_dim)
        self.encoders = nn.ModuleDict({m.name: networks[m.name][0] for m in self.modalities})
        self.decoders = nn.ModuleDict({m.name: _decoder(m, networks[m.name][1]) for m in self.modalities})

    @property
    def device(self) -> torch.device:
        return self.prior.zeros.device

    def encode(self, batch: Batch) -> Gaussian:
        """The expert of every modality, absent ones included: fields (modality, batch, latent)."""
        experts = [gaussian.bounded(*self.encoders[name](batch.values[name])) for name in self.names]
        return Gaussian(torch.stack([e.mean for e in experts]), torch.stack([e.logvar for e in experts]))

    def decode(self, codes: Tensor | Codes) -> dict[str, Distribution]:
        """The likelihood of each modality named in `codes`; a tensor (batch, latent) is read by all of them."""
        read = dict.fromkeys(self.names, codes) if isinstance(codes, Tensor) else codes
        return {m.name: m.distribution(self.decoders[m.name](read[m.name])) for m in self.modalities if m.name in read}

    def posterior(self, batch: Batch, given: Sequence[str] | None = None) -> GaussianMixture:
        """The posterior of x_given (default: everything), a mixture per row, by the rule of `subsets.conditional`.

        Rows use what they have of `given`. Raises InputError where a row has nothing of it.
        """
        mixture = subsets.conditional(self.mixture, self.names if given is None else given)
        member = mixture.matrix.to(batch.present.device)[:, None] & batch.present  # (component, batch, modality)
        alive = member.any(-1)
        if not bool(alive.any(0).all()):
            row = int((~alive.any(0)).nonzero()[0])
            raise InputError(
                f"row {row} has none of {', '.join(given or self.names)}; leave it out or condition on more"
            )
        # A term without a member in a row has weight zero there; the prior stands in to keep it finite.
        prior_expert = mixture.prior_experts.to(alive.device)[:, None] | ~alive
        components = gaussian.product_of_experts(self.encode(batch), member, prior_expert)
        weights = (mixture.weights.to(alive.device)[:, None] * alive).T.to(components.mean.dtype)
        return GaussianMixture(components, weights / weights.sum(-1, keepdim=True))

    def prior_codes(self, count: int, generator: Noise = None) -> Codes:
        """Codes of `count` unconditional samples: the same z under every name."""
        z = self.prior.sample(count, generator)
        return dict.fromkeys(self.names, z)

    def posterior_codes(
        self, batch: Batch, given: Sequence[str], targets: Sequence[str], generator: Noise = None
    ) -> Codes:
        """Codes of one posterior draw a row given x_given: the same z under every target's name."""
        z = self.posterior(batch, given).sample(generator)
        return dict.fromkeys(targets, z)

    @torch.no_grad()
    def embed(self, batch: Batch, given: Sequence[str] | None = None) -> Tensor:
        """Posterior mean (batch, latent); for a mixture the weighted mean of its members' means."""
        return self.posterior(batch, given).mean

    @torch.no_grad()
    def generate(
        self,
        source: int | Batch,
        given: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        *,
        decode: Literal["mean", "sample"] = "mean",
        generator: Noise = None,
    ) -> dict[str, Tensor]:
        """Values of `targets`, name -> (batch, *shape), in the units of the data.

        source: a number of unconditional samples, or a batch to condition on through `given` (default: all it has).
        targets: default all modalities. decode: the likelihood's mean, or a draw from it.
        """
        wanted = tuple(targets or self.names)
        if unknown := sorted(set(wanted) - set(self.names)):
            raise InputError(f"unknown target {unknown[0]!r}; the model has {', '.join(self.names)}")
        if isinstance(source, int):
            codes = {name: z for name, z in self.prior_codes(source, generator).items() if name in wanted}
        else:
            codes = self.posterior_codes(source, given or self.names, wanted, generator)
        likelihoods = self.decode(codes)
        if decode == "mean":
            drawn = {name: likelihood.mean for name, likelihood in likelihoods.items()}
        else:
            with noise.drawing_from(generator, self.device):
                drawn = {name: likelihood.sample() for name, likelihood in likelihoods.items()}
        return {m.name: m.to_original(drawn[m.name]) for m in self.modalities if m.name in drawn}


class LearnedScale(nn.Module):
    """Puts one learned log scale per feature beside a decoder's location: (batch, *shape) -> (batch, 2, *shape)."""

    def __init__(self, decoder: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.decoder = decoder
        self.log_scale = nn.Parameter(torch.zeros(shape))

    def forward(self, z: Tensor) -> Tensor:
        location = self.decoder(z).to(self.log_scale.dtype)
        return torch.stack([location, (7 * torch.tanh(self.log_scale / 7)).expand_as(location)], 1)


def _decoder(modality: Modality, decoder: nn.Module) -> nn.Module:
    return LearnedScale(decoder, modality.shape) if modality.likelihood.learns_scale else decoder
