"""Priors that are mixtures: of Gaussians, and of the posteriors of pseudo-inputs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polyvae import noise
from polyvae.gaussian import GaussianMixture, picked
from polyvae.modality import Batch
from polyvae.noise import Noise
from polyvae.priors.base import Prior


class GaussianMixturePrior(Prior):
    """A mixture of `components` Gaussians in `latent_dim` dimensions, of diagonal or (`full`) any covariance.

    A component's covariance is L L^T, L with exp(log_scale) on and, if full, `lower` below its diagonal.
    """

    def __init__(self, latent_dim: int, components: int, *, full: bool = False) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(components, latent_dim))
        self.lower = nn.Parameter(torch.zeros(components, latent_dim, latent_dim)) if full else None

    def describe(self) -> dict[str, Any]:
        return {"kind": "gmm" if self.lower is None else "gmm_full", "components": len(self.logits)}

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        u = noise.uniform(generator, count, self.means)
        chosen = noise.index_at(u, self.logits.double().softmax(0))
        standard = noise.normal(generator, count, self.latent_dim, self.means)
        spread = self.log_scale.exp()[chosen] * standard
        if self.lower is not None:
            spread = spread + torch.einsum("nij,nj->ni", self.lower.tril(-1)[chosen], standard)
        return self.means[chosen] + spread

    def kept(self, components: Sequence[int]) -> "GaussianMixturePrior":
        """The mixture of these components alone, their weights in the same proportions."""
        few = GaussianMixturePrior(self.latent_dim, len(components), full=self.lower is not None)
        few.load_state_dict({name: value[list(components)] for name, value in self.state_dict().items()})
        return few

    def log_prob(self, z: Tensor) -> Tensor:
        return self.log_joint(z).logsumexp(-1)

    def log_joint(self, z: Tensor) -> Tensor:
        """log weight + log density of every component at z (..., latent): (..., component)."""
        apart = z.unsqueeze(-2) - self.means  # (..., component, latent)
        if self.lower is None:
            standard = apart * (-self.log_scale).exp()
        else:
            root = self.lower.tril(-1) + torch.diag_embed(self.log_scale.exp())
            rows = apart.flatten(0, -3).permute(1, 2, 0)  # (component, latent, row)
            solved = torch.linalg.solve_triangular(root.to(rows.dtype), rows, upper=False)
            standard = solved.permute(2, 0, 1).reshape(apart.shape)
        constant = 0.5 * self.latent_dim * math.log(2 * math.pi)
        each = -0.5 * standard.square().sum(-1) - self.log_scale.sum(-1) - constant
        return self.logits.log_softmax(0) + each


class VampPrior(Prior):
    """The mean posterior of learned pseudo-inputs (Tomczak & Welling 2018), here of tuples of all modalities.

    inputs: a batch of first pseudo-inputs; real training tuples, with the modalities they have, are a good start.
    The model that takes this prior binds its joint posterior to it.
    """

    def __init__(self, inputs: Batch) -> None:
        super().__init__()
        self.names = tuple(inputs.values)  # a ParameterDict sorts its keys, a batch keeps the model's order
        self.inputs = nn.ParameterDict({name: nn.Parameter(value.clone()) for name, value in inputs.values.items()})
        self.register_buffer("present", inputs.present.clone())
        self.present: Tensor
        self.look()
        self.register_load_state_dict_post_hook(lambda prior, _: prior.look())

    def look(self) -> None:
        """Finds out whether pseudo-inputs lack something: once, since a device is slow to answer."""
        self.is_complete = bool(self.present.all())

    def bind(self, posterior: Callable[[Batch], GaussianMixture]) -> None:
        """posterior: batch -> the mixture of every row, given all that it has."""
        self.posterior = posterior

    def describe(self) -> dict[str, Any]:
        return {"kind": "vamp", "components": len(self.present)}

    def mixture(self) -> GaussianMixture:
        """One row per pseudo-input."""
        inputs = {name: self.inputs[name] for name in self.names}
        return self.posterior(Batch.known(inputs, self.present, None, is_complete=self.is_complete))

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        u = noise.uniform(generator, count, self.present.float())
        scaled = u * len(self.present)
        chosen = scaled.long().clamp(max=len(self.present) - 1)
        law = self.mixture()
        member = noise.index_at(scaled - chosen, law.weights[chosen])
        component = picked(law.components, (member, chosen))
        return component.rsample(noise.normal(generator, *component.mean.shape, component.mean))

    def log_prob(self, z: Tensor) -> Tensor:
        return self.mixture().log_prob(z.unsqueeze(-2)).logsumexp(-1) - math.log(len(self.present))
