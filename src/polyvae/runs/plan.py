"""A config resolved against its data: everything that can be wrong is found here, before compute is spent."""

import copy
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from polyvae import datasets, metrics, networks, subsets
from polyvae.attributes import Attribute
from polyvae.config import RunConfig, by_modality
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.judges import pretrained
from polyvae.methods import Method, method_named
from polyvae.modality import Modality
from polyvae.objectives import UNCOVERED
from polyvae.runs import rows as splits
from polyvae.runs.saving import Networks, build_networks
from polyvae.runs.settings import Settings, settings_of
from polyvae.subsets import SubsetMixture


@dataclass(frozen=True)
class Plan:
    """What one run will do.

    content: identity of the whole data set, for those who compare runs; identity: what the run id adds to the config.
    rows: epoch -> training data (new every epoch for fresh pairing). validation, test: held-out data; whole_train,
    whole_test: with the modalities that the run leaves out. attributes: what captions name. sampler: the data set's
    generator, if it has one.
    latent_dim: of this model; a method of one modality has its share of the config's. network_names: name -> network.
    """

    config: RunConfig
    run_id: str
    content: str
    identity: dict[str, Any]
    method: Method
    mixture: SubsetMixture
    settings: Settings
    latent_dim: int
    network_names: dict[str, str]
    rows: Callable[[int], MultimodalDataset]
    validation: MultimodalDataset | None
    test: MultimodalDataset
    whole_test: MultimodalDataset
    whole_train: MultimodalDataset
    attributes: tuple[Attribute, ...]
    sampler: datasets.Sampler | None
    metrics: tuple[str, ...]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self.test.modalities

    @property
    def device(self) -> torch.device:
        return device_named(self.config.device)


def make_plan(config: RunConfig, data: MultimodalDataset | None = None, own: Networks | None = None) -> Plan:
    """Loads (or reuses) the data and checks every name and number of `config` against it.

    data: the user's own data set in place of `config.dataset`. own: networks by modality name.
    Raises InputError, naming the flag, for anything that cannot work.
    """
    config = config if data is None else config.with_(dataset=data.name)
    method = method_named(config.method)
    wanted = metrics.metric_names(config.metrics, pretrained.installed())
    device = device_named(config.device)
    train, test = splits.load_splits(config, data)
    is_own = data is not None or config.dataset == "arrays"
    everything, content = len(train.modalities), splits.identity_of(train, test, is_own)
    (whole_train, whole_test), sampler = (train, test), splits.sampler_of(config, data)
    train, test = (splits.scored(splits.narrowed(part, config, method), config) for part in (train, test))
    mixture = _mixture(config, method, train.names)
    settings = settings_of(config, method, mixture)
    latent_dim = max(1, config.latent_dim // everything) if method.is_single else config.latent_dim
    names = _network_names(config, train, own or {})
    with torch.device("meta"):
        build_networks(list(train.modalities), names, latent_dim, own or {})
    _check_own(own or {}, train, latent_dim)
    attributes = () if data is not None else datasets.DATASETS[config.dataset].attributes
    _check_metrics(wanted, test, config.metrics, sampler is not None or bool(attributes))
    for part, split in ((train, "training"), (test, "test")):
        if not bool((covered := mixture.covers(part.present)).all()):
            row = int((~covered).nonzero()[0])
            raise InputError(f"{split} row {row} has nothing that a term of S encodes; {UNCOVERED}")
    identity = _identity(train, test, is_own, method, mixture, names, own or {})
    train, validation = splits.with_validation(train, config, is_own)
    return Plan(
        config=config,
        run_id=config.run_id(identity),
        content=content,
        identity=identity,
        method=method,
        mixture=mixture,
        settings=settings,
        latent_dim=latent_dim,
        network_names=names,
        rows=splits.rows_by_epoch(train.to(device), config, sampler),
        validation=None if validation is None else validation.to(device),
        test=test.to(device),
        whole_test=whole_test,
        whole_train=whole_train,
        attributes=attributes,
        sampler=sampler,
        metrics=wanted,
    )


def make_plans(configs: Iterable[RunConfig]) -> list[Plan]:
    """A plan a config, as `make_plan` makes them; runs that differ in seed and beta alone are checked once."""
    made: dict[RunConfig, Plan] = {}
    plans = []
    for config in configs:
        seed = config.seed if config.pairing == "fresh" else 0  # new rows are drawn by the seed
        alike = config.with_(seed=seed, beta=1.0)
        if alike not in made:
            made[alike] = make_plan(config)
        found = made[alike]
        plans.append(replace(found, config=config, run_id=config.run_id(found.identity)))
    return plans


def _identity(
    train: MultimodalDataset,
    test: MultimodalDataset,
    is_own: bool,
    method: Method,
    mixture: SubsetMixture,
    names: dict[str, str],
    own: Networks,
) -> dict[str, Any]:
    """What a config only names: the data's content, networks that the data ask for, the user's own S and networks."""
    identity: dict[str, Any] = {"data": splits.identity_of(train, test, is_own)}
    if described := {name: names[name] for name in train.info.get("networks", {}) if name in names}:
        identity["described_networks"] = described
    identity |= {"subsets": subsets.to_json(mixture)} if method.mixture is None else {}
    return identity | ({"networks": _networks_identity(own)} if own else {})


def _check_metrics(wanted: tuple[str, ...], test: MultimodalDataset, text: str, has_judge: bool) -> None:
    """What is asked for by name must have a meaning here; of `default` and `all` the record notes what has none."""
    asked = [part.strip() for part in text.split(",")]
    if wanted and len(test) < 2 and {"default", "all"} & set(asked):
        raise InputError("--test-size is 1; metrics need at least 2 test rows (or say --metrics none)")
    for name in wanted:
        lack = metrics.unmet(name, test)
        if lack is None and metrics.METRICS[name].needs == "judge" and not has_judge:
            lack = f"data set {test.name!r} has no judge"
        if name in asked and lack is not None:
            raise InputError(f"--metrics {name}: {lack}; leave it out")


def device_named(name: str) -> torch.device:
    """The device of `--device`. Raises InputError when this machine has no such device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros((), device=device, dtype=torch.float64).item()  # mps has none
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(
            f"--device {name}: not available here ({str(error).splitlines()[0]}); use auto or cpu"
        ) from error
    return device


def _mixture(config: RunConfig, method: Method, names: tuple[str, ...]) -> SubsetMixture:
    if (method.mixture is None) != (config.subsets is not None):
        raise InputError("--subsets FILE.json and --method custom go together; give both or neither")
    if method.mixture is not None:
        return method.mixture(names)
    try:
        return subsets.from_text(str(config.subsets), names)
    except InputError as error:
        raise InputError(f"--subsets: {error}") from error


def _network_names(config: RunConfig, data: MultimodalDataset, own: Networks) -> dict[str, str]:
    described = data.info.get("networks", {})
    names = {m.name: described.get(m.name, networks.default(m)) for m in data.modalities}
    names |= by_modality(config.network, tuple(names), "network")
    if unknown := sorted(set(own) - set(names)):
        raise InputError(f"networks for unknown modality {unknown[0]!r}; the data has {', '.join(names)}")
    return names | dict.fromkeys(own, "own")


def _check_own(own: Networks, data: MultimodalDataset, latent_dim: int) -> None:
    """Tries copies of the user's networks on two rows: a wrong shape could be broadcast and go unseen."""
    batch = data.batch([0, 0])
    for modality in data.modalities:
        if modality.name not in own:
            continue
        encoder, decoder = (copy.deepcopy(module).to("cpu").eval() for module in own[modality.name])
        try:
            with torch.no_grad():
                mean, logvar = encoder(batch.values[modality.name])
                params = decoder(torch.zeros(2, latent_dim))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"networks[{modality.name!r}] fail on two rows of the data: {error}") from error
        if not mean.shape == logvar.shape == (2, latent_dim):
            shapes = f"{tuple(mean.shape)} and {tuple(logvar.shape)}"
            raise InputError(f"the encoder of {modality.name!r} gives {shapes} for 2 rows, not {(2, latent_dim)} each")
        if params.shape != (2, *modality.shape):
            raise InputError(
                f"the decoder of {modality.name!r} gives {tuple(params.shape)} for 2 rows, not {(2, *modality.shape)}"
            )


def _networks_identity(own: Networks) -> str:
    digest = hashlib.sha256()
    for name, pair in sorted(own.items()):
        for module in pair:
            digest.update(f"{name} {module!r}".encode())
            for key, value in module.state_dict().items():
                digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
