"""Looking at a data set: a picture of some rows, and its facts."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from polyvae import files
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.likelihoods import END
from polyvae.modality import Modality
from polyvae.pictures.pages import coloured
from polyvae.text import PADDING, UNKNOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL, LINE, LETTER = 0.8, 0.28, 0.1  # inches
TEXT_CELL, TEXT_LINE = 1.5, 20  # where there is text; letters per line


def preview(dataset: MultimodalDataset, path: Path | str, rows: int = 10) -> Path:
    """Writes a PNG of the first `rows` rows: one line per modality, one column per row, labels on top.

    Images are drawn as they are, text is written, tables and classes are bars in model units; absent values stay empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: facts need no figure
    from matplotlib.figure import Figure

    if not 1 <= rows <= len(dataset):
        raise InputError(f"rows {rows} must be between 1 and the {len(dataset)} rows of {dataset.name!r}")
    batch, path = dataset.batch(slice(0, rows)), Path(path)
    margin = LINE + LETTER * max(len(name) for name in dataset.names)
    cell = TEXT_CELL if any(m.vocabulary for m in dataset.modalities) else CELL
    width, height = margin + cell * rows, LINE + cell * len(dataset.modalities)
    figure = Figure(figsize=(width, height), dpi=150)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(dataset.modalities), rows, squeeze=False)
    for line, modality in enumerate(dataset.modalities):
        limit = max(float(batch.values[modality.name].nan_to_num().abs().max()), 1e-6)
        for column, axes in enumerate(grid[line]):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if bool(batch.present[column, line]):
                _draw(axes, modality, batch.values[modality.name][column], limit)
        grid[line][0].set_ylabel(modality.name, rotation=0, ha="right", va="center")
    if batch.label is not None:
        for axes, label in zip(grid[0], batch.label.tolist(), strict=True):
            axes.set_title(str(label), fontsize=10)
    figure.subplots_adjust(margin / width, 0.01, 0.995, 1 - LINE / height, 0.04, 0.04)
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def describe(dataset: MultimodalDataset) -> dict[str, Any]:
    """JSON-able facts: rows, classes, modalities with range and share present, parameters, SHA-256 of the content."""
    facts = []
    for column, modality in enumerate(dataset.modalities):
        here = dataset.present[:, column]
        known = (values[~values.isnan()] for values in dataset.seen(modality.name))
        ends = [(values.min().item(), values.max().item()) for values in known if len(values)]
        facts.append(
            {
                **modality.to_json(),
                **(_text_facts(dataset, modality, here) if modality.vocabulary else {}),
                "dtype": str(dataset.dtype(modality.name)).removeprefix("torch."),
                "range": [min(low for low, _ in ends), max(high for _, high in ends)] if ends else None,
                "present": round(float(here.float().mean()), 4),
            }
        )
    classes = None if dataset.labels is None else np.unique(dataset.labels.numpy(), return_counts=True)
    names = dataset.info.get("label_names")
    if names and classes:
        classes = [names[label] for label in classes[0]], classes[1]
    return {
        "name": dataset.name,
        "rows": len(dataset),
        "classes": None if classes is None else {str(c): int(n) for c, n in zip(*classes, strict=True)},
        "modalities": facts,
        "info": dict(dataset.info),
        "sha256": dataset.fingerprint,
    }


def _text_facts(dataset: MultimodalDataset, modality: Modality, here: Tensor) -> dict[str, Any]:
    """How many captions, how long, how many of their words are unknown, in place of the list of all words."""
    ids = dataset.variants.get(modality.name, dataset.values[modality.name][:, None])[here].flatten(0, 1)
    is_word = (ids != PADDING) & (ids != END)
    lengths = is_word.sum(1)
    words = modality.vocabulary
    return {
        "transform": {"words": len(words or ()), "length": ids.shape[1]},
        "captions": len(ids),
        "captions_a_row": len(ids) // max(1, int(here.sum())),
        "words_a_caption": {"mean": round(float(lengths.float().mean()), 2), "most": int(lengths.max())},
        "unknown_words": round(float((ids == UNKNOWN).sum() / is_word.sum()), 4),
        "first": words.decode(ids[:3]) if words else [],
    }


def _draw(axes: "Axes", modality: Modality, shown: Tensor, limit: float) -> None:
    value = shown.numpy()
    if modality.vocabulary:
        caption = modality.vocabulary.decode(modality.to_original(shown[None]))[0]
        lines = textwrap.fill(caption, TEXT_LINE)
        axes.text(0.5, 0.95, lines, transform=axes.transAxes, ha="center", va="top", fontsize=8, parse_math=False)
        return
    if modality.is_image:
        axes.imshow(coloured(shown).permute(1, 2, 0).numpy(), vmin=0, vmax=1)
        return
    flat = np.nan_to_num(value.reshape(-1))
    axes.axhline(0, color="0.8", linewidth=0.5)
    axes.bar(np.arange(len(flat)), flat, width=1.0, color="#2f6690")
    axes.set_ylim(-limit if flat.min() < 0 else -0.05 * limit, limit)
