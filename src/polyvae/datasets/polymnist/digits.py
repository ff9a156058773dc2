"""MNIST digits: the embedded class-balanced subset, or the standard files in the user's data directory."""

import gzip
import lzma
import os
import zlib
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from polyvae import archives
from polyvae.errors import InputError

ASSETS = Path(__file__).parent.parent / "assets"
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
DIGIT = 28
OPENERS = {".xz": lzma.open, ".gz": gzip.open, "": open}


class Digits(NamedTuple):
    """images: UInt8 (digit, 28, 28), 0 black to 255 white; labels: Int64 (digit,), 0 to 9."""

    images: Tensor
    labels: Tensor


def resolve(data_dir: Path | str | None) -> Path | None:
    """The data directory: the argument, else $POLYVAE_DATA, else None (the embedded data)."""
    given = data_dir or os.environ.get("POLYVAE_DATA")
    return Path(given) if given else None


def load_digits(split: str = "train", data_dir: Path | str | None = None) -> Digits:
    """MNIST (LeCun, Cortes, Burges): 60,000 / 10,000 digits of `data_dir`/mnist, or the embedded 12,000 / 2,000.

    Raises InputError when the directory lacks the files, or when a file is truncated or not what its name says.
    """
    folder = resolve(data_dir)
    if folder is None:
        return _embedded(split)
    return _read_pair(*(_find(folder / "mnist", name) for name in FILES[split]))


@lru_cache(maxsize=2)
def _embedded(split: str) -> Digits:
    return _read_pair(*(ASSETS / "mnist" / f"{name}.xz" for name in FILES[split]))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    wanted = ", ".join(name for pair in FILES.values() for name in pair)
    raise InputError(
        f"no {name} (or .gz) in {folder}; put the four MNIST files there ({wanted}, plain or .gz), fetch them with "
        f"`polyvae data build mnist --data-dir {folder.parent}`, or give no data directory to use the embedded digits"
    )


def _read_pair(images_path: Path, labels_path: Path) -> Digits:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if images.shape[1:] != (28, 28):
        raise InputError(f"{images_path} holds images of {tuple(images.shape[1:])}, expected (28, 28)")
    if len(images) != len(labels):
        raise InputError(f"{images_path} holds {len(images)} images but {labels_path} {len(labels)} labels")
    if not len(labels) or int(labels.max()) > 9:
        raise InputError(f"{labels_path} must hold labels 0 to 9; replace the file")
    return Digits(images, labels.long())


def read_idx(path: Path, dims: int) -> Tensor:
    """The UInt8 array of `dims` axes in an IDX file, plain, .gz or .xz. Raises InputError naming a damaged file."""
    size = 4 + 4 * dims
    try:
        with OPENERS[path.suffix if path.suffix in OPENERS else ""](path, "rb") as file:
            header = file.read(size)
            if header[:4] != bytes((0, 0, 8, dims)) or len(header) < size:
                raise InputError(f"{path} is not an IDX file of {dims}-dimensional bytes; replace the file")
            shape = tuple(np.frombuffer(header, ">u4", dims, 4).tolist())
            archives.check_memory(path, prod(shape))
            archives.check_unpacked(str(path), prod(shape), path.stat().st_size)
            content = file.read(prod(shape) + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read ({error}); replace the file") from error
    if len(content) != prod(shape):
        how = "more" if len(content) > prod(shape) else f"{len(content):,}"
        raise InputError(f"{path} holds {how} bytes, its header says {prod(shape):,}; replace it")
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(shape).copy())


def threshold(digits: Digits, scale: float | None) -> tuple[np.ndarray, int]:
    """The masks Bool (digit, side, side) and how many positions each axis of the canvas offers them.

    With a scale: bilinear without antialiasing, back to bytes by truncation, then > 128; a corner is uniform in
    [0, int(28 (1 - scale))), upper end unused, as published.
    """
    if scale is None:
        return (digits.images > 128).numpy(), 1
    if not 1 / DIGIT <= scale < 1:
        raise InputError(f"scale {scale} must be at least 1/28 and below 1")
    resized = interpolate(digits.images[:, None].float(), scale_factor=scale, mode="bilinear").squeeze(1)
    return (resized.to(torch.uint8) > 128).numpy(), max(1, int(DIGIT * (1 - scale)))
