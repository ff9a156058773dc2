"""Sample grids for the page: the best beta of each series, side by side."""

from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from polyvae import archives, escapes
from polyvae.errors import InputError
from polyvae.report.album import Album
from polyvae.report.runs import Group, Series
from polyvae.runs.store import Damaged, raised, readable

UNFOLDED = 2  # pairs of given and target: both of two modalities
ROOM = 8_000_000  # characters of base64 of all grids on the page
WIDE = 1000  # pixels


class Grid(NamedTuple):
    series: Series
    seed: int
    path: Path


class Kind(NamedTuple):
    """The same grid of several series."""

    title: str
    grids: tuple[Grid, ...]
    is_extra: bool = False  # folded on the page


class Picture(NamedTuple):
    uri: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        """Whether its text could not be read if it shared a line with others."""
        return self.width > WIDE


def kinds(group: Group) -> list[Kind]:
    """Unconditional, conditional given one modality, reconstruction; only those that at least one run has."""
    one_given = [pair for pair in permutations(group.modalities, 2) if _grids(group, "conditional_{}_{}".format(*pair))]
    shown = [
        Kind("Unconditional samples", _grids(group, "unconditional")),
        *(
            Kind(f"{target} given {given}", _grids(group, f"conditional_{given}_{target}"), is_extra=i >= UNFOLDED)
            for i, (given, target) in enumerate(one_given)
        ),
        Kind("Reconstructions", _grids(group, "reconstruction")),
    ]
    return [kind for kind in shown if kind.grids]


def placed(all_kinds: Iterable[Kind], album: Album, on_damage: Damaged = raised) -> dict[Path, Picture]:
    """Where the page finds each grid; the folded ones come last to its room.

    on_damage: called for files that are not pictures, which are left out; by default, the first one is raised.
    """
    ordered = [grid.path for kind in sorted(all_kinds, key=lambda kind: kind.is_extra) for grid in kind.grids]
    return dict(readable(lambda path: (path, _placed(path, album)), ordered, on_damage))


def _placed(path: Path, album: Album) -> Picture:
    size = read_picture(path).size
    return Picture(album.place(path.read_bytes(), f"{path.parent.parent.name}-{path.stem}", "png"), *size)


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
