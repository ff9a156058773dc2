"""Pages of images and captions as pixels: rows of cells, one column an example."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from polyvae import files
from polyvae.judges.extractors import prepared

GAP, BAND_GAP, ENLARGE = 1, 4, 2
TEXT_CELL, TEXT_SIZE, LEADING, MARGIN = 160, 14, 18, 4  # pixels: width of a column with text, letters, lines, around it
INK = (28, 30, 34)

Row = Tensor | list[str]  # images (column, channel, height, width) with values in [0, 1], or one caption per column


def write_page(path: Path, bands: Sequence[Tensor | Sequence[Row]]) -> None:
    """Writes the rows of all bands, with a gap between bands. Pixels are enlarged to squares; text is wrapped."""
    has_text = any(isinstance(row, list) for band in bands for row in band)
    large = _large if has_text else lambda images: images
    cells = [[_text_row(row) if isinstance(row, list) else large(row) for row in band] for band in bands]
    pixels = arrange(cells, 2 * BAND_GAP if has_text else BAND_GAP)
    enlarge = 1 if has_text else ENLARGE
    with files.atomic(path) as temporary:
        Image.fromarray(pixels.repeat(enlarge, 0).repeat(enlarge, 1)).save(temporary, format="PNG")


def arrange(bands: Sequence[Tensor | Sequence[Tensor]], band_gap: int = BAND_GAP) -> np.ndarray:
    """UInt8 (height, width, 3), white between the images. A band is a block of rows (row, column, channel, height,
    width) with values in [0, 1], or a list of rows (column, channel, height, width) whose image sizes and channels may
    differ."""
    strips: list[np.ndarray] = []
    for band in bands:
        for index, row in enumerate(band):
            pixels = (prepared(coloured(row)) * 255).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()
            framed = np.pad(pixels, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
            top = band_gap if index == 0 and strips else 0
            strips.append(np.pad(np.hstack(list(framed)), ((top, 0), (0, 0), (0, 0)), constant_values=255))
    width = max(strip.shape[1] for strip in strips)
    whole = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return np.pad(np.vstack(whole), ((GAP, 0), (GAP, 0), (0, 0)), constant_values=255)


def coloured(images: Tensor) -> Tensor:
    """Images (..., channel, height, width) with three channels: colour as it is, all others in grey, one channel below
    the other."""
    if images.shape[-3] == 3:
        return images
    return images.flatten(-3, -2).unsqueeze(-3).expand(*images.shape[:-3], 3, -1, -1)


def wrapped(caption: str, width: int) -> list[str]:
    """The lines of a caption, each at most `width` pixels wide unless a single word is wider."""
    lines: list[str] = []
    for word in caption.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font().getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _large(images: Tensor) -> Tensor:
    """The images enlarged by a whole factor and centred in columns as wide as those of text."""
    factor = max(1, TEXT_CELL // images.shape[-1])
    large = images.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    space = max(0, TEXT_CELL - large.shape[-1])
    return torch.nn.functional.pad(large, (space // 2, space - space // 2), value=1.0)


def _text_row(captions: Sequence[str]) -> Tensor:
    """(column, 3, height, width) of captions, as high as the longest needs."""
    lines = [wrapped(caption, TEXT_CELL - 2 * MARGIN) for caption in captions]
    height = LEADING * max(1, *map(len, lines)) + 2 * MARGIN
    cells = []
    for cell in lines:
        image = Image.new("RGB", (TEXT_CELL, height), "white")
        ImageDraw.Draw(image).multiline_text(
            (MARGIN, MARGIN), "\n".join(cell), fill=INK, font=_font(), spacing=LEADING - TEXT_SIZE
        )
        cells.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    return torch.stack(cells).float() / 255


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT_SIZE)
