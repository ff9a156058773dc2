"""Pictures of what a model generates, as PNG files; captions are written out above or below the images."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.metrics.protocol import check_same, has_all, scoring
from polyvae.modality import Batch, Modality
from polyvae.models.contract import Model
from polyvae.noise import RowNoise
from polyvae.pictures.pages import Row, write_page

COLUMNS = 10
DRAWS, TEXT_DRAWS = 10, 4


def write_grids(
    model: Model, data: MultimodalDataset, folder: Path, *, seed: int = 0, columns: int = COLUMNS
) -> list[Path]:
    """Writes all grids into `folder` and returns their paths; images and text only.

    reconstruction.png: for each modality, test rows and under them what the model makes of the whole row.
    unconditional.png: a row per modality, a column per prior sample.
    conditional_<given>_<target>.png: test values of `given`, under them ten draws (of text: four) of `target` (paper,
    figure 10).
    The columns are test rows with nothing missing, one of each class first; without such rows only unconditional.png
    is written. Raises InputError when no modality is an image or text.
    """
    check_same(model, data)
    specs = [m for m in model.modalities if m.is_image or m.vocabulary]
    if not specs:
        raise InputError(f"none of {', '.join(model.names)} is an image or text; there is nothing to draw")
    with scoring(model):
        grids: dict[str, list[Sequence[Row]]] = {"unconditional": [_unconditional(model, specs, columns, seed)]}
        rows = example_rows(data, columns)
        if rows:
            batch, noise = data.batch(rows), RowNoise(seed, "grids/reconstruction", tuple(rows))
            made = _drawn(model, batch, data.names, specs, noise)
            grids["reconstruction"] = [[_row(m, batch.values[m.name]), made[m.name]] for m in specs]
            for given in specs:
                for target in (m for m in specs if m is not given):
                    grids[f"conditional_{given.name}_{target.name}"] = [
                        [_row(given, batch.values[given.name])],
                        _conditional(model, batch, rows, given, target, seed),
                    ]
    paths = []
    for name, bands in grids.items():
        paths.append(folder / f"{name}.png")
        write_page(paths[-1], bands)
    return paths


def example_rows(data: MultimodalDataset, count: int) -> list[int]:
    """Rows with nothing missing: the first of each class in order, then the first others, at most `count`."""
    complete = has_all(data, data.present, data.names).nonzero().squeeze(1).tolist()
    first: dict[int, int] = {}
    if data.labels is not None:
        for row in complete:
            first.setdefault(int(data.labels[row]), row)
    chosen = [first[label] for label in sorted(first)]
    return (chosen + [row for row in complete[: count + len(chosen)] if row not in chosen])[:count]


def _row(modality: Modality, values: Tensor) -> Row:
    """Model values (column, *shape) as a row of a page."""
    words = modality.vocabulary
    return words.decode(modality.to_original(values)) if words else values


def _unconditional(model: Model, specs: Sequence[Modality], count: int, seed: int) -> list[Row]:
    codes = model.prior_codes(count, RowNoise(seed, "grids/unconditional", tuple(range(count))))
    decoded = model.decode({m.name: codes[m.name] for m in specs})
    return [_row(m, decoded[m.name].mean) for m in specs]


def _conditional(
    model: Model, batch: Batch, rows: Sequence[int], given: Modality, target: Modality, seed: int
) -> list[Row]:
    draws = range(TEXT_DRAWS if target.vocabulary else DRAWS)
    noises = [RowNoise(seed, f"grids/{draw}", tuple(rows)) for draw in draws]
    return [_drawn(model, batch, (given.name,), [target], noise)[target.name] for noise in noises]


def _drawn(
    model: Model, batch: Batch, given: Sequence[str], targets: Sequence[Modality], noise: RowNoise
) -> dict[str, Row]:
    codes = model.posterior_codes(batch, given, [m.name for m in targets], noise)
    decoded = model.decode(codes)
    return {m.name: _row(m, decoded[m.name].mean) for m in targets}
