"""Caltech-UCSD Birds with captions (Wah et al. 2011; Reed et al. 2016): 64x64 photographs and ten captions each.

A row is an image; its captions are variants, one per epoch in training, so that captions of one image never lie on both
sides of a split. Ten epochs here are one epoch of code that counts captions as rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from polyvae.attributes import Attribute
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.birds.files import IMAGES, TEXT, Files, Pairs, find_files, official_table, pair, refuse
from polyvae.datasets.birds.pictures import SIDE, Box, load_pictures
from polyvae.datasets.cache import checksum
from polyvae.errors import InputError
from polyvae.likelihoods import Laplace
from polyvae.modality import Modality, text_modality
from polyvae.text import Vocabulary

# The class-disjoint split of the MMVAE code: the numbers of its 50 test classes.
# fmt: off
TEST_CLASSES = frozenset({
    1, 4, 6, 8, 9, 14, 23, 29, 31, 33, 34, 35, 36, 37, 38, 43, 49, 51, 53, 66, 72, 79, 83, 84, 86, 91, 95, 96,
    98, 101, 102, 103, 112, 114, 119, 121, 130, 135, 138, 147, 156, 163, 165, 166, 180, 183, 185, 186, 187, 197
})
# fmt: on
_COLOURS = (("black",), ("white",), ("brown", "tan", "beige"), ("grey", "gray"), ("yellow",), ("red", "orange"))
# Nearly every caption names a colour, and few say whose it is; class attributes are not needed.
ATTRIBUTES = (Attribute("colour", (*_COLOURS, ("blue",), ("green",))),)


@dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """What can be chosen of the captions.

    split_by: "classes", train and test share no class (Shi et al. 2019), or "images", the official split of images.
    data_dir: the folder that cub/ lies in.
    """

    split_by: Literal["classes", "images"] = "classes"
    data_dir: Path | str | None = None


@dataclass(frozen=True, kw_only=True)
class CubOptions(CaptionOptions):
    """crop: "none" squeezes a picture into a square, as published; "box" cuts the square around the bird's box."""

    crop: Literal["none", "box"] = "none"


def load_cub(options: CubOptions, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    """The images (3, 64, 64) and captions (32 words) of `data_dir`/cub, rows shuffled by `seed`; labels: class numbers.

    Pictures are decoded once and kept in the cache. Raises InputError that lists all odd files.
    """
    files = find_files(options.data_dir, IMAGES)
    pairs = _pair_once(files, True)
    names = _rows(files, pairs, options.split_by, split, size, seed)
    boxes = _boxes(files, pairs) if options.crop == "box" else {}
    pictures, digest = load_pictures(files, pairs.images, boxes)
    place = {name: index for index, name in enumerate(sorted(pairs.images))}
    captions = _captions(files, pairs, names, options.split_by, split, seed)
    specs = (Modality("image", (3, SIDE, SIDE), Laplace(0.75)), *captions.modalities)
    values = {"image": pictures[torch.tensor([place[name] for name in names])], **captions.values}
    info = {**captions.info, "crop": options.crop, "sha256_of_images": digest}
    return MultimodalDataset.complete(
        "cub", specs, values, labels=captions.labels, info=info, variants=captions.variants
    )


def _boxes(files: Files, pairs: Pairs) -> dict[str, Box]:
    """The bounding box of every picture. Raises InputError that lists the pictures without one."""
    table = official_table(files, "bounding_boxes.txt")
    lacking = [name for name in pairs.images if name not in table]
    refuse([f"{name} has no bounding box" for name in lacking], "use --crop none, or complete bounding_boxes.txt")
    try:
        return {name: tuple(map(float, table[name])) for name in pairs.images}
    except ValueError as error:
        raise InputError(f"bounding_boxes.txt must hold numbers ({error})") from error


def load_cub_captions(options: CaptionOptions, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    """The captions alone, also of images that are not there; otherwise as `load_cub`."""
    files = find_files(options.data_dir, TEXT)
    pairs = _pair_once(files, False)
    names = _rows(files, pairs, options.split_by, split, size, seed)
    return _captions(files, pairs, names, options.split_by, split, seed)


def _rows(files: Files, pairs: Pairs, split_by: str, split: str, size: int | None, seed: int) -> list[str]:
    """The names of the rows that are asked for, in their order."""
    names = _names(files, pairs, split, split_by)
    if not names:
        raise InputError(f"none of the {len(pairs.captions)} birds is in the {split} split by {split_by}")
    if size is not None and size > len(names):
        raise InputError(f"size {size} must be between 1 and the {len(names)} birds of the {split} split")
    # The seed as it is: the split is published, not drawn, and ids of runs on all rows stand for this order of them.
    return [names[i] for i in np.random.default_rng(seed).random(len(names)).argsort()[:size]]


@lru_cache(maxsize=2)
def _pair_once(files: Files, with_images: bool) -> Pairs:
    return pair(files, with_images=with_images)


def _names(files: Files, pairs: Pairs, split: str, split_by: str) -> list[str]:
    """The names of one split, sorted."""
    if split_by == "images":
        is_training = official_table(files, "train_test_split.txt")
        fold = {name: "train" if flag == ["1"] else "test" for name, flag in is_training.items()}
        if missing := sorted(set(pairs.captions) - set(fold)):
            raise InputError(f"train_test_split.txt does not say where {missing[0]} belongs ({len(missing)} missing)")
        return [name for name in pairs.captions if fold[name] == split]
    return [name for name in pairs.captions if _fold_of_class(name.split("/")[0], pairs) == split]


def _fold_of_class(name: str, pairs: Pairs) -> str:
    if name in pairs.published:
        return pairs.published[name]
    return "test" if class_number(name) in TEST_CLASSES else "train"


def class_number(name: str) -> int:
    """001.Black_footed_Albatross -> 1. Raises InputError for a folder with another name."""
    number = name.split(".")[0]
    if not number.isdigit():
        raise InputError(f"class folder {name!r} must be called <number>.<name>, such as 001.Black_footed_Albatross")
    return int(number)


def _captions(
    files: Files, pairs: Pairs, names: Sequence[str], split_by: str, split: str, seed: int
) -> MultimodalDataset:
    """Captions of these names; the vocabulary is that of all training captions."""
    vocabulary = _vocabulary(files, bool(pairs.images), split_by)
    ids = vocabulary.encode([caption for name in names for caption in pairs.captions[name]])
    variants = ids.view(len(names), -1, vocabulary.length)
    labels = torch.tensor([class_number(name.split("/")[0]) for name in names])
    digest = checksum(variants.numpy(), np.array(vocabulary.words))
    info = {"split": split, "split_by": split_by, "seed": seed, "size": len(names), "words": len(vocabulary)}
    info |= {"sha256_of_captions": digest}
    specs, values = (text_modality("caption", vocabulary),), {"caption": variants[:, 0].clone()}
    return MultimodalDataset.complete(
        "cub_captions", specs, values, labels=labels, info=info, variants={"caption": variants}
    )


@lru_cache(maxsize=4)
def _vocabulary(files: Files, with_images: bool, split_by: str) -> Vocabulary:
    pairs = _pair_once(files, with_images)
    names = _names(files, pairs, "train", split_by)
    return Vocabulary.of(caption for name in names for caption in pairs.captions[name])
