"""Pictures of what a model generates, as PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from polyvae import files
from polyvae.dataset import MultimodalDataset
from polyvae.metrics.extractors import prepared
from polyvae.metrics.protocol import GenerativeModel, check_images, has_all, image_names, scoring
from polyvae.modality import Batch
from polyvae.noise import RowNoise

COLUMNS = 10
DRAWS = 10
GAP = 1
BAND_GAP = 4
ENLARGE = 2


def write_grids(
    model: GenerativeModel, data: MultimodalDataset, folder: Path, *, seed: int = 0, columns: int = COLUMNS
) -> list[Path]:
    """Writes all grids into `folder` and returns their paths; image modalities only.

    reconstruction.png: for each modality, test images and under them what the model makes of the whole row.
    unconditional.png: a row per modality, a column per prior sample.
    conditional_<given>_<target>.png: test images of `given`, under them ten draws of `target` (paper, figure 10).
    The columns are test rows with nothing missing, one of each class first; without such rows only unconditional.png
    is written. Raises InputError when no modality is an image.
    """
    images = check_images(model, data)
    with scoring(model):
        grids = {"unconditional": [_unconditional(model, columns, seed)]}
        rows = example_rows(data, columns)
        if rows:
            batch = data.batch(rows)
            drawn = _drawn(model, batch, data.names, images, RowNoise(seed, "grids/reconstruction", tuple(rows)))
            grids["reconstruction"] = [torch.stack([batch.values[name], drawn[name]]) for name in images]
            for given in images:
                for target in [name for name in images if name != given]:
                    grids[f"conditional_{given}_{target}"] = _conditional(model, batch, rows, given, target, seed)
    paths = []
    for name, bands in grids.items():
        paths.append(folder / f"{name}.png")
        write_png(paths[-1], arrange(bands))
    return paths


def arrange(bands: Sequence[Tensor | Sequence[Tensor]], gap: int = GAP, band_gap: int = BAND_GAP) -> np.ndarray:
    """UInt8 (height, width, 3), white between the images. A band is a block of rows (row, column, channel, height,
    width) with values in [0, 1], or a list of rows (column, channel, height, width) whose image sizes may differ."""
    strips: list[np.ndarray] = []
    for band in bands:
        for index, row in enumerate(band):
            pixels = (prepared(row) * 255).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()
            pixels = np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels
            framed = np.pad(pixels, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
            top = band_gap if index == 0 and strips else 0
            strips.append(np.pad(np.hstack(list(framed)), ((top, 0), (0, 0), (0, 0)), constant_values=255))
    width = max(strip.shape[1] for strip in strips)
    whole = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return np.pad(np.vstack(whole), ((gap, 0), (gap, 0), (0, 0)), constant_values=255)


def write_png(path: Path, pixels: np.ndarray, enlarge: int = ENLARGE) -> None:
    """Writes UInt8 (height, width, 3), each pixel as a square of `enlarge` pixels a side."""
    with files.atomic(path) as temporary:
        Image.fromarray(pixels.repeat(enlarge, 0).repeat(enlarge, 1)).save(temporary, format="PNG", optimize=True)


def example_rows(data: MultimodalDataset, count: int) -> list[int]:
    """Rows with nothing missing: the first of each class in order, then the first others, at most `count`."""
    complete = has_all(data, data.present, data.names).nonzero().squeeze(1).tolist()
    first: dict[int, int] = {}
    if data.labels is not None:
        for row in complete:
            first.setdefault(int(data.labels[row]), row)
    chosen = [first[label] for label in sorted(first)]
    return (chosen + [row for row in complete[: count + len(chosen)] if row not in chosen])[:count]


def _unconditional(model: GenerativeModel, count: int, seed: int) -> list[Tensor]:
    images = image_names(model)
    codes = model.prior_codes(count, RowNoise(seed, "grids/unconditional", tuple(range(count))))
    decoded = model.decode({name: codes[name] for name in images})
    return [decoded[name].mean for name in images]


def _conditional(
    model: GenerativeModel, batch: Batch, rows: Sequence[int], given: str, target: str, seed: int
) -> list[Tensor]:
    """Two bands: the inputs, and the draws (draw, column, ...)."""
    draws = [
        _drawn(model, batch, (given,), (target,), RowNoise(seed, f"grids/{draw}", tuple(rows)))[target]
        for draw in range(DRAWS)
    ]
    return [batch.values[given][None], torch.stack(draws)]


def _drawn(
    model: GenerativeModel, batch: Batch, given: Sequence[str], targets: Sequence[str], noise: RowNoise
) -> dict[str, Tensor]:
    decoded = model.decode(model.posterior_codes(batch, given, targets, noise))
    return {name: likelihood.mean for name, likelihood in decoded.items()}
