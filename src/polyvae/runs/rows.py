"""The rows of a run: loaded or given, narrowed to its modalities, scored as its config says, held out."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from polyvae import datasets, likelihoods
from polyvae.config import RunConfig, by_modality
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.methods import Method
from polyvae.modality import check_suits
from polyvae.noise import derive_seed

# Published weights of images of 64x64 and captions of 32 words: the MMVAE code's and the MMVM code's.
WEIGHTS = {"mmvae": {"image": str(32 / (3 * 64 * 64))}, "mmvm": {"caption": str(64 * 64 / 32)}}


def load_splits(config: RunConfig, data: MultimodalDataset | None) -> tuple[MultimodalDataset, MultimodalDataset]:
    """(training rows, test rows). Raises InputError for options that the data do not have."""
    known = datasets.DATASETS.get(config.dataset)
    if config.pairing == "fresh" and (data is not None or (known is not None and "pairing" not in known.options)):
        raise InputError(f"--pairing fresh: data set {config.dataset!r} has no generator; leave --pairing out")
    if data is not None:
        train, test = _cut(data, config.test_size or max(1, len(data) // 5), config.data_seed, "--test-size")
        if (config.train_size or 0) > len(train):
            raise InputError(f"--train-size is {config.train_size}, but {len(train)} rows are left for training")
        return train.rows(torch.arange(config.train_size or len(train))), test
    if known is not None and (config.dataset == "arrays") != (config.data is not None):
        raise InputError("--data FILE.npz and --dataset arrays go together; give both or neither")
    options = {"data": config.data, "seed": config.data_seed, "pairing": config.pairing, **generator_options(config)}
    load = _load if config.data is not None else _load_once  # the user's file may change under its name
    return load(config.dataset, config.train_size, config.test_size, **options)


def generator_options(config: RunConfig) -> dict[str, Any]:
    """What fixes the generator of a data set, and so its judge, whatever rows are drawn from it."""
    names = ("modalities", "scale", "background", "held_out", "crop_range", "split_by", "crop", "data_dir")
    return {name: getattr(config, name) for name in names}


def _load(
    name: str, train_size: int | None, test_size: int | None, **options: Any
) -> tuple[MultimodalDataset, MultimodalDataset]:
    data, pairing = options["data"], options.pop("pairing")
    if data is not None:
        options["test_size"] = test_size
    fresh = {"pairing": pairing} if pairing == "fresh" else {}  # the test tuples stay the fixed ones
    train = datasets.load(name, split="train", size=train_size, **options, **fresh)
    test = datasets.load(name, split="test", size=None if data is not None else test_size, **options)
    return train, test


_load_once = lru_cache(maxsize=4)(_load)


def _cut(data: MultimodalDataset, held_out: int, seed: int, flag: str) -> tuple[MultimodalDataset, MultimodalDataset]:
    """(the rest, `held_out` rows), by a seeded shuffle."""
    if not 0 < held_out < len(data):
        raise InputError(f"{flag}: {held_out} of {len(data)} rows held out; leave at least one row on either side")
    order = np.random.default_rng(derive_seed(seed, flag)).permutation(len(data))
    return data.rows(torch.from_numpy(order[held_out:])), data.rows(torch.from_numpy(order[:held_out]))


def narrowed(data: MultimodalDataset, config: RunConfig, method: Method) -> MultimodalDataset:
    chosen = list(data.names) if config.only is None else [name.strip() for name in config.only.split(",")]
    if method.is_single and len(chosen) != 1:
        raise InputError(f"method unimodal needs exactly one modality, got {', '.join(chosen)}; say --only {chosen[0]}")
    return data.select(chosen)


def scored(data: MultimodalDataset, config: RunConfig) -> MultimodalDataset:
    """The data with the likelihoods and weights of the config."""
    kinds = by_modality(config.likelihood, data.names, "likelihood")
    scales = by_modality(config.likelihood_scale, data.names, "likelihood_scale")
    named = WEIGHTS.get(config.modality_weights)
    weights = by_modality(config.modality_weights, data.names, "modality_weights") if named is None else named
    changed = []
    for modality in data.modalities:
        current = likelihoods.to_json(modality.likelihood)
        scale = current.get("scale", 0.75)
        if modality.name in scales:
            if "scale" not in likelihoods.to_json(likelihoods.make(kinds.get(modality.name, current["kind"]))):
                raise InputError(f"--likelihood-scale: the likelihood of {modality.name!r} has no scale; leave it out")
            text = scales[modality.name]
            scale = None if text == "learned" else _number(text, "--likelihood-scale")
        kind = kinds.get(modality.name, current["kind"])
        likelihood = likelihoods.make(kind, scale)
        if kind != current["kind"]:
            check_suits(likelihood, modality, data.values[modality.name][data.present[:, len(changed)]])
        weight = _number(weights.get(modality.name, str(modality.weight)), "--modality-weights")
        changed.append(replace(modality, likelihood=likelihood, weight=weight))
    return data.with_modalities(changed)


def _number(text: str, flag: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{flag} {text!r} is not a number") from None


def held_out(
    train: MultimodalDataset, config: RunConfig, is_own: bool
) -> tuple[MultimodalDataset, MultimodalDataset | None]:
    fraction = config.validation_fraction if config.validation_fraction is not None else 0.1 * is_own
    if config.patience is not None and not fraction:
        raise InputError("--patience needs validation data; set --validation-fraction above 0")
    if not fraction:
        return train, None
    if len(train) < 2:
        raise InputError("1 training row is left, none to hold out for validation; make --test-size smaller")
    return _cut(train, max(1, round(fraction * len(train))), config.data_seed, "--validation-fraction")


def sampler_of(config: RunConfig, data: MultimodalDataset | None) -> datasets.Sampler | None:
    if data is not None:
        return None
    return datasets.sampler(config.dataset, **generator_options(config))


def rows_by_epoch(
    train: MultimodalDataset, config: RunConfig, sampler: datasets.Sampler | None
) -> Callable[[int], MultimodalDataset]:
    if config.pairing != "fresh" or sampler is None:
        return lru_cache(maxsize=1)(train.at_epoch)

    @lru_cache(maxsize=1)
    def fresh(epoch: int) -> MultimodalDataset:
        rng = np.random.default_rng(derive_seed(config.seed, "pairing", epoch))
        images, labels = sampler.draw_tuples(len(train), rng)
        values = {name: images[int(name.removeprefix("m"))] for name in train.names}
        return replace(train.to("cpu"), values=values, labels=labels).to(train.present.device)

    return fresh


def identity_of(train: MultimodalDataset, test: MultimodalDataset, is_own: bool) -> str:
    """The user's data are known by their content, generated ones by their recipe and the checksums in it."""
    if is_own or train.name == "polymnist_folder":  # its recipe holds paths
        return train.fingerprint + test.fingerprint
    recipes = [dict(part.info) for part in (train, test)]
    return hashlib.sha256(json.dumps(recipes, sort_keys=True).encode()).hexdigest()
