"""JNF's model: an encoder of all modalities, and for each one a normalising flow over the output of its encoder."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polyvae import gaussian, noise
from polyvae.dataset import MultimodalDataset
from polyvae.modality import Batch
from polyvae.models.blueprint import Blueprint
from polyvae.models.contract import Codes, NotDefined
from polyvae.models.fusing import JointEncoderVAE
from polyvae.models.hmc import hamiltonian
from polyvae.models.moments import moments
from polyvae.networks.by_name import ByName
from polyvae.networks.heads import GaussianHead
from polyvae.noise import Noise
from polyvae.options import require
from polyvae.posteriors import Posterior
from polyvae.priors import Prior

HIDDEN, MOST_TRANSFORMS = 128, 100
LEAST_SD = 1e-3


@dataclass(frozen=True)
class FlowOptions:
    """transforms: of each flow. iterations, leapfrog, step_size: of HMC, as in `models.hmc`."""

    transforms: int = 2
    iterations: int = 100
    leapfrog: int = 10
    step_size: float = 0.01

    def __post_init__(self) -> None:
        require(1 <= self.transforms <= MOST_TRANSFORMS, "transforms", self.transforms, f"from 1 to {MOST_TRANSFORMS}")
        for name in ("iterations", "leapfrog"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.step_size > 0, "step_size", self.step_size, "above 0")


@dataclass(frozen=True)
class FeatureOptions(FlowOptions):
    """features: how many of each modality are trained first, and all that its posterior reads."""

    features: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.features >= 1, "features", self.features, "at least 1")


@dataclass(frozen=True)
class ContrastOptions(FeatureOptions):
    """As `FeatureOptions`, with the temperature of the contrast that trains them."""

    temperature: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.temperature > 0, "temperature", self.temperature, "above 0")


class FeatureEncoder(nn.Module):
    """A few features of a modality, and a small network that turns them into what an encoder gives.

    The network reads them standardised by `shift` and `scale`: correlations leave their means and scales open, and
    without this it learns several times slower.
    """

    def __init__(self, encoder: nn.Module, latent_dim: int, features: int) -> None:
        super().__init__()
        self.encoder, self.into = encoder, nn.Linear(2 * latent_dim, features)
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.shift: Tensor
        self.scale: Tensor
        self.head = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), GaussianHead(HIDDEN, latent_dim))

    def of_features(self) -> Iterable[nn.Parameter]:
        """The parameters of the features."""
        return chain(self.encoder.parameters(), self.into.parameters())

    def features(self, values: Tensor) -> Tensor:
        """(batch, features)."""
        return self.into(torch.cat(self.encoder(values), -1))

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        return self.head((self.features(values) - self.shift) / self.scale)


class JointFlowVAE(JointEncoderVAE):
    """The posterior given all modalities is that of the joint encoder; given x_m, u = flow_m(z) has the law of the
    expert of m; given some, A, it is p^(1 - |A|) prod q_m, which can only be drawn from, by HMC.

    flows: name -> a lazy transform of zuko. options: of the chains. trained_prior: p, where `prior`, which samples are
    drawn from, is another one.
    """

    is_sampled: ClassVar[bool] = True

    def __init__(
        self,
        *arguments: Any,
        flows: Mapping[str, nn.Module],
        options: FlowOptions | None = None,
        trained_prior: Prior | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*arguments, **more)
        self.flows = ByName(flows)
        self.options = options or FlowOptions()
        self.kept = (trained_prior or self.prior,)  # in a tuple, or else its weights would be saved twice

    @property
    def trained_prior(self) -> Prior:
        """p, also where `prior` was replaced by one fitted afterwards, for which no q_m was trained."""
        return self.kept[0].to(self.device)

    @staticmethod
    def arguments(blueprint: Blueprint) -> dict[str, Any]:
        import zuko  # here: most runs have no flow, and it starts slowly

        given = dict(blueprint.options)
        kind = FeatureOptions if "features" in given else FlowOptions
        options = (ContrastOptions if "temperature" in given else kind)(**given)
        arguments = JointEncoderVAE.arguments(blueprint)
        width, pairs, flows = blueprint.latent_dim, arguments["networks"], {}
        for name, (encoder, decoder) in pairs.items():
            with blueprint.first_weights("flow", name):
                flow = zuko.flows.MAF(width, transforms=options.transforms, hidden_features=(HIDDEN,) * 3)
                flows[name] = flow.transform
                if isinstance(options, FeatureOptions):
                    pairs[name] = FeatureEncoder(encoder, width, options.features), decoder
        return arguments | {"flows": flows, "options": options}

    def further(self) -> dict[str, Any]:
        return super().further() | {"flows": self.flows, "options": self.options, "trained_prior": self.trained_prior}

    @torch.no_grad()
    def standardise(self, data: MultimodalDataset) -> None:
        """Features are trained: takes their mean and sd over all training rows."""
        encoders: list[Any] = [self.encoders[name] for name in self.names]

        def features(batch: Batch) -> tuple[Tensor, float]:
            found = [e.features(batch.values[name]) for name, e in zip(self.names, encoders, strict=True)]
            return torch.stack(found), 0.0

        for encoder, shift, scale in zip(encoders, *moments(self, features, data, LEAST_SD), strict=True):
            encoder.shift.copy_(shift)
            encoder.scale.copy_(scale)

    def log_density(self, experts: Posterior, name: str, z: Tensor) -> Tensor:
        """log q(z | x_name) at z (batch, latent), in nats: (batch,). experts: as `encode` gives them."""
        base, change = self.flows[name]().call_and_ladj(z)
        return gaussian.picked(experts, self.names.index(name)).log_prob(base) + change

    def fuse(self, experts: Posterior, member: Tensor, prior_expert: Tensor) -> Posterior:
        """The joint expert. Raises NotDefined for rows with fewer than all modalities."""
        if not bool(member.all()):
            raise NotDefined("given fewer than all modalities, z can be drawn, but its law has no closed form")
        whole = gaussian.picked(experts, -1)
        return whole.like(*(field.expand(*member.shape[:-2], *field.shape) for field in whole))

    @torch.no_grad()
    def posterior_codes(
        self,
        batch: Batch,
        given: Sequence[str],
        targets: Sequence[str],
        generator: Noise = None,
        experts: Posterior | None = None,
    ) -> Codes:
        """Codes of one posterior draw per row given x_given: the same z under every target's name.

        Raises InputError where a row has nothing of `given`.
        """
        experts = self.encode(batch, self.asked(given)) if experts is None else experts
        observed = self.observed(batch, given)
        standard = noise.normal(generator, len(observed), self.latent_dim, experts.mean)
        z = gaussian.picked(experts, -1).rsample(standard)
        if not bool((is_whole := observed.all(-1)).all()):
            z = torch.where(is_whole[:, None], z, self._some(experts, observed, standard, generator))
        return dict.fromkeys(targets, z)

    def _some(self, experts: Posterior, observed: Tensor, standard: Tensor, generator: Noise) -> Tensor:
        """z (batch, latent) given what is observed, Bool (batch, modality), of each row."""
        places = [place for place, seen in enumerate(observed.any(0).tolist()) if seen]
        power, prior = 1 - observed.sum(-1), self.trained_prior

        def log_density(z: Tensor) -> Tensor:
            each = {place: self.log_density(experts, self.names[place], z) for place in places}
            total = sum(torch.where(observed[:, place], value, 0.0) for place, value in each.items())
            return total + power * prior.log_prob(z)

        draws, values = [], []
        for place in places:  # a chain starts where it is likeliest, so that the order of modalities does not matter
            base = gaussian.picked(experts, place).rsample(standard)
            draws.append(self.flows[self.names[place]]().inv(base))
            values.append(torch.where(observed[:, place], log_density(draws[-1]), -torch.inf))
        best = torch.stack(values).argmax(0)
        start = torch.stack(draws)[best, torch.arange(len(best), device=best.device)]
        is_drawn = (power < 0) & ~observed.all(-1)
        if not bool(is_drawn.any()):
            return start
        how = self.options
        steps = {"iterations": how.iterations, "leapfrog": how.leapfrog, "step_size": how.step_size}
        return torch.where(is_drawn[:, None], hamiltonian(log_density, start, generator, **steps), start)
