"""Data sets by name. A new one is one file and one line in `DATASETS`, or `register` in a file of your own."""

from functools import partial
from typing import Any

from polyvae.config import DataOptions, flag
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.birds.cub import ATTRIBUTES as CUB_ATTRIBUTES
from polyvae.datasets.birds.cub import CaptionOptions, CubOptions, load_cub, load_cub_captions
from polyvae.datasets.birds.drawn import ATTRIBUTES, load_toy_captions
from polyvae.datasets.entry import Entry, NoOptions
from polyvae.datasets.own.arrays import ArraysOptions, load_arrays
from polyvae.datasets.polymnist.folder import FolderOptions, load_folder
from polyvae.datasets.polymnist.generator import (
    Draws,
    PolyMNISTOptions,
    RepeatedOptions,
    Sampler,
    TranslatedOptions,
    load_polymnist,
    load_sampler,
)
from polyvae.datasets.symbols import SymbolsOptions, load_symbols
from polyvae.datasets.toy import ToyOptions, load_toy
from polyvae.errors import InputError
from polyvae.options import parsed
from polyvae.registry import Registry

__all__ = ["DATASETS", "Draws", "Entry", "NoOptions", "Sampler", "load", "options_of", "register", "sampler"]

DATASETS: Registry[Entry] = Registry(
    "data set",
    {
        "polymnist": Entry(
            partial(load_polymnist, "polymnist"),
            "digits of one class on crops of one picture per modality (Sutter et al. 2021)",
            PolyMNISTOptions,
            load_sampler,
        ),
        "translated_polymnist": Entry(
            partial(load_polymnist, "translated_polymnist"),
            "the same with small digits anywhere on the canvas (Daunhawer et al. 2022)",
            TranslatedOptions,
            load_sampler,
        ),
        "repeated_polymnist": Entry(
            partial(load_polymnist, "repeated_polymnist"),
            "the same with one picture for all modalities (Daunhawer et al. 2022)",
            RepeatedOptions,
            load_sampler,
        ),
        "polymnist_folder": Entry(
            load_folder, "PolyMNIST as published: PNG files in the data directory's polymnist/ folder", FolderOptions
        ),
        "arrays": Entry(load_arrays, "your own data: .npz, tables, AnnData, pictures", ArraysOptions),
        "toy": Entry(
            load_toy, "linear-Gaussian tables with a known log evidence, for tests and quick trials", ToyOptions
        ),
        "symbols": Entry(
            load_symbols,
            "one-hot symbols with a shared class, every entropy known: for theory and quick trials",
            SymbolsOptions,
        ),
        "toy_captions": Entry(
            load_toy_captions,
            "drawn birds with captions, for tests and quick trials of image and text",
            attributes=ATTRIBUTES,
        ),
        "cub": Entry(
            load_cub,
            "photographs of birds and their captions: Caltech-UCSD Birds in the data directory's cub/ folder",
            CubOptions,
            attributes=CUB_ATTRIBUTES,
        ),
        "cub_captions": Entry(
            load_cub_captions,
            "the captions of Caltech-UCSD Birds alone, also of birds whose picture is not there",
            CaptionOptions,
        ),
    },
)
BUILT_IN = frozenset(DATASETS)  # each of their options has a flag of its own
RESERVED = ("name", "split", "size", "seed", "test_size")  # what `load` and the runs set themselves


def register(name: str, entry: Entry) -> Entry:
    """Adds a data set of your own; see `Entry`. Raises InputError for a name that is taken, or a reserved option."""
    if taken := [option for option in entry.own_options if option in RESERVED]:
        raise InputError(
            f"data set {name!r} cannot have an option {taken[0]!r}, which has a meaning for every data set; call it "
            "something else"
        )
    return DATASETS.register(name, entry)


def load(
    name: str, *, split: str = "train", size: int | None = None, seed: int = 0, **options: Any
) -> MultimodalDataset:
    """The data set `name` (see `DATASETS`); None stands for an option's default.

    size: number of rows of this split, None for all. options: those of the data set, the fields of its `Entry.options`:
    modalities, pairing, crop_range, scale, held_out, background of PolyMNIST and its variants (`PolyMNISTOptions`),
    split_by and crop of cub (`CubOptions`), data, test_size, scaling and text_length of arrays (`ArraysOptions`), and
    data_dir: folder of downloaded or own data, else $POLYVAE_DATA, else what ships with polyvae.
    Raises InputError on an unknown name, on an option that the data set does not have, on values out of range.
    """
    _check_split(split)
    if size is not None and not 1 <= size < 2**31:
        raise InputError(f"size {size} must be at least 1 and below 2^31")
    if seed < 0:
        raise InputError(f"seed {seed} must not be negative")
    entry = DATASETS.named(name)
    return entry.load(entry.built(name, options), split=split, size=size, seed=seed)


def sampler(name: str, *, split: str = "train", **options: Any) -> Sampler | None:
    """Endless fresh draws of the generator behind `name`, or None for data that have no generator.

    options: as for `load`, which raises the same errors.
    """
    _check_split(split)
    entry = DATASETS.named(name)
    built = entry.built(name, options)
    return None if entry.sampler is None else entry.sampler(built, split=split)


def options_of(name: str, config: DataOptions) -> dict[str, Any]:
    """What a config says about the data set `name`, as options for `load` and `sampler`.

    An option of a data set of your own may have the name of a flag; then --data-options counts.
    Raises InputError for --data-options that the data set does not have, or that have a flag of their own.
    """
    given = config.given
    if given.get("pairing") == "fixed":  # true of every data set, also of those without the option
        del given["pairing"]
    text = given.pop("data_options", None)
    own = parsed(text, DATASETS.named(name).options, "--data-options", f"data set {name!r}")
    if own and name in BUILT_IN:
        option, value = min(own.items())
        raise InputError(f"--data-options {text!r}: {option} has a flag of its own; say {flag(option)} {value}")
    return given | own


def _check_split(split: str) -> None:
    if split not in ("train", "test"):
        raise InputError(f"unknown split {split!r}; choose train or test")
