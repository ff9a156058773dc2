"""Pictures of what a model generates, as PNG files; captions are written out above or below the images."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from torch import Tensor

from polyvae import escapes
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.metrics.protocol import has_all, measuring
from polyvae.modality import Modality
from polyvae.models.contract import Codes, Model, code_draws
from polyvae.pictures.pages import Row, write_page

COLUMNS = 10
DRAWS, TEXT_DRAWS = 10, 4


def write_grids(
    model: Model, data: MultimodalDataset, folder: Path, *, seed: int = 0, columns: int = COLUMNS
) -> list[Path]:
    """Writes all grids into `folder` and returns their paths; images and text only.

    reconstruction.png: for each modality, test rows and under them what the model makes of the whole row.
    unconditional.png: a row per modality, a column per prior sample.
    conditional_<given>_<target>.png: test values of `given`, under them ten draws (for text: four) of `target` (paper,
    figure 10).
    The columns are test rows with nothing missing, one of each class first; without such rows only unconditional.png
    is written. Raises InputError when no modality is an image or text.
    """
    specs = [m for m in model.modalities if m.is_image or m.vocabulary]
    if not specs:
        raise InputError(f"none of {', '.join(model.names)} is an image or text; there is nothing to draw")
    with measuring(model, data, least=0, seed=seed) as trial:
        codes = model.prior_codes(columns, trial.noise("grids/unconditional", tuple(range(columns))))
        samples = decoded(model, {m.name: codes[m.name] for m in specs})
        grids: dict[str, list[Sequence[Row]]] = {"unconditional": [[samples[m.name] for m in specs]]}
        if rows := tuple(example_rows(data, columns)):
            batch = data.batch(rows)
            real = {m.name: shown(m, batch.values[m.name]) for m in specs}
            noise = trial.noise("grids/reconstruction", rows)
            rebuilt = decoded(model, model.posterior_codes(batch, data.names, tuple(real), noise))
            grids["reconstruction"] = [[real[name], rebuilt[name]] for name in real]
            for given, target in permutations(specs, 2):
                draw = code_draws(model, batch, (given.name,), (target.name,))
                noises = [trial.noise(f"grids/{i}", rows) for i in range(TEXT_DRAWS if target.vocabulary else DRAWS)]
                drawn = [decoded(model, draw(noise))[target.name] for noise in noises]
                grids[f"conditional_{given.name}_{target.name}"] = [[real[given.name]], drawn]
    paths = []
    for name, bands in grids.items():
        paths.append(folder / f"{escapes.file_name(name)}.png")
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


def shown(modality: Modality, values: Tensor) -> Row:
    """Model values (column, *shape) as a row of a page."""
    words = modality.vocabulary
    return words.decode(modality.to_original(values)) if words else values


def decoded(model: Model, codes: Codes) -> dict[str, Row]:
    """What the decoders make of codes, by modality."""
    laws = model.decode(codes)
    return {m.name: shown(m, laws[m.name].mean) for m in model.modalities if m.name in laws}
