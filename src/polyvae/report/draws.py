"""Draws to choose from (`draws.json` of a run): strips of them for the top of a section, and what its script shows."""

import io
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from polyvae import archives, files
from polyvae.errors import InputError
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.report.album import Album
from polyvae.report.runs import Group, Series
from polyvae.runs.store import DRAWS, Damaged, RunStore, readable
from polyvae.schema import DrawsFile

ROOM = 5_000_000  # characters of base64 of all sheets on the page
MOST, UNFOLDED = 24, 6  # series of a data set: at most, and before the others are folded
COLUMNS_OF_TEXT = 4  # in a strip with text, which would be too narrow to read in more


class Sheet(NamedTuple):
    """Pictures of a modality, a column per row.

    name: its id on the page, and the name of its file. across, down: pixels from cell to cell.
    """

    name: str
    uri: str
    width: int
    height: int
    across: int
    down: int


class Pair(NamedTuple):
    """What the strips show: `target` given `given`."""

    given: str
    target: str


@dataclass(frozen=True)
class Drawn:
    """What a series draws of `columns` rows, `draws` times each, for everything in `given`."""

    series: Series
    columns: int
    draws: int
    given: tuple[tuple[str, ...], ...]
    sheets: Mapping[str, Sheet]
    texts: Mapping[str, Sequence[Sequence[str]]]

    @property
    def names(self) -> list[str]:
        """The modalities, those of pictures first."""
        return [*self.sheets, *self.texts]

    def first_line(self, target: str, given: Sequence[str]) -> int:
        """Where the draws of `target` begin; line 0 are the rows themselves."""
        return 1 + self.draws * [known for known in self.given if target not in known].index(tuple(given))

    def view_box(self, target: str, line: int, count: int, columns: int) -> str:
        """The part of a sheet that holds these lines."""
        sheet = self.sheets[target]
        return f"0 {line * sheet.down} {columns * sheet.across} {count * sheet.down}"


class Strips(NamedTuple):
    """The draws of several series on the same rows. pair: None where there is one modality."""

    members: list[Drawn]
    pair: Pair | None
    columns: int

    @property
    def first(self) -> Drawn:
        """The first that draws the most: its rows are those of all."""
        return max(self.members, key=lambda member: len(member.given))

    @property
    def sheets(self) -> list[Sheet]:
        return list(chain(*(member.sheets.values() for member in self.members)))

    @property
    def choices(self) -> dict[str, Any]:
        """For the script: what can be given, and what each series with several modalities then draws."""
        first = self.first
        if self.pair is None:
            return {}
        return {
            "columns": first.columns,
            "given": first.given,
            "chosen": first.given.index((self.pair.given,)),
            "names": first.names,
            "members": [
                {
                    "label": member.series.label,
                    "method": member.series.method,
                    "draws": member.draws,
                    "sheets": {name: [s.name, s.across, s.down] for name, s in member.sheets.items()},
                    "texts": member.texts,
                }
                for member in self.members
                if member.given == first.given
            ],
        }


def strips(group: Group, album: Album, on_damage: Damaged) -> Strips | None:
    """Of the first run at the best beta of each series that kept draws; None where none did.

    Of many series, those that are the reader's own come first, then those of the highest coherence. All runs of a group
    have the same test rows. Series that draw another number of rows than the first, or are given something else, are
    left out; with one modality nothing can be given.
    """
    found = readable(partial(_drawn, album=album), _chosen(group), on_damage)
    drawn = [member for member in found if member is not None]
    if not drawn:
        return None
    first = max(drawn, key=lambda member: len(member.given))
    alike = [d for d in drawn if d.columns == first.columns and (d.given == first.given or len(d.given) == 1)]
    return Strips(alike, _pair(first), min(first.columns, COLUMNS_OF_TEXT) if first.texts else first.columns)


def _chosen(group: Group) -> list[Series]:
    if len(group.series) <= UNFOLDED:
        return list(group.series)
    return sorted(group.series, key=lambda s: (not s.is_own, -(s.value(LEAVE_ONE_OUT) or 0.0)))[:MOST]


def _pair(drawn: Drawn) -> Pair | None:
    """Pictures given text where there is some, else the second modality given the first."""
    given = next(iter(drawn.texts), drawn.names[0])
    target = next((name for name in drawn.names if name != given), None)
    return Pair(given, target) if target else None


def _drawn(series: Series, album: Album) -> Drawn | None:
    """Raises InputError for draws that are damaged."""
    run = series.best[0]
    content: DrawsFile | None = RunStore(run.folder.parent).draws(run.run_id)
    if content is None:
        return None
    path, given = run.folder / DRAWS, tuple(tuple(names) for names in content["given"])
    lines = {
        name: 1 + content["draws"] * sum(name not in known for known in given)
        for name in (*content["images"], *content["texts"])
    }
    wanted = {(), *((name,) for name in lines if len(lines) > 1)}
    if not wanted <= set(given) or not set(chain(*given)) <= set(lines):
        raise files.damaged(path, f"given is not nothing and each of {', '.join(lines)}")
    for name, rows in content["texts"].items():
        if len(rows) != lines[name] or {len(row) for row in rows} != {content["columns"]}:
            raise files.damaged(path, f"texts {name!r} are not {lines[name]} lines of {content['columns']}")
    sheets = {
        name: _sheet(path, f"{run.run_id}-draws-{i}", code, content["columns"], lines[name], album)
        for i, (name, code) in enumerate(content["images"].items())
    }
    return Drawn(series, content["columns"], content["draws"], given, sheets, content["texts"])


def _sheet(path: Path, name: str, code: str, columns: int, lines: int, album: Album) -> Sheet:
    try:
        content = b64decode(code, validate=True)
        with archives.picture(io.BytesIO(content)) as image:
            image.load()
            (width, height), kind = image.size, image.format
    except (ValueError, InputError) as error:
        raise files.damaged(path, f"the pictures of {name!r}: {error}") from error
    if kind != "WEBP" or (width - 1) % columns or (height - 1) % lines:
        raise files.damaged(path, f"the pictures of {name!r} are not WebP with {columns} columns and {lines} lines")
    return Sheet(name, album.place(content, name, "webp"), width, height, (width - 1) // columns, (height - 1) // lines)
