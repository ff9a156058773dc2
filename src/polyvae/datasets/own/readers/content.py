"""What readers pass on: a sheet is one file, a view is what a modality takes from it, content what `arrays` reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polyvae.datasets.own.roles import LABELS
from polyvae.errors import InputError
from polyvae.file_rows import Array

if TYPE_CHECKING:  # polars starts slowly
    import polars as pl

    from polyvae.datasets.own.readers.scanned import Scanned

ID = "id"


class Headings(NamedTuple):
    """The names of the columns that hold the names of rows, and their classes."""

    id: str = ID
    label: str = LABELS[0]


HEADINGS = Headings()


@dataclass(frozen=True)
class Content:
    """What was read, in the user's units.

    arrays: the keys of `datasets.own.arrays`: <name>, <name>.mask, <name>.features, label, .ids.
    settings: <name> -> what modalities.json may say of it. doubts: <name> or file -> why it may not be meant like that.
    """

    arrays: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    headings: Headings = HEADINGS
    doubts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sheet:
    """One file, or one part of it.

    frame: its columns (of .h5ad and .h5mu: obs), a row each. ids: the column that names rows, None: they have no names.
    matrices: place in the file -> (rows, names of its columns or (), how it is read, dense).
    first_line: of row 0 in an editor; None without lines. first_row: in the file, if these are only some of its rows.
    """

    path: Path
    frame: "pl.DataFrame | Scanned"
    ids: str | None = None
    matrices: Mapping[str, Callable[[], tuple[np.ndarray, Sequence[str]]]] = field(default_factory=dict)
    first_line: int | None = None
    first_row: int = 0

    def row(self, index: int) -> str:
        return f"row {index + self.first_row}" if self.first_line is None else f"line {index + self.first_line}"

    def place(self, column: str) -> str:
        return f"{self.path}, column {column!r}"

    @property
    def shown(self) -> str:
        more = ", ..." if self.frame.width > 20 else ""
        return f"{self.path} has {', '.join(self.frame.columns[:20])}{more}"

    @cached_property
    def _columns(self) -> frozenset[str]:
        return frozenset(self.frame.columns)

    def column(self, name: str) -> "pl.Series":
        """Raises InputError for a column that is not there."""
        if name not in self._columns:
            raise InputError(f"no column {name!r}; {self.shown}")
        return self.frame[name]

    def names_of_rows(self) -> np.ndarray | None:
        """ids as integers or strings without blanks around them. Raises InputError for a row without one, or one
        twice."""
        if self.ids is None:
            return None
        column = trimmed(self.column(self.ids))
        if column.null_count():
            row = int(column.is_null().arg_max() or 0)
            raise InputError(f"{self.place(self.ids)}, {self.row(row)}: no id; give each row one")
        names = column.to_numpy() if column.dtype.is_integer() else np.array(column.cast(str).to_list())
        _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
        if len(first) < len(names):
            row = int(np.flatnonzero(first[inverse] != np.arange(len(names)))[0])
            where = f"{self.row(int(first[inverse][row]))} and {self.row(row)}"
            other = f"use it as --group {self.ids}, or --leave-out {self.ids}" if self.ids else "save without an index"
            raise InputError(
                f"{self.place(self.ids)}: {names[row]} is in {where}; give each row a different id, or remove one; if "
                f"the column does not name rows, {other}"
            )
        return names


def trimmed(column: "pl.Series") -> "pl.Series":
    """Words without blanks around them, and whole numbers as integers: pandas writes 1.0 where another row has none."""
    import polars as pl

    if column.dtype == pl.String:
        return column.str.strip_chars()
    if not column.dtype.is_float():
        return column
    known = column.fill_nan(None)
    whole = known.cast(pl.Int64, strict=False)
    return whole if known.equals(whole.cast(column.dtype)) else column


@dataclass(frozen=True, eq=False)
class View:
    """What a modality takes from a sheet.

    read: () -> ((row, ...) of the sheet, names of features or ()); objects may be None where a row has nothing, and
    numbers in a file. columns: those of the sheet that it is made of. no_numbers: those of them that should hold
    numbers but do not -> what one holds.
    """

    name: str
    sheet: Sheet
    read: Callable[[], tuple[Array, Sequence[str]]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[str] = ()
    no_numbers: Mapping[str, Any] = field(default_factory=dict)
