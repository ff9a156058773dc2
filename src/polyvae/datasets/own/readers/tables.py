"""CSV, TSV and Parquet files.

In one file, the part of a column's name before its first dot is the modality: `rna.CD3` and `rna.CD19` are two features
of `rna`; a column without a dot is a modality by itself. In several files, each is a modality. Numbers are
quantities, words are classes or text. What is empty or reads NA, NaN or null is missing.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyvae.archives import FIX, check_memory
from polyvae.datasets.own.missing import AS_TEXT
from polyvae.datasets.own.readers.content import ID, Sheet, View
from polyvae.datasets.own.readers.pictures import read_pictures
from polyvae.datasets.own.readers.scanned import Scanned
from polyvae.datasets.own.roles import Roles, check_single_label
from polyvae.errors import InputError
from polyvae.file_rows import Array

if TYPE_CHECKING:
    import polars as pl

MISSING = ("", "NA", "N/A", *AS_TEXT)
SEPARATORS = {".csv": ",", ".tsv": "\t"}
DECIMAL_COMMA = re.compile(rb"[;\n]-?\d*,\d+[;\r\n]")
FORMATS = (*SEPARATORS, ".parquet")
FEW = 2  # columns beside some that tell of the rows; they may do so, too
ALONE = 20  # columns without a prefix; more are the features of one modality whose name was not said


def open_table(path: Path, ids: str | None = None) -> Sheet:
    """ids: the column that names rows. Default: `id`; or the first one, if it has no name or holds different words.

    Raises InputError for what is no table.
    """
    return sheet_of(path, _frame(path), ids, 2 if path.suffix.lower() in SEPARATORS else None)


def sheet_of(
    path: Path, frame: "pl.DataFrame | Scanned", ids: str | None = None, first_line: int | None = None
) -> Sheet:
    """ids: as for `open_table`. Raises InputError for a frame without rows."""
    if not frame.width or not frame.height:
        raise InputError(f"{path} holds no rows; its first line must name the columns, and a row follow")
    if ids is None and (ID in frame.columns or _names_rows(frame)):
        ids = ID if ID in frame.columns else frame.columns[0]
    return Sheet(path, frame, ids, first_line=first_line)


def views_by_prefix(sheet: Sheet, roles: Roles) -> list[View]:
    path, groups, values = sheet.path, {}, _values_of(sheet, roles)
    for column in values:
        prefix, dot, feature = column.partition(".")
        groups.setdefault(prefix if prefix and dot and feature else column, []).append(column)
    if groups and roles.views and not groups.keys() & roles.views.keys():  # new rows of one view, which is the file
        return [view_of_columns(_view_in(sheet, values, roles), sheet, values)]
    alone = [name for name, columns in groups.items() if columns == [name]]
    if len(alone) > ALONE:
        raise InputError(
            f"{path} has {len(alone)} columns without a view ({', '.join(alone[:3])}, ...); call them rna.{alone[0]} "
            'and so on, or name views in a file views.toml: [views.rna], then file = "' + path.name + '"'
        )
    return [view_of_columns(name, sheet, columns) for name, columns in groups.items()]


def views_by_stem(sheets: Sequence[Sheet], roles: Roles) -> list[View]:
    """One for every sheet that has more than ids and what `roles` name."""
    columns = {sheet: _values_of(sheet, roles) for sheet in sheets}
    return [view_of_columns(_view_in(sheet, names, roles), sheet, names) for sheet, names in columns.items() if names]


def forgotten(sheets: Sequence[Sheet], roles: Roles) -> dict[str, str]:
    """View -> that its one or two columns stand beside those that tell of the rows, and may do so, too."""
    found = {}
    for sheet in sheets:
        columns = _values_of(sheet, roles)
        if 0 < len(columns) <= FEW and not roles.named.isdisjoint(sheet.frame.columns):
            named = ",".join(columns)
            found[sheet.path.stem] = (
                f"{sheet.path.name} is a view of {' and '.join(columns)} alone; if it only tells of the rows, use "
                f"--leave-out {named}."
            )
    return found


def _view_in(sheet: Sheet, columns: Sequence[str], roles: Roles) -> str:
    """The name of the file; of new rows that of the model's view which has this name, or else only columns of these.

    Raises InputError where no view of the model does, or several do.
    """
    name = sheet.path.stem
    if not roles.views or name in roles.views:
        return name
    found = [view for view, features in roles.views.items() if features and {*features} <= {*columns}]
    if len(found) != 1:
        which, first = ", ".join(found or roles.views), next(iter(found or roles.views))
        said = f"could be any of {which}" if found else f"holds no view of the model, which has {which}"
        raise InputError(
            f"{sheet.path} {said}; call the file {first}{sheet.path.suffix}, or the column {columns[0]} "
            f"{first}.{columns[0]} and so on"
        )
    return found[0]


def view_of_columns(name: str, sheet: Sheet, columns: Sequence[str], settings: dict[str, Any] | None = None) -> View:
    """Numbers, or the one column of words, of lists of numbers, or of the bytes of pictures that there is."""
    import polars as pl

    columns = list(columns)
    if not columns:
        raise InputError(f"{sheet.path} has no column left for {name!r}; it holds ids and labels alone")
    only = sheet.column(columns[0]) if len(columns) == 1 else None
    read: Callable = partial(_numbers, sheet, columns, name)
    if only is not None and only.dtype == pl.Binary:
        read = partial(read_pictures, sheet, columns[0], Path(), None)
    elif only is not None and isinstance(only.dtype, pl.List | pl.Array):
        read = partial(_lists, sheet, columns[0])
    elif only is not None and not _is_numeric(only):
        read = partial(words, sheet, columns[0])
    return View(name, sheet, read, settings or {})


def _lists(sheet: Sheet, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Lists of numbers, nested to any depth, as an array whose rows are NaN where there is none."""
    lists = sheet.column(column).to_list()
    shapes = {np.shape(value) for value in lists if value is not None} if _are_even(lists) else set()
    if len(shapes) != 1:
        raise InputError(f"{sheet.place(column)} holds lists of different lengths; make them equal")
    empty = np.full(next(iter(shapes)), np.nan)
    return np.array([empty if value is None else value for value in lists]), ()


def _are_even(lists: Sequence[Any]) -> bool:
    try:
        return all(np.asarray(value, dtype=float).ndim > 0 for value in lists if value is not None)
    except ValueError:
        return False


def words(sheet: Sheet, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column as strings, None where it is empty; NaN where all of it is."""
    values = sheet.column(column)
    if values.null_count() == len(values):
        return np.full(len(values), np.nan), ()
    if values.dtype.is_nested() or values.dtype.is_temporal():
        raise InputError(f"{sheet.place(column)} is {values.dtype}; give numbers, words or sentences, or leave it out")
    return np.array(values.cast(str).to_list(), dtype=object), ()


def _values_of(sheet: Sheet, roles: Roles) -> list[str]:
    columns = [name for name in sheet.frame.columns if name not in roles.left_out]
    if roles.label in columns:
        check_single_label(str(roles.label), columns)
    return [name for name in columns if name not in roles.named and name != sheet.ids]


def _numbers(sheet: Sheet, columns: list[str], name: str) -> tuple[Array, tuple[str, ...]]:
    if isinstance(sheet.frame, Scanned):
        values = sheet.frame.by_row(
            columns, lambda frame, first: _table(replace(sheet, frame=frame, first_row=first), columns)
        )
    else:
        values = _table(sheet, columns)
    features = tuple(column.removeprefix(f"{name}.") for column in columns)
    return values, () if features == (name,) else features


def _table(sheet: Sheet, columns: list[str]) -> np.ndarray:
    import polars as pl

    return np.ascontiguousarray(pl.DataFrame([_number(sheet, column) for column in columns]).to_numpy())


def _number(sheet: Sheet, column: str) -> "pl.Series":
    import polars as pl

    values = sheet.column(column)
    if values.dtype in (pl.Boolean, pl.Null):
        return values.cast(pl.Int8 if values.dtype == pl.Boolean else pl.Float64)
    if values.dtype.is_numeric():
        return values.cast(pl.Float64) if values.dtype.is_decimal() else values
    if values.dtype != pl.String:
        raise InputError(f"{sheet.place(column)} is {values.dtype}; give numbers, or name it as a view of its own")
    found = values.cast(pl.Float64, strict=False)
    wrong = found.is_null() & values.is_not_null()
    if not wrong.any():  # nothing is there
        return found
    row = int(wrong.arg_max() or 0)
    if found.is_not_null().any():
        raise InputError(
            f"{sheet.place(column)}, {sheet.row(row)}: {values[row]!r} is no number; correct it, or leave it empty "
            "if it is missing"
        )
    raise InputError(
        f"{sheet.place(column)} holds words (such as {values[row]!r}): leave it out with --leave-out {column}, or use "
        f"it as --label {column}, --covariate {column} or --group {column}; a view of words is a file by itself, or "
        "named in a .toml"
    )


def _is_numeric(column: "pl.Series") -> bool:
    import polars as pl

    return column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)


def _frame(path: Path) -> "pl.DataFrame | Scanned":
    import polars as pl

    if not path.is_file():
        raise InputError(f"{path} is a folder, a pipe or a device; name a file" if path.exists() else f"no file {path}")
    suffix = path.suffix.lower()
    try:
        if suffix not in SEPARATORS and (scanned := Scanned(path)).is_large:
            return scanned
        dialect = _dialect(path, suffix) if suffix in SEPARATORS else {}
        fix = _as_parquet(path, dialect) if suffix in SEPARATORS else FIX
        check_memory(path, path.stat().st_size, fix)  # pictures in Parquet, too
        if suffix not in SEPARATORS:
            return pl.read_parquet(path)
        frame = pl.read_csv(path, **dialect)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path} is no readable table ({str(error).splitlines()[0]}); save it again") from error
    if twice := next(_twice(frame.columns), None):
        raise InputError(f"{path} has two columns {twice!r}; give each a name of its own")
    header = frame.columns[0]
    other = max(";\t,", key=header.count)
    if frame.width == 1 and header.count(other) and other != dialect["separator"]:
        raise InputError(f"{path} has one column, whose name holds {other!r}; save it as {_expected(suffix)}")
    return frame


def _dialect(path: Path, suffix: str) -> dict[str, Any]:
    """What Polars must know of the text: also semicolons, with decimal points or commas, as spreadsheets write a .csv
    where the comma is decimal."""
    with path.open("rb") as file:
        start = file.read(1 << 16)
    told = {"infer_schema_length": None, "null_values": list(MISSING)}
    header = start.partition(b"\n")[0]
    if suffix == ".csv" and b";" in header and b"," not in header:
        return {"separator": ";", "decimal_comma": bool(DECIMAL_COMMA.search(start)), **told}
    return {"separator": SEPARATORS[suffix], **told}


def _as_parquet(path: Path, dialect: dict[str, Any]) -> str:
    """What to do with text that is too large to be read at once."""
    options = ", ".join(f"{name}={value!r}" for name, value in dialect.items())
    code = (
        f"import polars; polars.scan_csv({str(path)!r}, {options}).sink_parquet({str(path.with_suffix('.parquet'))!r})"
    )
    return f"save it as Parquet, of which rows are read by batch: {shlex.join(['python', '-c', code])}"


def _expected(suffix: str) -> str:
    return "columns separated by commas" if suffix == ".csv" else "columns separated by tabs"


def _twice(columns: Sequence[str]) -> Iterator[str]:
    """Names that stand twice in the header, of which the reader has made others."""
    for column in columns:
        name, _, number = column.rpartition("_duplicated_")
        if number.isdigit() and name in columns:
            yield name


def _names_rows(frame: "pl.DataFrame | Scanned") -> bool:
    """Whether the first column names rows: it has no name (as pandas writes an index), or holds different words."""
    import polars as pl

    first = frame.to_series(0)
    if first.name == "":
        return True
    is_words = first.dtype == pl.String and not first.null_count() and not first.str.contains(r"\s").any()
    return bool(is_words and first.n_unique() == len(first) and frame.width > 1)
