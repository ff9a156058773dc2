"""A column that names picture files, or holds their bytes: bytes (row, channel, height, width), all of one size."""

import io
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from polyvae.archives import check_memory, picture
from polyvae.datasets.own.readers.content import Sheet
from polyvae.errors import InputError

GREY = ("1", "L", "LA", "La", "I", "F")  # modes of Pillow; those of 16 bits begin with I
DEPTH = 257  # 16 bits over 8 bits


def read_pictures(sheet: Sheet, column: str, folder: Path, size: tuple[int, int] | None) -> tuple[np.ndarray, tuple]:
    """Bytes, grey if all pictures are, else of three channels; None stands for a row that names none.

    Transparent pixels become white, 16 bits become 8, and pictures turn as the camera says. size: (height, width), to
    which the middle of each is cut and scaled; None: all must be of one size.
    Raises InputError that names the file and where the table names it.
    """
    import polars as pl

    values = sheet.column(column)
    names = (values if values.dtype == pl.Binary else values.cast(str)).to_list()
    seen: list[Image.Image | None] = []
    for row, name in enumerate(names):
        shown = "its picture" if isinstance(name, bytes) else repr(name)
        place = f"{sheet.place(column)}, {sheet.row(row)}: {shown}"
        source = None if name is None else io.BytesIO(name) if isinstance(name, bytes) else folder / name
        seen.append(None if source is None else _read(source, place, size))
        _check(seen, place, len(names))
    known = [image for image in seen if image is not None]
    if not known:
        raise InputError(f"{sheet.place(column)} names no picture; leave the view out")
    mode = "L" if all(image.mode == "L" for image in known) else "RGB"
    pixels = np.zeros((len(names), 1 if mode == "L" else 3, known[0].height, known[0].width), np.uint8)
    for row, image in enumerate(seen):
        if image is not None:
            pixels[row] = np.atleast_3d(np.asarray(image.convert(mode))).transpose(2, 0, 1)
    return np.ma.masked_array(pixels, mask=_absent(seen, pixels.shape)), ()


def _absent(seen: list[Image.Image | None], shape: tuple[int, ...]) -> np.ndarray:
    absent = np.array([image is None for image in seen])
    return np.broadcast_to(absent[:, None, None, None], shape)


def _check(seen: list[Image.Image | None], place: str, rows: int) -> None:
    """Raises InputError where the last picture differs in size from the first one, or all will take too much memory."""
    first, last = next((image for image in seen if image is not None), None), seen[-1]
    if first is None or last is None:
        return
    if last is first:
        check_memory(Path(place), 3 * first.width * first.height * rows)
    if last.size != first.size:
        raise InputError(
            f"{place} has {last.width} x {last.height} pixels, the first picture {first.width} x {first.height}; set "
            "the size that all are brought to, such as size = 64"
        )


def _read(source: Path | IO[bytes], place: str, size: tuple[int, int] | None) -> Image.Image:
    """The picture as L or RGB."""
    try:
        with picture(source) as opened:
            image = _plain(ImageOps.exif_transpose(opened))
    except InputError as error:
        is_lost = isinstance(source, Path) and not source.exists()
        fix = "no such file; correct the name, or `folder`" if is_lost else error
        raise InputError(f"{place}: {fix}") from error
    return image if size is None else ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)


def _plain(image: Image.Image) -> Image.Image:
    is_grey = image.mode in GREY or image.mode.startswith("I")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) // DEPTH).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        raise InputError("its pixels are floats; save it with 8 or 16 bits")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert("L" if is_grey else "RGB")
