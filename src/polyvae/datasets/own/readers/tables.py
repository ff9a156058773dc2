"""CSV, TSV and Parquet files.

In one file, the part of a column's name before its first dot is the modality: `rna.CD3` and `rna.CD19` are two features
of `rna`; a column without a dot is a modality by itself. In several files, each is a modality. Numbers are
quantities, words are classes or text. What is empty or reads NA, NaN or null is missing.
"""

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyvae.archives import FIX, check_memory
from polyvae.datasets.own.missing import AS_TEXT
from polyvae.datasets.own.readers.content import ID, Sheet, View, trimmed
from polyvae.datasets.own.readers.pictures import read_pictures
from polyvae.datasets.own.readers.scanned import Scanned
from polyvae.datasets.own.roles import Roles, check_single_label
from polyvae.errors import InputError
from polyvae.file_rows import Array

if TYPE_CHECKING:
    import polars as pl

MISSING = ("", "NA", "N/A", *AS_TEXT)
SEPARATORS = {".csv": ",", ".tsv": "\t"}
OTHERS = ("\t", ";", ",")  # that may stand in their place
QUOTED = re.compile(rb'"[^"]*"')
DECIMAL_COMMA = re.compile(rb"[;\t\n]-?\d*,\d+[;\t\r\n]")
CALLED_ID = re.compile(r"^$|(?i:(^|[\W_])id$)|[a-z](Id|ID)$")  # pandas writes an index without a name
LARGEST = float(np.finfo(np.float32).max)  # models see 32 bits
FORMATS = (*SEPARATORS, ".parquet")
FEW = 2  # columns beside some that describe the rows; they may describe them, too
SHOWN = 20  # names in a message
ALONE = 20  # columns without a prefix; more are the features of one modality whose name was not said


def open_table(path: Path, named: Collection[str], ids: str | None = None) -> Sheet:
    """ids: the column that names rows. Default: `id`; or the first one, unless it is `not_ids`. named: columns that the
    user names as something else.

    Raises InputError for a file that is not a table.
    """
    return sheet_of(path, _frame(path), named, ids, 2 if path.suffix.lower() in SEPARATORS else None)


def sheet_of(
    path: Path,
    frame: "pl.DataFrame | Scanned",
    named: Collection[str],
    ids: str | None = None,
    first_line: int | None = None,
) -> Sheet:
    """named, ids: as for `open_table`. Raises InputError for a frame without rows."""
    if not frame.width or not frame.height:
        raise InputError(f"{path} holds no rows; its first line must name the columns, with rows below")
    sheet = Sheet(path, frame, first_line=first_line)
    if ids is None and not not_ids(sheet, named):
        ids = _candidate(frame, named)
    return replace(sheet, ids=ids)


def _candidate(frame: "pl.DataFrame | Scanned", named: Collection[str] | None) -> str:
    """The column that may name rows."""
    is_named = ID in (named or ())
    return ID if ID in frame.columns and not is_named else frame.columns[0]


def not_ids(sheet: Sheet, named: Collection[str] | None = None) -> str:
    """Why no column names rows, in words; empty if one does: it is called so, or holds a different word in each row.

    named: columns that the user names as something else, for which their own name does not count; None: all.
    """
    import polars as pl

    column = _candidate(sheet.frame, named)
    is_called_id = bool(CALLED_ID.search(column))
    if is_called_id and named is not None and column not in named:
        return ""
    values = trimmed(sheet.column(column))
    if values.dtype != pl.String and not (is_called_id and values.dtype.is_integer()):
        return f"{column!r} holds no words"
    if values.null_count():
        return f"{column!r} has empty cells"
    if (repeats := values.is_duplicated()).any():
        value = values[int(repeats.arg_max() or 0)]
        first, second = (values == value).arg_true()[:2]
        return f"{column!r} holds {value!r} in {sheet.row(first)} and {sheet.row(second)}"
    if not is_called_id and values.str.contains(r"\s").any():
        return f"{column!r} holds words with spaces"
    return "" if is_called_id or sheet.frame.width > 1 else f"{column!r} is the only one"


def views_by_prefix(sheet: Sheet, roles: Roles) -> list[View]:
    path, groups, values = sheet.path, {}, _values_of(sheet, roles)
    for column in values:
        prefix, dot, feature = column.partition(".")
        groups.setdefault(prefix if prefix and dot and feature else column, []).append(column)
    if groups and roles.views and not groups.keys() & roles.views.keys():  # new rows of one view, which is the file
        return [view_of_columns(_view_in(sheet, values, roles), sheet, values, roles)]
    alone = [name for name, columns in groups.items() if columns == [name]]
    if len(alone) > ALONE and not roles.views:
        raise InputError(
            f"{path} has {len(alone)} columns without a view ({', '.join(alone[:3])}, ...); call them rna.{alone[0]} "
            'and so on, or name views in a file views.toml: [views.rna], then file = "' + path.name + '"'
        )
    return [view_of_columns(name, sheet, columns, roles) for name, columns in groups.items()]


def views_by_stem(sheets: Sequence[Sheet], roles: Roles) -> list[View]:
    """One for every sheet that has more than ids and what `roles` name."""
    columns = {sheet: names for sheet in sheets if (names := _values_of(sheet, roles))}
    return [view_of_columns(_view_in(sheet, names, roles), sheet, names, roles) for sheet, names in columns.items()]


def doubtful(sheets: Sequence[Sheet], views: Sequence[View], roles: Roles) -> dict[str, str]:
    """View -> that its one or two columns stand beside those that describe rows, and may do so, too. For new rows,
    file -> the columns that the model does not know."""
    found = {}
    for sheet in sheets:
        columns = _values_of(sheet, roles)
        if roles.views:
            read = {name for view in views if view.sheet is sheet and view.name in roles.views for name in view.columns}
            if further := [name for name in columns if name not in read]:
                shown = ", ".join(further[:SHOWN]) + ", ..." * (len(further) > SHOWN)
                found[sheet.path.name] = f"the model does not know {shown}; ignored."
        elif len(sheets) > 1 and 0 < len(columns) <= FEW and not roles.named.isdisjoint(sheet.frame.columns):
            named = ",".join(columns)
            found[sheet.path.stem] = (
                f"{sheet.path.name} is a view of {' and '.join(columns)} alone; if it only describes the rows, use "
                f"--leave-out {named}."
            )
    return found


def _view_in(sheet: Sheet, columns: Sequence[str], roles: Roles) -> str:
    """The name of the file; for new rows that of the model's view which has this name, or else only columns of these.

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


def view_of_columns(
    name: str, sheet: Sheet, columns: Sequence[str], roles: Roles, settings: dict[str, Any] | None = None
) -> View:
    """Numbers, or the one column of words, of lists of numbers, or of the bytes of pictures that there is. Of new rows,
    the columns that the model knows, if it knows some."""
    import polars as pl

    if not columns:
        raise InputError(f"{sheet.path} has no column left for {name!r}; it holds ids and labels alone")
    known = {*(roles.views.get(name) or (name,))} if roles.views else set()
    columns = [column for column in columns if column.removeprefix(f"{name}.") in known] or [*columns]
    only = sheet.column(columns[0]) if len(columns) == 1 else None
    read: Callable = partial(_numbers, sheet, columns, name)
    if only is not None and only.dtype == pl.Binary:
        read = partial(read_pictures, sheet, columns[0], Path(), None)
    elif only is not None and isinstance(only.dtype, pl.List | pl.Array):
        read = partial(_lists, sheet, columns[0])
    elif only is not None and not _is_numeric(only.dtype):
        read = partial(words, sheet, columns[0])
    return View(name, sheet, read, settings or {}, columns, _no_numbers(sheet, columns) if only is None else {})


def _no_numbers(sheet: Sheet, columns: Sequence[str]) -> dict[str, Any]:
    """Columns that hold something but no number -> what is first."""
    import polars as pl

    types, found = sheet.frame.schema, {}
    for column in columns:
        if column in types and _is_numeric(types[column]):
            continue
        known = sheet.column(column).drop_nulls()
        are_numbers = known.dtype == pl.String and known.cast(pl.Float64, strict=False).is_not_null().any()
        if len(known) and not are_numbers:
            found[column] = known[0]
    return found


def check_numbers(views: Sequence[View], roles: Roles) -> None:
    """Raises InputError that names all columns that should hold numbers but do not, and what to do with them."""
    found = {(view.sheet, column): value for view in views for column, value in view.no_numbers.items()}
    if not found:
        return
    each = [f"{column} of {sheet.path} ({str(value)[:SHOWN]})" for (sheet, column), value in found.items()]
    said = ", ".join(each[:SHOWN]) + f" and {len(each) - SHOWN:,} more columns" * (len(each) > SHOWN)
    if roles.views:
        raise InputError(
            f"no numbers in {said}; correct those that the model was trained on as numbers, and leave out columns "
            "that it was not trained on"
        )
    (sheet, column), names = next(iter(found)), dict.fromkeys(column for _, column in [*found][:SHOWN])
    raise InputError(
        f"no numbers in {said}. Leave them out with --leave-out {','.join(names)}, or use one as --label, "
        "--covariate or --group. To make a view of one, give it its own file, or three lines in a .toml beside the "
        f'other views:\n[views.{column.rpartition(".")[2]}]\nfile = "{sheet.path.name}"\nclasses = "{column}"'
    )


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
    return as_words(sheet, column, sheet.column(column)), ()


def as_words(sheet: Sheet, column: str, values: "pl.Series") -> np.ndarray:
    """The values of a column, as `words` gives them."""
    if values.null_count() == len(values):
        return np.full(len(values), np.nan)
    if values.dtype.is_nested() or values.dtype.is_temporal():
        raise InputError(f"{sheet.place(column)} is {values.dtype}; give numbers, words or sentences, or leave it out")
    return np.array(values.cast(str).to_list(), dtype=object)


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

    table = np.ascontiguousarray(pl.DataFrame([_number(sheet, column) for column in columns]).to_numpy())
    if (wrong := np.abs(table) > LARGEST).any():
        row, place = map(int, np.argwhere(wrong)[0])
        raise _wrong(sheet, columns[place], row, "infinite, or beyond float32")
    return table


def _number(sheet: Sheet, column: str) -> "pl.Series":
    import polars as pl

    values = sheet.column(column)
    if values.dtype.is_integer() or values.dtype.is_float():
        return values
    if values.dtype == pl.Boolean:
        return values.cast(pl.Int8)
    found = values.cast(pl.Float64, strict=False)
    if (wrong := found.is_null() & values.is_not_null()).any():
        raise _wrong(sheet, column, int(wrong.arg_max() or 0), "not a number")
    return found


def _wrong(sheet: Sheet, column: str, row: int, what: str) -> InputError:
    value = sheet.column(column)[row]
    advice = "correct it, or leave it empty if it is missing"
    return InputError(f"{sheet.place(column)}, {sheet.row(row)}: {value!r} is {what}; {advice}")


def _is_numeric(dtype: "pl.DataType") -> bool:
    import polars as pl

    return dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)


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
        fix = "save it as UTF-8" if "utf-8" in str(error).lower() else "save it again"
        raise InputError(f"{path} is not a readable table ({str(error).splitlines()[0]}); {fix}") from error
    if twice := next(_twice(frame.columns), None):
        raise InputError(f"{path} has two columns {twice!r}; give each a name of its own")
    return frame


def _dialect(path: Path, suffix: str) -> dict[str, Any]:
    """What Polars must know of the text: what separates its columns, by the header, and whether commas are decimal, as
    where spreadsheets separate columns by semicolons or tabs."""
    with path.open("rb") as file:
        header = file.readline()
        start = b"\n" + file.read(1 << 16)
    if b"\0" in header:  # text of 16 bits per letter, which Polars would take for other letters
        raise InputError(f"{path} is not a readable table (it holds zero bytes); save it as UTF-8")
    told = {"infer_schema_length": None, "null_values": list(MISSING)}
    unquoted = QUOTED.sub(b"", header)
    separator = max((SEPARATORS[suffix], *OTHERS), key=lambda mark: unquoted.count(mark.encode()))
    return {"separator": separator, "decimal_comma": separator != "," and bool(DECIMAL_COMMA.search(start)), **told}


def _as_parquet(path: Path, dialect: dict[str, Any]) -> str:
    """What to do with text that is too large to be read at once."""
    options = ", ".join(f"{name}={value!r}" for name, value in dialect.items())
    code = (
        f"import polars; polars.scan_csv({str(path)!r}, {options}).sink_parquet({str(path.with_suffix('.parquet'))!r})"
    )
    return f"save it as Parquet, whose rows are read by batch: {shlex.join(['python', '-c', code])}"


def _twice(columns: Sequence[str]) -> Iterator[str]:
    """Names that appear twice in the header, which the reader has renamed."""
    for column in columns:
        name, _, number = column.rpartition("_duplicated_")
        if number.isdigit() and name in columns:
            yield name
