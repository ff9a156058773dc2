"""The rows of a run: loaded or given, narrowed to its modalities, scored as its config says, cut for validation."""

import hashlib
import json
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from polyvae import datasets, likelihoods, waiting
from polyvae.config import RunConfig, by_modality, flag, listed
from polyvae.dataset import MultimodalDataset, cut_at_random
from polyvae.errors import InputError
from polyvae.likelihoods import Counts, Likelihood
from polyvae.methods import Method
from polyvae.modality import Modality, Standardise, check_suits
from polyvae.noise import derive_seed

# Published weights of images of 64x64 and captions of 32 words: the MMVAE code's and the MMVM code's.
WEIGHTS = {"mmvae": {"image": str(32 / (3 * 64 * 64))}, "mmvm": {"caption": str(64 * 64 / 32)}}

OF_FILES = ("label", "covariate", "group", "leave_out", "test_data")  # what a config says about the columns of --data


def check_is_dataset(data: object) -> None:
    """Raises InputError for arrays and tables, naming what makes a data set of them."""
    if not isinstance(data, MultimodalDataset | None):
        raise InputError(
            f"data and test are of type MultimodalDataset, not {type(data).__name__}; make them of arrays with "
            'pv.datasets.load("arrays", data=arrays, split="train") and split="test"'
        )


def load_splits(
    config: RunConfig, data: MultimodalDataset | None, test: MultimodalDataset | None = None
) -> tuple[MultimodalDataset, MultimodalDataset]:
    """(training rows, test rows). test: those of `data`; by default they are cut off it.

    Raises InputError for options that the data do not have, or test rows of other modalities.
    """
    known = datasets.DATASETS.get(config.dataset)
    if config.pairing == "fresh" and (data is not None or (known is not None and "pairing" not in known.own_options)):
        raise InputError(f"--pairing fresh: data set {config.dataset!r} has no generator; leave --pairing out")
    if data is not None:
        if told := [name for name in OF_FILES if getattr(config, name) is not None]:
            raise InputError(
                f"{flag(told[0])} is about --data; leave it out, since the data set was given as an object"
            )
        if test is None:
            train, test = _cut(data, config.test_size or max(1, len(data) // 5), config.data_seed, "--test-size")
        else:
            train = data
            _check_test_rows(config, train, test)
        if (config.train_size or 0) > len(train):
            raise InputError(f"--train-size is {config.train_size}, but {len(train)} rows are left for training")
        return train.rows(torch.arange(config.train_size or len(train))), test
    if known is not None and (config.dataset == "arrays") != (config.data is not None):
        raise InputError("--data FILE and --dataset arrays go together; give both or neither")
    options = datasets.options_of(config.dataset, config)
    if config.data is not None:  # the user's file may change under its name, and is cut here
        return _load(config.dataset, (config.train_size, None), config.data_seed, test_size=config.test_size, **options)
    load = _load if config.dataset in datasets.DATASETS.origins else _load_once  # so may the code of a plug-in
    return load(config.dataset, (config.train_size, config.test_size), config.data_seed, **options)


def _check_test_rows(config: RunConfig, train: MultimodalDataset, test: MultimodalDataset) -> None:
    if config.test_size is not None:
        raise InputError("--test-size is a share of the data, and the test rows are given as test; leave one out")
    if (test.modalities, test.covariate) != (train.modalities, train.covariate):
        raise InputError(
            "the test rows have other modalities, units, likelihoods or levels than the data; read them with "
            "datasets.own.new_rows.load_like(rows, data.modalities, data.covariate)"
        )


def _load(
    name: str, sizes: tuple[int | None, int | None], seed: int, /, **options: Any
) -> tuple[MultimodalDataset, MultimodalDataset]:
    train = datasets.load(name, split="train", size=sizes[0], seed=seed, **options)
    if options.get("pairing") == "fresh":  # test tuples are always the fixed ones
        del options["pairing"]
    return train, datasets.load(name, split="test", size=sizes[1], seed=seed, **options)


_load_once = lru_cache(maxsize=4)(_load)


def _cut(data: MultimodalDataset, count: int, seed: int, named: str) -> tuple[MultimodalDataset, MultimodalDataset]:
    """(the rest, `count` rows), by a seeded shuffle; of groups only whole ones."""
    if not 0 < count < len(data):
        raise InputError(f"{named}: {count} of {len(data)} rows held out; leave at least one row on either side")
    rest, held = cut_at_random(data, count, seed, named)
    return data.rows(torch.from_numpy(rest)), data.rows(torch.from_numpy(held))


def narrowed(data: MultimodalDataset, config: RunConfig, method: Method) -> MultimodalDataset:
    chosen = list(data.names) if config.only is None else listed(config.only)
    if method.is_single and len(chosen) != 1:
        raise InputError(f"method unimodal needs exactly one modality, got {', '.join(chosen)}; use --only {chosen[0]}")
    return data.select(chosen)


def scored(data: MultimodalDataset, config: RunConfig, train: MultimodalDataset) -> MultimodalDataset:
    """The data with the likelihoods and weights of the config. train: rows whose median total stands for a library.

    Raises InputError for a likelihood that cannot score the values, and a library for what is not a table of counts.
    """
    kinds = by_modality(config.likelihood, data.names, "likelihood")
    scales = by_modality(config.likelihood_scale, data.names, "likelihood_scale")
    named = WEIGHTS.get(config.modality_weights)
    weights = by_modality(config.modality_weights, data.names, "modality_weights") if named is None else named
    with_library = [] if config.library is None else listed(config.library)
    if unknown := [name for name in with_library if name not in data.names]:
        raise InputError(f"--library names modality {unknown[0]!r}; known: {', '.join(data.names)}")
    modalities = []
    for modality in data.modalities:
        kind, scale = kinds.get(modality.name), scales.get(modality.name)
        likelihood = _likelihood(modality, kind, scale)
        if modality.name in with_library:
            likelihood = _with_library(likelihood, modality, train)
        if isinstance(modality.transform, Standardise) and not likelihood.takes_any_real:
            modality = replace(modality, transform=None)  # what is scored are the values themselves
        if type(likelihood) is not type(modality.likelihood):
            for seen in data.seen(modality.name):
                check_suits(likelihood, modality, seen)
        weight = _number(weights.get(modality.name, str(modality.weight)), "--modality-weights")
        modalities.append(replace(modality, likelihood=likelihood, weight=weight))
    return data.with_modalities(modalities)


def _likelihood(modality: Modality, kind: str | None, scale: str | None) -> Likelihood:
    """The likelihood of this kind and scale; None, for either, is what the modality has."""
    current = modality.likelihood
    if kind is None and scale is None:
        return current
    kind = kind or likelihoods.kind_of(current)
    if scale is None:
        return likelihoods.make(kind, likelihoods.to_json(current).get("scale", likelihoods.SCALE))
    if not likelihoods.has_scale(kind):
        raise InputError(f"--likelihood-scale: the likelihood of {modality.name!r} has no scale; leave it out")
    return likelihoods.make(kind, None if scale == "learned" else _number(scale, "--likelihood-scale"))


def _with_library(likelihood: Likelihood, modality: Modality, train: MultimodalDataset) -> Likelihood:
    """With the median total of the training rows for a library."""
    name = modality.name
    if not isinstance(likelihood, Counts):
        kind = likelihoods.kind_of(likelihood)
        raise InputError(f"--library {name}: its likelihood is {kind}; use --likelihood {name}=negative_binomial")
    if modality.has_gaps or modality.shape == (1,):
        reason = "single values are missing" if modality.has_gaps else "it has a single feature"
        raise InputError(f"--library {name}: {reason}, so a row's total is not a known depth; leave the flag out")
    totals = torch.cat([seen.sum(-1) for seen in train.seen(name)])
    return replace(likelihood, library=float(totals.median()))


def _number(text: str, flag: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{flag} {text!r} is not a number") from None


_MOVED: MutableMapping[Tensor, dict[torch.device, Tensor]] = WeakIdKeyDictionary()  # in main memory -> its copies


def on_device(data: MultimodalDataset, device: torch.device) -> MultimodalDataset:
    """The data on `device`; runs that share rows in main memory share the copy."""
    if waiting.is_free(device):
        return data

    def moved(tensor: Tensor) -> Tensor:
        copies = _MOVED.setdefault(tensor, {})
        if device not in copies:
            copies[device] = tensor.to(device)
        return copies[device]

    return data.mapped(moved)


def with_validation(
    train: MultimodalDataset, config: RunConfig, is_own: bool
) -> tuple[MultimodalDataset, MultimodalDataset | None]:
    """(training rows, validation rows if the config asks for some). is_own: the user's data, a tenth by default."""
    fraction = config.validation_fraction if config.validation_fraction is not None else 0.1 * is_own
    for name, is_asked in (("patience", config.patience), ("average_epochs", (config.average_epochs or 1) > 1)):
        if is_asked and not fraction:
            raise InputError(f"{flag(name)} needs validation data; set --validation-fraction above 0")
    if not fraction:
        return train, None
    if len(train) < 2:
        raise InputError("1 training row is left, none to hold out for validation; make --test-size smaller")
    return _cut(train, max(1, round(fraction * len(train))), config.data_seed, "--validation-fraction")


def sampler_of(config: RunConfig, data: MultimodalDataset | None) -> datasets.Sampler | None:
    if data is not None:
        return None
    return datasets.sampler(config.dataset, **datasets.options_of(config.dataset, config))


def rows_by_epoch(
    train: MultimodalDataset, config: RunConfig, sampler: datasets.Sampler | None
) -> Callable[[int], MultimodalDataset]:
    if config.pairing != "fresh" or sampler is None:
        return lru_cache(maxsize=1)(train.at_epoch)

    @lru_cache(maxsize=1)
    def fresh(epoch: int) -> MultimodalDataset:
        rng = np.random.default_rng(derive_seed(config.seed, "pairing", epoch))
        drawn = sampler.draw_tuples(len(train), rng)
        values, places = (
            {name: of[int(name.removeprefix("m"))] for name in train.names if of} for of in (drawn.images, drawn.places)
        )
        rows = replace(train.to("cpu"), values=values, labels=drawn.label, places=places)
        return rows.to(train.present.device)

    return fresh


def identity_of(train: MultimodalDataset, test: MultimodalDataset, is_own: bool) -> str:
    """The user's data are known by their content, generated ones by their recipe and the checksums in it."""
    if is_own or train.name == "polymnist_folder":  # its recipe holds paths
        return train.fingerprint + test.fingerprint
    recipes = [dict(part.info) for part in (train, test)]
    return hashlib.sha256(json.dumps(recipes, sort_keys=True).encode()).hexdigest()
