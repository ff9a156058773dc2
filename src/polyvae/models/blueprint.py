"""What a model is built from: the same for a new run and for one that is loaded."""

import copy
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from math import prod
from typing import Any, NotRequired, TypedDict

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from polyvae import networks, priors, subsets
from polyvae.covariate import Covariate, CovariateFile
from polyvae.errors import InputError
from polyvae.modality import Batch, Modality, ModalityFile
from polyvae.networks.by_level import ByLevel
from polyvae.networks.heads import completed
from polyvae.networks.reading import reading
from polyvae.noise import derive_seed
from polyvae.posteriors import Family, Kind, Scale
from polyvae.priors import PriorFile
from polyvae.schema import Size
from polyvae.subsets import SubsetMixture, SubsetsFile

Pair = tuple[nn.Module, nn.Module]  # (encoder, decoder)
Networks = Mapping[str, Pair]
JOINT = "joint"  # the kind of model of the family
OWN = "own"  # the name of a network that the user passed as an object


class FamilyFile(TypedDict):
    """A family of posteriors in JSON."""

    kind: Kind
    scale: Scale


class ModelFile(TypedDict):
    """model.json. Files of the first version lack kind, prior, posterior and options."""

    modalities: list[ModalityFile]
    subsets: SubsetsFile
    latent_dim: Size
    networks: dict[str, str]
    kind: NotRequired[str]
    prior: NotRequired[PriorFile]
    posterior: NotRequired[FamilyFile]
    options: NotRequired[dict[str, Any]]
    covariate: NotRequired[CovariateFile]


class _Undrawn(TorchFunctionMode):
    """Inside, Normal draws into a tensor are left out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.init.normal_:
            return kwargs["tensor"]
        return args[0] if func is torch.Tensor.normal_ else func(*args, **(kwargs or {}))


@contextmanager
def without_numbers() -> Generator[None]:
    """Inside, modules that are made have shapes, and take neither memory nor time.

    A Normal draw on the device `meta` would import torch's compiler, which takes longer than to plan a run.
    """
    with torch.device("meta"), _Undrawn():
        yield


@dataclass(frozen=True, eq=False)
class Blueprint:
    """Everything that fixes an untrained model.

    kind: who builds it, a name in `models.MODELS`. mixture: S. latent_dim: of the (shared) latent space.
    networks: modality -> name of its network. own: modality -> the user's own (encoder, decoder), where that is "own".
    prior: arguments of `priors.make`. pseudo_inputs: first ones of the prior `vamp`.
    options: settings of this kind of model alone, as JSON holds them. seed: of the first weights.
    covariate: its level is given to encoders and decoders.
    """

    modalities: tuple[Modality, ...]
    mixture: SubsetMixture
    latent_dim: int
    networks: Mapping[str, str]
    kind: str = JOINT
    prior: Mapping[str, Any] = field(default_factory=lambda: {"kind": "normal"})
    family: Family = field(default_factory=Family)
    options: Mapping[str, Any] = field(default_factory=dict)
    own: Networks = field(default_factory=dict)
    pseudo_inputs: Batch | None = None
    seed: int = 0
    covariate: Covariate | None = None

    @contextmanager
    def first_weights(self, *purpose: str) -> Generator[None]:
        """Inside, torch draws what depends on the seed and the purpose alone."""
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(self.seed, "weights", *purpose))
            yield

    def pair(self, name: str, latent_dim: int | None = None) -> Pair:
        """A fresh (encoder, decoder) of modality `name`; its weights depend on the seed and on its name alone.

        The decoder gives all parameters that the modality's likelihood takes, a learned scale included.
        latent_dim: if it is not the model's (private codes). The decoder also reads the level of the covariate. The
        user's own networks are copied, and stay untrained.
        Raises InputError where the user's own networks are missing.
        """
        modality = next(m for m in self.modalities if m.name == name)
        if self.networks[name] == OWN:
            if name not in self.own:
                raise InputError(f"modality {name!r} was trained with your own networks; pass networks={{...}} again")
            encoder, decoder = copy.deepcopy(self.own[name])
            return reading(modality, encoder), completed(modality, decoder)
        width, levels = latent_dim or self.latent_dim, 0 if self.covariate is None else len(self.covariate.levels)
        with self.first_weights(name):
            encoder, decoder = networks.build(self.networks[name], modality, width)
            if levels:
                _, decoder = networks.build(self.networks[name], modality, width + levels)
        return reading(modality, encoder), completed(modality, decoder)

    def pairs(self) -> dict[str, Pair]:
        """The networks of every modality."""
        return {modality.name: self.pair(modality.name) for modality in self.modalities}

    def by_level(self, width: int | None = None) -> ByLevel | None:
        """What the covariate adds to encoders of this width (default: latent_dim); None without one."""
        names = [m.name for m in self.modalities]
        return None if self.covariate is None else ByLevel(self.covariate, names, width or self.latent_dim)

    def first_prior(self) -> priors.Prior:
        """The untrained prior; pseudo-inputs that are not given are zeros, for weights to fill in."""
        inputs = self.pseudo_inputs
        if inputs is None and self.prior["kind"] == "vamp":
            rows = self.prior.get("components", priors.COMPONENTS)
            inputs = Batch({m.name: torch.zeros(rows, *m.shape) for m in self.modalities})
        with self.first_weights("prior"):
            return priors.make(latent_dim=self.latent_dim, inputs=inputs, **self.prior)

    def elements(self) -> int:
        """How many numbers the weights of a joint VAE hold at least, found before there is memory for one of them."""
        with without_numbers():
            modules = chain(*self.pairs().values())
        row = sum(prod(modality.shape) for modality in self.modalities)
        of_networks = sum(value.numel() for module in modules for value in module.state_dict().values())
        return of_networks + priors.elements(latent_dim=self.latent_dim, row=row, **self.prior)

    def to_json(self) -> dict[str, Any]:
        """The content of model.json."""
        return {
            "kind": self.kind,
            "modalities": [m.to_json() for m in self.modalities],
            "subsets": subsets.to_json(self.mixture),
            "latent_dim": self.latent_dim,
            "networks": dict(self.networks),
            "prior": dict(self.prior),
            "posterior": asdict(self.family),
            "options": dict(self.options),
        } | ({} if self.covariate is None else {"covariate": self.covariate.to_json()})

    @staticmethod
    def from_json(content: Mapping[str, Any], own: Networks | None = None) -> "Blueprint":
        """The inverse of `to_json`, from content of the form `ModelFile`."""
        return Blueprint(
            modalities=tuple(Modality.from_json(item) for item in content["modalities"]),
            mixture=subsets.from_json(content["subsets"]),
            latent_dim=content["latent_dim"],
            networks=content["networks"],
            family=Family(**content.get("posterior", {})),
            own=own or {},
            covariate=Covariate.from_json(content["covariate"]) if "covariate" in content else None,
            **{name: content[name] for name in ("kind", "prior", "options") if name in content},
        )
