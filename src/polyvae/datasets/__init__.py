"""Data sets by name. A new one is one file and one line in `DATASETS`."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from polyvae.attributes import Attribute
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.birds.cub import ATTRIBUTES as CUB_ATTRIBUTES
from polyvae.datasets.birds.cub import load_cub, load_cub_captions
from polyvae.datasets.birds.drawn import ATTRIBUTES, load_toy_captions
from polyvae.datasets.own.arrays import load_arrays
from polyvae.datasets.polymnist.folder import load_folder
from polyvae.datasets.polymnist.generator import Draws, Sampler, load_polymnist, load_sampler
from polyvae.datasets.symbols import load_symbols
from polyvae.datasets.toy import load_toy
from polyvae.errors import InputError

__all__ = ["DATASETS", "Draws", "Entry", "Sampler", "load", "sampler"]


class Entry(NamedTuple):
    """load: keyword arguments split, seed and `options` -> MultimodalDataset; sampler: likewise -> Sampler, or None."""

    load: Callable[..., MultimodalDataset]
    description: str
    options: frozenset[str]
    sampler: Callable[..., Sampler] | None = None
    attributes: tuple[Attribute, ...] = ()  # that captions name


_POLYMNIST = frozenset({"modalities", "size", "pairing", "crop_range", "data_dir"})

DATASETS: dict[str, Entry] = {
    "polymnist": Entry(
        partial(load_polymnist, "polymnist"),
        "digits of one class on crops of one picture a modality (Sutter et al. 2021)",
        _POLYMNIST,
        load_sampler,
    ),
    "translated_polymnist": Entry(
        partial(load_polymnist, "translated_polymnist", scale=0.5),
        "the same with small digits anywhere on the canvas (Daunhawer et al. 2022)",
        _POLYMNIST | {"scale", "held_out"},
        partial(load_sampler, scale=0.5),
    ),
    "repeated_polymnist": Entry(
        partial(load_polymnist, "repeated_polymnist", background=0),
        "the same with one picture for all modalities (Daunhawer et al. 2022)",
        _POLYMNIST | {"background"},
        partial(load_sampler, background=0),
    ),
    "polymnist_folder": Entry(
        load_folder,
        "PolyMNIST as published: PNG files in the data directory's polymnist/ folder",
        frozenset({"modalities", "size", "data_dir"}),
    ),
    "arrays": Entry(
        load_arrays,
        "your own arrays: an .npz file with one array a modality",
        frozenset({"data", "size", "test_size"}),
    ),
    "toy": Entry(
        load_toy,
        "linear-Gaussian tables with a known log evidence, for tests and quick trials",
        frozenset({"modalities", "size"}),
    ),
    "symbols": Entry(
        load_symbols,
        "one-hot symbols with a shared class, every entropy known: for theory and quick trials",
        frozenset({"modalities", "size"}),
    ),
    "toy_captions": Entry(
        load_toy_captions,
        "drawn birds with captions, for tests and quick trials of image and text",
        frozenset({"size"}),
        attributes=ATTRIBUTES,
    ),
    "cub": Entry(
        load_cub,
        "photographs of birds and their captions: Caltech-UCSD Birds in the data directory's cub/ folder",
        frozenset({"size", "split_by", "crop", "data_dir"}),
        attributes=CUB_ATTRIBUTES,
    ),
    "cub_captions": Entry(
        load_cub_captions,
        "the captions of Caltech-UCSD Birds alone, also of birds whose picture is not there",
        frozenset({"size", "split_by", "data_dir"}),
    ),
}


def load(
    name: str,
    *,
    split: str = "train",
    modalities: int | None = None,
    size: int | None = None,
    seed: int = 0,
    scale: float | None = None,
    background: int | None = None,
    held_out: int | None = None,
    crop_range: int | None = None,
    pairing: str | None = None,
    split_by: str | None = None,
    crop: str | None = None,
    data: Path | str | Mapping[str, Any] | None = None,
    test_size: int | None = None,
    data_dir: Path | str | None = None,
) -> MultimodalDataset:
    """The data set `name` (see `DATASETS`); None stands for the data set's own default.

    modalities: how many (PolyMNIST and toy: 5). size: number of rows of this split, None for all.
    scale: side of the digits (translated_polymnist: 0.5). background: the shared picture (repeated_polymnist: 0).
    held_out: digits that never stand in one quadrant (translated_polymnist: 0).
    crop_range: crop corners lie in [0, crop_range)^2 (PolyMNIST: anywhere in the picture).
    pairing: "fixed" or "fresh" (PolyMNIST: "fixed"). split_by: "classes" or "images", crop: "none" or "box" (cub: the
    former). data, test_size: the user's arrays and how many rows are held out.
    data_dir: folder of downloaded or own data, else $POLYVAE_DATA, else what ships with polyvae.
    Raises InputError on an unknown name, on an option that the data set does not have, on values out of range.
    """
    entry = _entry(name)
    given = _given(
        modalities=modalities,
        size=size,
        scale=scale,
        background=background,
        held_out=held_out,
        crop_range=crop_range,
        pairing=pairing,
        split_by=split_by,
        crop=crop,
        data=data,
        test_size=test_size,
    )
    _check_options(name, entry, given)
    if data_dir is not None and "data_dir" in entry.options:
        given["data_dir"] = data_dir
    return entry.load(split=split, seed=seed, **given)


def sampler(
    name: str,
    *,
    split: str = "train",
    modalities: int | None = None,
    scale: float | None = None,
    background: int | None = None,
    held_out: int | None = None,
    crop_range: int | None = None,
    split_by: str | None = None,
    crop: str | None = None,
    data_dir: Path | str | None = None,
) -> Sampler | None:
    """Endless fresh draws of the generator behind `name`, or None for data that has no generator."""
    entry = _entry(name)
    given = _given(
        modalities=modalities,
        scale=scale,
        background=background,
        held_out=held_out,
        crop_range=crop_range,
        split_by=split_by,
        crop=crop,
    )
    _check_options(name, entry, given)
    if entry.sampler is None:
        return None
    return entry.sampler(split=split, data_dir=data_dir, **given)


def _entry(name: str) -> Entry:
    if name not in DATASETS:
        raise InputError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    return DATASETS[name]


def _given(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _check_options(name: str, entry: Entry, given: Mapping[str, Any]) -> None:
    for option in given:
        if option not in entry.options:
            raise InputError(f"data set {name!r} has no option {option!r}; it has {', '.join(sorted(entry.options))}")
