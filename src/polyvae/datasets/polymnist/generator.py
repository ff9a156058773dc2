"""PolyMNIST-type data: each modality shows another image of the same digit class on crops of its own picture.

The rules are those of the published generators (Sutter et al. 2021; Daunhawer et al. 2022 for the translated and
repeated variants). A crop corner is uniform in [0, width - 28) x [0, height - 28), upper ends never used; colours are
inverted (255 - v) where the digit is above 128; only the label is shared.

Training and test crops come from the same pictures, as published, so a model may know a test background. Of the 2,000
embedded test digits 36 % stand, in m0, on a crop that one of the 12,000 training digits has (27 to 43 % in the other
modalities); with MNIST's 60,000 training digits 89 % are expected (80 to 93 %).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.datasets.cache import cached, checksum
from polyvae.datasets.polymnist.backgrounds import Picture, choose, load_pictures
from polyvae.datasets.polymnist.digits import DIGIT, load_digits, threshold
from polyvae.errors import InputError
from polyvae.likelihoods import Laplace
from polyvae.modality import Modality

VERSION = 1  # part of every cache key: raise it when the same parameters give other bytes
GRID = 4
CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class PolyMNISTOptions:
    """What can be chosen of PolyMNIST; its variants open what is fixed here.

    scale: None, or the side of the digits, from 1/28 up and below 1; they then stand anywhere on the canvas.
    background: None, or the picture that all modalities share. held_out: so many digits d never stand in quadrant
    d mod 4. crop_range: None, or crop corners lie in [0, crop_range)^2.
    pairing: "fixed" uses each digit exactly once per modality, in one fixed crop; "fresh" draws rows independently
    from the generator, any number of them. data_dir: folder with mnist/ and backgrounds/, None: what ships.
    Raises InputError on values out of range.
    """

    modalities: int = 5
    scale: float | None = field(default=None, init=False)
    background: int | None = field(default=None, init=False)
    held_out: int = field(default=0, init=False)
    crop_range: int | None = None
    pairing: Literal["fixed", "fresh"] = "fixed"
    data_dir: Path | str | None = None

    def __post_init__(self) -> None:
        if self.modalities < 1:
            raise InputError(f"modalities {self.modalities} must be at least 1")
        if not 0 <= self.held_out <= 10:
            raise InputError(f"held_out {self.held_out} must be from 0 to 10, a number of digits")


@dataclass(frozen=True, kw_only=True)
class TranslatedOptions(PolyMNISTOptions):
    """Small digits anywhere on the canvas."""

    scale: float | None = 0.5
    held_out: int = 0


@dataclass(frozen=True, kw_only=True)
class RepeatedOptions(PolyMNISTOptions):
    """One picture for all modalities."""

    background: int | None = 0


class Placement(NamedTuple):
    """What a modality's images are made of.

    digit: Int64 (row,), index into the pool; corner of the crop and offset of the digit: Int64 (row, 2), y then x.
    """

    digit: np.ndarray
    corner: np.ndarray
    offset: np.ndarray

    def rows(self, indices: np.ndarray | slice) -> "Placement":
        return Placement(*(field[indices] for field in self))


class Draws(NamedTuple):
    """Fresh images and what is true of them.

    images: UInt8 (row, 3, 28, 28); digit, cell, modality: Int64 (row,); offset: Int64 (row,), the quadrant of the
    translation, or None when digits are not translated. cell: which of the 4 x 4 fields of its picture the crop
    corner lies in, counted through all pictures.
    """

    images: Tensor
    digit: Tensor
    cell: Tensor
    modality: Tensor
    offset: Tensor | None

    def to(self, device: torch.device) -> "Draws":
        offset = None if self.offset is None else self.offset.to(device)
        return Draws(
            self.images.to(device), self.digit.to(device), self.cell.to(device), self.modality.to(device), offset
        )


class Tuples(NamedTuple):
    """Images of each modality, UInt8 (row, 3, 28, 28), their label Int64 (row,), and `Sampler.places` of each."""

    images: list[Tensor]
    label: Tensor
    places: list[Tensor]


@dataclass(frozen=True, eq=False)
class Sampler:
    """Endless fresh draws of one generator, and the only code that renders its images.

    masks: Bool (pool, side, side), the (resized) digits above 128; labels: Int64 (pool,).
    pictures: one per modality, the same object where modalities share it; travel: a digit's corner is in [0, travel)^2.
    held_out: digits d below it never stand in quadrant d mod 4 of the canvas; shows_held_out: they stand only there.
    crop_range: a crop's corner lies in [0, crop_range)^2, None: anywhere in its picture.
    """

    masks: np.ndarray
    labels: np.ndarray
    pictures: tuple[Picture, ...]
    travel: int
    held_out: int = 0
    shows_held_out: bool = False
    crop_range: int | None = None

    @property
    def cells(self) -> int:
        """How many classes `Draws.cell` has."""
        return GRID * GRID * (1 if self._shares_picture else len(self.pictures))

    @property
    def offsets(self) -> int:
        """How many classes `Draws.offset` has: 4, or 0 when digits are not translated."""
        return 4 if self.travel > 1 else 0

    def draw(self, count: int, rng: np.random.Generator, modality: int | None = None) -> Draws:
        """`count` independent images of modality `modality`, or of modalities drawn uniformly."""
        which = np.full(count, modality) if modality is not None else _below(rng, len(self.pictures), (count,))
        placement = self._place(_below(rng, len(self.labels), (count,)), which, rng)
        images = np.empty((count, 3, DIGIT, DIGIT), np.uint8)
        for index in np.unique(which):
            rows = which == index
            images[rows] = self.render(index, placement.rows(rows))
        facts = (images, self.labels[placement.digit], self._cell(placement.corner, which), which)
        quadrant = torch.from_numpy(self.quadrant(placement.offset)) if self.offsets else None
        return Draws(*map(torch.from_numpy, facts), quadrant)

    def draw_tuples(self, count: int, rng: np.random.Generator) -> Tuples:
        """`count` independent tuples."""
        placements, label = self.place_tuples(count, rng)
        images = [torch.from_numpy(self.render(modality, placement)) for modality, placement in enumerate(placements)]
        return Tuples(images, torch.from_numpy(label), self.places(placements))

    def place_tuples(self, count: int, rng: np.random.Generator) -> tuple[list[Placement], np.ndarray]:
        """What `count` independent tuples are made of, for each modality, and their label (row,)."""
        able = np.flatnonzero(self.labels < self.held_out) if self.shows_held_out else np.arange(len(self.labels))
        label = self.labels[able[_below(rng, len(able), (count,))]]
        order, sizes = np.argsort(self.labels, kind="stable"), np.bincount(self.labels, minlength=10)
        first = np.cumsum(sizes) - sizes
        placements = []
        for modality in range(len(self.pictures)):
            digit = order[first[label] + _below(rng, sizes[label], (count,))]
            placements.append(self._place(digit, np.full(count, modality), rng))
        return placements, label

    def place_pool(self, modality: int, rng: np.random.Generator) -> Placement:
        """Every digit once, permuted within its class, classes one after the other; fixed crops and translations."""
        digit = np.lexsort((rng.random(len(self.labels)), self.labels))
        return self._place(digit, np.full(len(digit), modality), rng)

    def render(self, modality: int, placement: Placement) -> np.ndarray:
        """Images UInt8 (row, 3, 28, 28)."""
        rows, side = len(placement.digit), self.masks.shape[1]
        windows = sliding_window_view(self.pictures[modality].pixels, (DIGIT, DIGIT), axis=(1, 2))
        images = np.empty((rows, 3, DIGIT, DIGIT), np.uint8)
        for start in range(0, rows, CHUNK):
            digit, corner, offset = placement.rows(slice(start, start + CHUNK))
            canvas = np.zeros((len(digit), DIGIT, DIGIT), bool)
            places = sliding_window_view(canvas, (side, side), axis=(1, 2), writeable=True)
            places[np.arange(len(digit)), offset[:, 0], offset[:, 1]] = self.masks[digit]
            crops = windows[:, corner[:, 0], corner[:, 1]].swapaxes(0, 1)
            np.subtract(255, crops, out=images[start : start + CHUNK])
            np.copyto(images[start : start + CHUNK], crops, where=~canvas[:, None])
        return images

    def places(self, placements: Sequence[Placement]) -> list[Tensor]:
        """The quadrant of each modality's digits, Int64 (row,); empty where digits are not translated."""
        return [torch.from_numpy(self.quadrant(each.offset)) for each in placements] if self.offsets else []

    def quadrant(self, offset: np.ndarray) -> np.ndarray:
        """2 [lower half] + [right half] of the places that a digit can have, (row,). offset: (row, 2)."""
        return (2 * offset >= self.travel) @ (2, 1)

    @property
    def _shares_picture(self) -> bool:
        return len({id(picture) for picture in self.pictures}) == 1 and len(self.pictures) > 1

    def _place(self, digit: np.ndarray, modality: np.ndarray, rng: np.random.Generator) -> Placement:
        room = self._room[modality] if self.crop_range is None else self.crop_range
        corner = _below(rng, room, (len(digit), 2))
        offset = _below(rng, self.travel, (len(digit), 2))
        while self.held_out and (wrong := self._is_held_out(digit, offset) != self.shows_held_out).any():
            offset[wrong] = _below(rng, self.travel, (int(wrong.sum()), 2))
        return Placement(digit, corner, offset)

    def _is_held_out(self, digit: np.ndarray, offset: np.ndarray) -> np.ndarray:
        label = self.labels[digit]
        return (label < self.held_out) & (self.quadrant(offset) == label % 4)

    def _cell(self, corner: np.ndarray, modality: np.ndarray) -> np.ndarray:
        cell = (GRID * corner // self._room[modality]) @ (GRID, 1)
        return cell if self._shares_picture else cell + GRID * GRID * modality

    @property
    def _room(self) -> np.ndarray:
        return np.array([picture.pixels.shape[1:] for picture in self.pictures]) - DIGIT


def load_sampler(options: PolyMNISTOptions, *, split: str = "train") -> Sampler:
    """The generator with the digits of one split. Raises InputError for what the pictures or digits do not offer."""
    pictures = choose(load_pictures(options.data_dir), options.modalities, options.background)
    room = min(min(picture.pixels.shape[1:]) for picture in pictures) - DIGIT
    if options.crop_range is not None and not 1 <= options.crop_range <= room:
        raise InputError(f"crop_range {options.crop_range} must be from 1 to {room}, the room that the pictures leave")
    digits = load_digits(split, options.data_dir)
    masks, travel = threshold(digits, options.scale)
    labels = digits.labels.numpy()
    return Sampler(masks, labels, pictures, travel, options.held_out, crop_range=options.crop_range)


def load_polymnist(
    name: str, options: PolyMNISTOptions, *, split: str, size: int | None, seed: int
) -> MultimodalDataset:
    """PolyMNIST and its variants, in rows shuffled by `seed` so that a prefix is a fair subset.

    size: number of tuples, None for one per digit of the split. Raises InputError on values out of range.
    """
    sampler = load_sampler(options, split=split)
    pool = len(sampler.labels)
    if size is not None and size > pool and options.pairing == "fixed":
        raise InputError(
            f"size {size} is more than the {pool} digits of this split; ask for at most {pool}, name a folder with "
            "full MNIST (--data-dir DIR), or use pairing fresh"
        )
    parameters = {
        "generator": VERSION,
        "split": split,
        "modalities": options.modalities,
        "size": pool if size is None else size,
        "seed": seed,
        "scale": options.scale,
        "pairing": options.pairing,
        "digits": {"count": pool, "sha256": checksum(sampler.masks, sampler.labels)},
        "backgrounds": [{"name": p.name, "sha256": checksum(p.pixels)} for p in sampler.pictures],
    }
    parameters |= {"held_out": options.held_out} if options.held_out else {}
    parameters |= {"crop_range": options.crop_range} if options.crop_range else {}
    placements, label = _placed(sampler, parameters)
    stored = cached(parameters, lambda: _build(sampler, placements, label))
    places = {f"m{k}": place for k, place in enumerate(sampler.places(placements))}
    contrasts = {"contrast": [p.contrast for p in sampler.pictures], "grey": [p.grey for p in sampler.pictures]}
    specs = tuple(Modality(f"m{k}", (3, DIGIT, DIGIT), Laplace(0.75)) for k in range(options.modalities))
    values = {m.name: stored[m.name] for m in specs}
    facts = {"labels": stored["label"], "info": parameters | contrasts, "places": places}
    return MultimodalDataset.complete(name, specs, values, **facts)


def _build(sampler: Sampler, placements: Sequence[Placement], label: np.ndarray) -> dict[str, Tensor]:
    images = {f"m{k}": torch.from_numpy(sampler.render(k, placement)) for k, placement in enumerate(placements)}
    return {**images, "label": torch.from_numpy(label)}


def _placed(sampler: Sampler, parameters: Mapping[str, Any]) -> tuple[list[Placement], np.ndarray]:
    """What the images of each modality are made of, and the labels: far cheaper than the images."""
    size, seed, test = parameters["size"], parameters["seed"], int(parameters["split"] == "test")
    if parameters["pairing"] == "fresh":
        return sampler.place_tuples(size, _stream(seed, test, 0, 0))
    order = np.argsort(_stream(seed, test, 0).random(len(sampler.labels)), kind="stable")[:size]
    pools = (sampler.place_pool(k, _stream(seed, test, k + 1)) for k in range(len(sampler.pictures)))
    return [pool.rows(order) for pool in pools], np.sort(sampler.labels)[order]


def _stream(seed: int, *key: int) -> np.random.Generator:
    """An independent generator; one per modality, so that m0 does not depend on how many others there are."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def _below(rng: np.random.Generator, bound: np.ndarray | int, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform integers in [0, bound), made from `random` because its bytes do not change between NumPy versions."""
    return (rng.random(shape) * bound).astype(np.int64)
