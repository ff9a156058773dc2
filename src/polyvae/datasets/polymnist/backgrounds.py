"""Background pictures: those that ship with polyvae, or the user's own."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polyvae import archives
from polyvae.datasets.polymnist.digits import ASSETS, DIGIT, resolve
from polyvae.errors import InputError

# Modality k shows picture k. Ordered by how well an inverted digit shows; a released order never changes.
VENDORED = ("hubble", "flower", "rocket", "coffee", "retina", "astronaut", "china", "camera", "cell", "chelsea")
SUFFIXES = {".png", ".jpg", ".jpeg"}


class Picture(NamedTuple):
    """name: where it is from; pixels: UInt8 (3, height, width)."""

    name: str
    pixels: np.ndarray

    @property
    def contrast(self) -> float:
        """Mean over colour values v in [0, 1] of |2 v - 1|: how far inverting a pixel moves it."""
        return float(np.abs(self.pixels / 127.5 - 1).mean())

    @property
    def grey(self) -> float:
        """|2 E[v] - 1|: zero for a picture whose average is mid-grey."""
        return float(abs(self.pixels.mean() / 127.5 - 1))


def load_pictures(data_dir: Path | str | None = None) -> tuple[Picture, ...]:
    """The pictures of `data_dir`/backgrounds sorted by name, else the vendored ones.

    Raises InputError on a file that is not a picture or has fewer than 29 pixels per side.
    """
    folder = resolve(data_dir)
    if folder is None or not (folder / "backgrounds").is_dir():
        return _vendored()
    paths = sorted(p for p in (folder / "backgrounds").iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{folder / 'backgrounds'} holds no .png or .jpg picture; add some or remove the folder")
    return tuple(_read(path) for path in paths)


def choose(pictures: tuple[Picture, ...], modalities: int, background: int | None) -> tuple[Picture, ...]:
    """One picture per modality: the first ones, or `background` for all of them."""
    if background is not None:
        if not 0 <= background < len(pictures):
            raise InputError(f"background {background} does not exist; there are pictures 0 to {len(pictures) - 1}")
        return (pictures[background],) * modalities
    if modalities > len(pictures):
        raise InputError(
            f"{modalities} modalities need as many background pictures, there are {len(pictures)}; "
            "put more .png or .jpg files into the folder `backgrounds` of a data directory (--data-dir)"
        )
    return pictures[:modalities]


@lru_cache(maxsize=1)
def _vendored() -> tuple[Picture, ...]:
    return tuple(_read(ASSETS / "backgrounds" / f"{name}.png") for name in VENDORED)


def _read(path: Path) -> Picture:
    try:
        with archives.picture(path) as image:
            pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except InputError as error:
        raise InputError(f"{path} cannot be read as a picture: it is {error}; replace or remove it") from error
    if min(pixels.shape[1:]) <= DIGIT:
        raise InputError(f"{path} is {pixels.shape[2]} x {pixels.shape[1]} pixels; each side must be at least 29")
    return Picture(path.name, np.ascontiguousarray(pixels))
