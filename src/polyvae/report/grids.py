"""Sample grids for the page: the best beta of each series, side by side, embedded within a limit."""

import base64
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from polyvae import archives, escapes
from polyvae.errors import InputError
from polyvae.report.runs import Group, Series
from polyvae.runs.store import Damaged, raised, readable

EMBED_LIMIT = 13_000_000  # characters of base64, so that the whole page stays below 15 MB


class Grid(NamedTuple):
    series: Series
    seed: int
    path: Path


class Kind(NamedTuple):
    """The same grid of several series."""

    title: str
    caption: str
    grids: tuple[Grid, ...]
    is_extra: bool = False  # folded on the page, first to be left out


class Picture(NamedTuple):
    uri: str
    width: int
    height: int


def kinds(group: Group) -> list[Kind]:
    """Unconditional, conditional given one modality, reconstruction; only those that at least one run has."""
    one_given = [pair for pair in permutations(group.modalities, 2) if _grids(group, "conditional_{}_{}".format(*pair))]
    shown = [
        Kind(
            "Unconditional samples",
            "Each column is one draw from the prior, decoded into every modality (rows). Look for sharp and varied "
            "pictures, and for the same content within a column.",
            _grids(group, "unconditional"),
        ),
        *(
            Kind(
                f"{target} given {given}",
                f"The first row shows the given {given}, and the rows below are samples of {target}. Look for the "
                "content of the first row in its column (coherence), and for different styles (diversity).",
                _grids(group, f"conditional_{given}_{target}"),
                is_extra=i > 0,
            )
            for i, (given, target) in enumerate(one_given)
        ),
        Kind(
            "Reconstructions",
            "Below each row of test examples are their reconstructions from all modalities. Look for lost detail "
            "and for changed content.",
            _grids(group, "reconstruction"),
        ),
    ]
    return [kind for kind in shown if kind.grids]


def embed(all_kinds: Iterable[Kind], limit: int = EMBED_LIMIT, on_damage: Damaged = raised) -> dict[Path, Picture]:
    """Pictures as data URIs, the folded kinds last, until `limit` characters are used.

    on_damage: called for files that are not pictures, which are left out; by default, the first one is raised.
    """
    chosen: list[Path] = []
    for grid in (grid for kind in sorted(all_kinds, key=lambda kind: kind.is_extra) for grid in kind.grids):
        size = 4 * (grid.path.stat().st_size // 3 + 1)
        if size <= limit:
            limit -= size
            chosen.append(grid.path)
    return dict(readable(lambda path: (path, _embedded(path)), chosen, on_damage))


def _embedded(path: Path) -> Picture:
    size = read_picture(path).size
    return Picture(f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}", *size)


def _grids(group: Group, stem: str) -> tuple[Grid, ...]:
    first, stem = [(series, series.best[0]) for series in group.series], escapes.file_name(stem)
    return tuple(Grid(s, run.config.seed, run.samples[stem]) for s, run in first if stem in run.samples)


def read_picture(path: Path) -> Image.Image:
    """The picture in RGB. Raises InputError that names a file that is damaged or not a picture."""
    try:
        with archives.picture(path) as image:
            return image.convert("RGB")
    except InputError as error:
        raise InputError(f"{path} is not a picture: {error}; delete it, then run the same command again") from error
