"""A config resolved against its data: everything that can be wrong is found here, before compute is spent."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyvae import datasets, likelihoods, metrics, networks, subsets
from polyvae.config import RunConfig, by_modality
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.files import read_json
from polyvae.methods import Method, method_named
from polyvae.modality import Modality
from polyvae.noise import derive_seed
from polyvae.saving import Networks, build_networks
from polyvae.subsets import SubsetMixture


@dataclass(frozen=True)
class Plan:
    """What one run will do.

    rows: epoch -> training data (new every epoch for fresh pairing). validation, test: held-out data; whole_test:
    with the modalities that the run leaves out. sampler: the data set's generator, if it has one.
    latent_dim: of this model; `unimodal` has its share of the config's. network_names: name -> network.
    """

    config: RunConfig
    run_id: str
    method: Method
    mixture: SubsetMixture
    latent_dim: int
    network_names: dict[str, str]
    rows: Callable[[int], MultimodalDataset]
    validation: MultimodalDataset | None
    test: MultimodalDataset
    whole_test: MultimodalDataset
    sampler: datasets.Sampler | None
    metrics: tuple[str, ...]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self.test.modalities

    @property
    def allocation(self) -> str:
        """Systematic where S is a mixture, unless the config says otherwise."""
        if self.config.allocation != "auto":
            return self.config.allocation
        return "systematic" if self.mixture.is_bound else "exact"

    @property
    def device(self) -> torch.device:
        return device_named(self.config.device)


def make_plan(config: RunConfig, data: MultimodalDataset | None = None, own: Networks | None = None) -> Plan:
    """Loads (or reuses) the data and checks every name and number of `config` against it.

    data: the user's own data set in place of `config.dataset`. own: networks by modality name.
    Raises InputError, naming the flag, for anything that cannot work.
    """
    method = method_named(config.method)
    wanted = _metric_names(config.metrics)
    device = device_named(config.device)
    train, test = _splits(config, data)
    everything = len(train.modalities)
    whole_test, sampler = test, _sampler(config, data)
    train, test = (_scored(_narrowed(part, config, method), config) for part in (train, test))
    mixture = _mixture(config, method, train.names)
    if config.allocation == "systematic" and not mixture.is_bound:
        raise InputError(f"--allocation systematic: the terms of {config.method} do not all predict all; use exact")
    latent_dim = max(1, config.latent_dim // everything) if method.name == "unimodal" else config.latent_dim
    names = _network_names(config, train, own or {})
    with torch.device("meta"):
        build_networks(list(train.modalities), names, latent_dim, own or {})
    is_own = data is not None or config.dataset == "arrays"
    train, validation = _held_out(train, config, is_own)
    identity: dict[str, Any] = {"data": _data_identity(train, test, is_own)}
    identity |= {"subsets": subsets.to_json(mixture)} if method.mixture is None else {}
    identity |= {"networks": _networks_identity(own)} if own else {}
    return Plan(
        config=config,
        run_id=config.run_id(identity),
        method=method,
        mixture=mixture,
        latent_dim=latent_dim,
        network_names=names,
        rows=_rows(train.to(device), config, sampler),
        validation=None if validation is None else validation.to(device),
        test=test.to(device),
        whole_test=whole_test,
        sampler=sampler,
        metrics=wanted,
    )


def device_named(name: str) -> torch.device:
    """The device of `--device`. Raises InputError when this machine has no such device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {name}: not available here ({str(error).splitlines()[0]}); use auto or cpu"
        ) from error
    return device


def _splits(config: RunConfig, data: MultimodalDataset | None) -> tuple[MultimodalDataset, MultimodalDataset]:
    if data is not None:
        return _cut(data, config.test_size or max(1, len(data) // 5), config.data_seed, "--test-size")
    if (config.dataset == "arrays") != (config.data is not None):
        raise InputError("--data FILE.npz and --dataset arrays go together; give both or neither")
    train, test = _loaded(
        config.dataset,
        config.modalities,
        config.train_size,
        config.test_size,
        config.data_seed,
        config.scale,
        config.background,
        config.data,
        config.data_dir,
    )
    return train, test


@lru_cache(maxsize=4)
def _loaded(
    name: str,
    modalities: int | None,
    train_size: int | None,
    test_size: int | None,
    seed: int,
    scale: float | None,
    background: int | None,
    data: str | None,
    data_dir: str | None,
) -> tuple[MultimodalDataset, MultimodalDataset]:
    options: dict[str, Any] = {
        "modalities": modalities,
        "seed": seed,
        "scale": scale,
        "background": background,
        "data": data,
        "data_dir": data_dir,
    }
    if data is not None:
        options["test_size"] = test_size
    train = datasets.load(name, split="train", size=train_size, **options)
    test = datasets.load(name, split="test", size=None if data is not None else test_size, **options)
    return train, test


def _cut(data: MultimodalDataset, held_out: int, seed: int, flag: str) -> tuple[MultimodalDataset, MultimodalDataset]:
    """(the rest, `held_out` rows), by a seeded shuffle."""
    if not 0 < held_out < len(data):
        raise InputError(f"{flag}: {held_out} of {len(data)} rows held out; leave at least one row on either side")
    order = np.random.default_rng(derive_seed(seed, flag)).permutation(len(data))
    return data.rows(torch.from_numpy(order[held_out:])), data.rows(torch.from_numpy(order[:held_out]))


def _narrowed(data: MultimodalDataset, config: RunConfig, method: Method) -> MultimodalDataset:
    chosen = [name.strip() for name in config.only.split(",")] if config.only else list(data.names)
    if method.name == "unimodal" and len(chosen) != 1:
        raise InputError(f"method unimodal needs exactly one modality, got {', '.join(chosen)}; say --only {chosen[0]}")
    return data.select(chosen)


def _scored(data: MultimodalDataset, config: RunConfig) -> MultimodalDataset:
    """The data with the likelihoods and weights of the config."""
    kinds = by_modality(config.likelihood, data.names, "likelihood")
    scales = by_modality(config.likelihood_scale, data.names, "likelihood_scale")
    weights = by_modality(config.modality_weights, data.names, "modality_weights")
    changed = []
    for modality in data.modalities:
        current = likelihoods.to_json(modality.likelihood)
        scale = current.get("scale", 0.75)
        if modality.name in scales:
            text = scales[modality.name]
            scale = None if text == "learned" else _number(text, "--likelihood-scale")
        likelihood = likelihoods.make(kinds.get(modality.name, current["kind"]), scale)
        weight = _number(weights.get(modality.name, str(modality.weight)), "--modality-weights")
        changed.append(replace(modality, likelihood=likelihood, weight=weight))
    return data.with_modalities(changed)


def _metric_names(text: str) -> tuple[str, ...]:
    """'default' (all there are), 'none', or comma-separated names."""
    if text in ("default", "none"):
        return tuple(metrics.METRICS) if text == "default" else ()
    names = tuple(name.strip() for name in text.split(","))
    if unknown := sorted(set(names) - set(metrics.METRICS)):
        raise InputError(f"--metrics names {unknown[0]!r}; known: {', '.join(metrics.METRICS)}, default, none")
    return names


def _number(text: str, flag: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{flag} {text!r} is not a number") from None


def _mixture(config: RunConfig, method: Method, names: tuple[str, ...]) -> SubsetMixture:
    if (method.mixture is None) != (config.subsets is not None):
        raise InputError("--subsets FILE.json and --method custom go together; give both or neither")
    if method.mixture is not None:
        return method.mixture(names)
    content = read_json(Path(str(config.subsets)))
    terms = content["terms"] if isinstance(content, dict) else content
    return subsets.from_json({"names": names, "terms": terms})


def _network_names(config: RunConfig, data: MultimodalDataset, own: Networks) -> dict[str, str]:
    described = data.info.get("networks", {})
    names = {m.name: described.get(m.name, networks.default(m)) for m in data.modalities}
    names |= by_modality(config.network, tuple(names), "network")
    if unknown := sorted(set(own) - set(names)):
        raise InputError(f"networks for unknown modality {unknown[0]!r}; the data has {', '.join(names)}")
    return names | dict.fromkeys(own, "own")


def _held_out(
    train: MultimodalDataset, config: RunConfig, is_own: bool
) -> tuple[MultimodalDataset, MultimodalDataset | None]:
    fraction = config.validation_fraction if config.validation_fraction is not None else 0.1 * is_own
    if config.patience is not None and not fraction:
        raise InputError("--patience needs validation data; set --validation-fraction above 0")
    if not fraction:
        return train, None
    return _cut(train, max(1, round(fraction * len(train))), config.data_seed, "--validation-fraction")


def _sampler(config: RunConfig, data: MultimodalDataset | None) -> datasets.Sampler | None:
    if data is not None:
        return None
    return datasets.sampler(
        config.dataset,
        modalities=config.modalities,
        scale=config.scale,
        background=config.background,
        data_dir=config.data_dir,
    )


def _rows(
    train: MultimodalDataset, config: RunConfig, sampler: datasets.Sampler | None
) -> Callable[[int], MultimodalDataset]:
    if config.pairing != "fresh":
        return lambda epoch: train
    if sampler is None:
        raise InputError(f"--pairing fresh: data set {config.dataset!r} has no generator; leave --pairing out")

    @lru_cache(maxsize=1)
    def fresh(epoch: int) -> MultimodalDataset:
        rng = np.random.default_rng(derive_seed(config.seed, "pairing", epoch))
        images, labels = sampler.draw_tuples(len(train), rng)
        values = {name: images[int(name.removeprefix("m"))] for name in train.names}
        return replace(train.to("cpu"), values=values, labels=labels).to(train.present.device)

    return fresh


def _data_identity(train: MultimodalDataset, test: MultimodalDataset, is_own: bool) -> str:
    """The user's data are known by their content, generated ones by their recipe and the checksums in it."""
    if is_own:
        return train.fingerprint() + test.fingerprint()
    recipes = [dict(part.info) for part in (train, test)]
    return hashlib.sha256(json.dumps(recipes, sort_keys=True).encode()).hexdigest()


def _networks_identity(own: Networks) -> str:
    digest = hashlib.sha256()
    for name, pair in sorted(own.items()):
        for module in pair:
            digest.update(f"{name} {module!r}".encode())
            for key, value in module.state_dict().items():
                digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
