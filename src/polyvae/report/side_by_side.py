"""Some runs side by side: where their configs differ, their metrics, their sample grids in one picture."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from polyvae import files
from polyvae.errors import InputError
from polyvae.report.grids import read_picture
from polyvae.report.reading import read_run
from polyvae.report.runs import Run
from polyvae.runs.store import RunStore

GAP, HEAD, PAPER, INK = 12, 34, "white", "black"


class Difference(NamedTuple):
    """One setting or metric: its value for each run, None where a run lacks it."""

    name: str
    values: list[Any]


def read(store: RunStore, names: Sequence[str]) -> list[Run]:
    """The runs of these ids, prefixes or folders. Raises InputError for fewer than two, unknown or unfinished ones."""
    if len(names) < 2:
        raise InputError("compare needs at least two runs")
    runs = []
    for name in names:
        folder = store.existing(name)
        if not (folder / "record.json").is_file():
            raise InputError(f"run {folder.name} is not finished; finish it with the command that started it")
        runs.append(read_run(RunStore(folder.parent), folder.name))
    return runs


def settings(runs: Sequence[Run]) -> list[Difference]:
    """The fields of the configs in which these runs differ."""
    rows = _rows([run.config.to_dict() for run in runs])
    return [row for row in rows if any(value != row.values[0] for value in row.values)]


def metrics(runs: Sequence[Run], prefixes: Sequence[str] = ("",)) -> list[Difference]:
    """The metrics whose key starts with one of `prefixes`, in the order of the first run that has them."""
    return _rows([{k: v for k, v in run.metrics.items() if k.startswith(tuple(prefixes))} for run in runs])


def picture(runs: Sequence[Run], path: Path) -> int:
    """Writes the sample grids that at least two runs have, a row per kind, a column per run; returns their number."""
    counts = {kind: sum(kind in run.samples for run in runs) for run in runs for kind in run.samples}
    kinds = [kind for kind, count in counts.items() if count > 1]
    if not kinds:
        return 0
    grids = [[_grid(run.samples.get(kind)) for run in runs] for kind in kinds]
    width = max(image.width for row in grids for image in row)
    heights = [max(image.height for image in row) for row in grids]
    size = (GAP + (width + GAP) * len(runs), GAP + sum(height + HEAD for height in heights))
    sheet, top = Image.new("RGB", size, PAPER), GAP
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for kind, row, height in zip(kinds, grids, heights, strict=True):
        for i, (run, image) in enumerate(zip(runs, row, strict=True)):
            left = GAP + i * (width + GAP)
            pen.text((left, top), f"{kind.replace('_', ' ')}: {run.title}", INK, font=font)
            sheet.paste(image, (left, top + HEAD - GAP))
        top += height + HEAD
    with files.atomic(path) as temporary:
        sheet.save(temporary, format="PNG")
    return len(kinds)


def _rows(columns: Sequence[Mapping[str, Any]]) -> list[Difference]:
    names = dict.fromkeys(chain(*columns))
    return [Difference(name, [column.get(name) for column in columns]) for name in names]


def _grid(path: Path | None) -> Image.Image:
    return Image.new("RGB", (1, 1), PAPER) if path is None else read_picture(path)
