"""Views by name, and their rows joined by id.

A .toml file names them:

    id = "cell"                    # the column that names rows, in every file; default: `id`, or a first one of names
    label = "type"                 # the column of classes
    file = "table.csv"             # of views that name no file; it may hold the label, covariate or group alone

    [views.rna]                    # numbers: all columns of the file that are in no other view, or columns = [...]
    file = "rna.parquet"

    [views.photo]                  # pictures, named by a column
    images = "file"
    folder = "pics"                # default: that of the .toml
    size = 32                      # or [height, width]; default: all are of one size

    [views.caption]
    text = "caption"               # or classes = "type"

    [views.counts]                 # of .h5ad and .h5mu
    file = "cells.h5mu"
    mod = "rna"
    matrix = "layers/counts"       # default: X

and any setting of `modalities.json` (likelihood, scale, weight, network). Paths start from the folder of the .toml.
"""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from polyvae.datasets.own.readers import omics
from polyvae.datasets.own.readers.content import Content, Headings, Sheet, View, trimmed
from polyvae.datasets.own.readers.hf import is_data_set, open_data_set
from polyvae.datasets.own.readers.omics import open_omics, view_of_matrix
from polyvae.datasets.own.readers.pictures import read_pictures
from polyvae.datasets.own.readers.tables import (
    FORMATS,
    as_words,
    check_numbers,
    not_ids,
    open_table,
    view_of_columns,
    words,
)
from polyvae.datasets.own.roles import Roles
from polyvae.errors import InputError
from polyvae.file_rows import Array, FileRows

NO_DOUBTS: Mapping[str, str] = {}
SETTINGS = ("likelihood", "scale", "network", "weight")
KINDS = ("columns", "text", "classes", "images", "matrix")
OF_VIEW = ("file", "mod", *KINDS, "folder", "size", *SETTINGS)
OF_FILE = ("id", "label", "file", "views")


def read_toml(path: Path, roles: Roles) -> Content:
    """Raises InputError that names the view and the key."""
    content = _parsed(path)
    _check(content, OF_FILE, str(path))
    views = content.get("views")
    if not isinstance(views, Mapping) or not views:
        raise InputError(f"{path} names no view; begin one with [views.NAME]")
    entries = {name: _entry(path, name, entry, content.get("file")) for name, entry in views.items()}
    if roles.label is None and (label := content.get("label")) is not None:
        roles = replace(roles, label=label)
    if not isinstance(content.get("file", ""), str):
        raise InputError(f'{path}: file is {content["file"]!r}; give its name, file = "..."')
    about = [content["file"]] if "file" in content else []  # it may be of no view, and describe the rows
    files = dict.fromkeys([*(entry["file"] for entry in entries.values()), *about])
    named = roles.named.union(*map(_columns_of, entries.values()))
    sheets = {file: _sheets(path.parent / file, named, content.get("id")) for file in files}
    views = [_view(path, name, entries, sheets, roles) for name in entries]
    return joined(views, roles, [sheet for parts in sheets.values() for sheet in parts.values()])


def joined(
    views: Sequence[View], roles: Roles, sheets: Sequence[Sheet], doubts: Mapping[str, str] = NO_DOUBTS
) -> Content:
    """The views, a row for every id that any of them has, in the order of their first appearance in `sheets`.

    Label, covariate and group are looked up in all sheets: what one does not say about a row, another may. For new
    rows, views that the model does not know are left out, if it knows any.
    Raises InputError where ids are missing or wrong, numbers are words, or a column that was named is in no sheet.
    """
    columns = dict.fromkeys(name for sheet in sheets for name in sheet.frame.columns)
    roles.check({**columns, **dict.fromkeys(view.name for view in views)})
    views = [view for view in views if view.name not in roles.left_out]
    modalities = [view for view in views if view.name not in roles.about]
    modalities = [view for view in modalities if view.name in roles.views] or modalities
    if not modalities:
        raise InputError("the data hold no modality; give at least one column besides ids and labels")
    rows, places = _rows(sheets, {view.sheet for view in modalities})
    check_numbers(modalities, roles)
    arrays: dict[str, Any] = {} if rows is None else {".ids": rows}
    views = [view for view in views if view in modalities or view.name in roles.about]
    for view in views:
        values, features = view.read()
        arrays |= _placed(view.name, values, places[view.sheet])
        if len(features):
            arrays[f"{view.name}.features"] = np.array(features)
    label = next((name for name in roles.labels if name in columns and name not in roles.left_out), None)
    if label is not None:
        arrays["label"] = _of_rows(label, sheets, rows, places)
    for name in roles.about:
        if name in columns and name not in arrays:  # a view of that name says it already
            arrays[name] = _of_rows(name, sheets, rows, places)
    settings = {view.name: view.settings for view in views if view.settings}
    ids = next((sheet.ids for sheet in sheets if sheet.ids), None) or "id"
    return Content(arrays, settings, Headings(ids, label or "label"), _both(_without_views(places), doubts))


def _both(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    return {name: " ".join(filter(None, (first.get(name), second.get(name)))) for name in {**first, **second}}


def _without_views(places: Mapping[Sheet, np.ndarray | None]) -> dict[str, str]:
    """File -> how many of its ids no row has."""
    used = {sheet: int((found >= 0).sum()) for sheet, found in places.items() if found is not None}
    return {
        sheet.path.name: f"{sheet.frame.height - count:,} of its {sheet.frame.height:,} ids are in no view; left out."
        for sheet, count in used.items()
        if count < sheet.frame.height
    }


def _of_rows(
    column: str, sheets: Sequence[Sheet], ids: np.ndarray | None, places: Mapping[Sheet, np.ndarray | None]
) -> np.ndarray:
    """What the sheets say about every row in a column: integers or words, None where none says anything.

    Raises InputError where two of them differ.
    """
    found, first = np.array([], object), sheets[0]
    for sheet in (sheet for sheet in sheets if column in sheet.frame.columns):
        if trimmed(sheet.column(column)).dtype.is_float():
            raise InputError(f"{sheet.place(column)} holds fractions; a row needs one word or integer there")
        told = _placed("", _classes(sheet, column).astype(object), places[sheet])[""]
        if not len(found):
            found, first = told.copy(), sheet
            continue
        has, had = (np.array([value is not None for value in values]) for values in (told, found))
        for row in np.flatnonzero(has & had):
            if str(told[row]) != str(found[row]):
                who = f"row {row}" if ids is None else f"id {str(ids[row])!r}"
                raise InputError(
                    f"column {column!r}, {who}: {first.path} says {str(found[row])!r}, and {sheet.path} "
                    f"{str(told[row])!r}; correct one of them"
                )
        found[has & ~had] = told[has & ~had]
    return found


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"no file {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML ({error}); correct it there") from None


def _check(content: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    if unknown := [key for key in content if key not in known]:
        raise InputError(f"{place}: unknown key {unknown[0]!r}; keys are {', '.join(known)}")


def _entry(path: Path, name: str, entry: Any, file: str | None) -> dict[str, Any]:
    """A view's settings, checked, its file filled in."""
    place = f"{path}, [views.{name}]"
    if not isinstance(entry, Mapping):
        raise InputError(f"{place}: expected keys ({', '.join(OF_VIEW)}), got {entry!r}")
    _check(entry, OF_VIEW, place)
    given = {"file": file} | dict(entry)
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) > 1:
        raise InputError(f"{place} has {kinds[0]!r} and {kinds[1]!r}; keep one of {', '.join(KINDS)}")
    for key in ("file", "mod", "text", "classes", "images", "matrix", "folder"):
        if (key == "file" or key in entry) and not isinstance(given[key], str):
            raise InputError(f'{place}: {key} is {given[key]!r}; give its name, {key} = "..."')
    if not isinstance(given.get("columns", []), list):
        raise InputError(f'{place}: columns is {given["columns"]!r}; give a list of names, columns = ["CD3"]')
    return given


def _sheets(file: Path, named: Collection[str], ids: str | None) -> dict[str, Sheet]:
    suffix = file.suffix.lower()
    if is_data_set(file):
        return {"": open_data_set(file, named, ids)}
    if suffix in FORMATS:
        return {"": open_table(file, named, ids)}
    if suffix in omics.FORMATS:
        return open_omics(file)
    raise InputError(
        f"{file}: views are taken from {', '.join(FORMATS)}, .h5ad and .h5mu files, and data sets of Hugging Face"
    )


def _view(
    path: Path,
    name: str,
    entries: Mapping[str, dict[str, Any]],
    sheets: Mapping[str, Mapping[str, Sheet]],
    roles: Roles,
) -> View:
    entry = entries[name]
    parts, mod = sheets[entry["file"]], entry.get("mod", "")
    if mod not in parts:
        known = ", ".join(filter(None, parts)) or "none"
        raise InputError(f"{path}, [views.{name}]: mod {mod!r} is not in {entry['file']}; there are {known}")
    sheet, settings = parts[mod], {key: entry[key] for key in SETTINGS if key in entry}
    if "text" in entry:
        return View(name, sheet, partial(words, sheet, entry["text"]), {"likelihood": "text"} | settings)
    if "classes" in entry:
        return View(name, sheet, partial(_names, sheet, entry["classes"]), {"likelihood": "categorical"} | settings)
    if "images" in entry:
        folder = path.parent / entry.get("folder", ".")
        return View(name, sheet, partial(read_pictures, sheet, entry["images"], folder, _size(path, entry)), settings)
    if "columns" in entry or not sheet.matrices:
        columns = entry.get("columns") or _left(sheet, entries.values(), entry["file"], roles)
        return view_of_columns(name, sheet, columns, roles, settings)
    return view_of_matrix(name, sheet, entry.get("matrix", "X"), settings)


def _left(sheet: Sheet, entries: Any, file: str, roles: Roles) -> list[str]:
    """The columns of a file that no view and no role names, and that are not ids."""
    named = {sheet.ids, *roles.named}
    for entry in (entry for entry in entries if entry["file"] == file):
        named |= _columns_of(entry)
    return [column for column in sheet.frame.columns if column not in named]


def _columns_of(entry: Mapping[str, Any]) -> set[str]:
    """The columns that a view names."""
    return {*entry.get("columns", ()), *(entry[kind] for kind in ("text", "classes", "images") if kind in entry)}


def _size(path: Path, entry: Mapping[str, Any]) -> tuple[int, int] | None:
    size = entry.get("size")
    sides = [size, size] if isinstance(size, int) else size
    if sides is None:
        return None
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(s) is int and 1 <= s <= 4096 for s in sides):
        raise InputError(f"{path}: size is {size!r}; give the pixels of a side, or [height, width], at most 4,096")
    return sides[0], sides[1]


def _names(sheet: Sheet, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    return _classes(sheet, column), ()


def _classes(sheet: Sheet, column: str) -> np.ndarray:
    """Integers or words, None where there is none."""
    values = trimmed(sheet.column(column))
    if not values.dtype.is_integer() or values.null_count() == len(values):
        return as_words(sheet, column, values)
    return np.array(values.to_list(), object) if values.null_count() else values.to_numpy()


def _rows(
    sheets: Sequence[Sheet], have_views: Collection[Sheet]
) -> tuple[np.ndarray | None, dict[Sheet, np.ndarray | None]]:
    """(ids of all rows, sheet -> the places of its rows for each of them). Rows are those of sheets that have views.

    Places are -1 where the sheet lacks a row, None where all rows are its own, in its order.
    """
    names = {sheet: sheet.names_of_rows() for sheet in sheets}
    first = sheets[0]
    known = [ids for ids in names.values() if ids is not None]
    if len(known) < len(sheets):
        nameless = next(sheet for sheet, ids in names.items() if ids is None)
        if known or any(sheet.frame.height != first.frame.height for sheet in sheets):
            raise InputError(
                f"{nameless.path} has no column of ids to join it by: {not_ids(nameless)}; rename the column of ids "
                "to id, with a different one in each row"
            )
        return None, dict.fromkeys(sheets)
    if any(ids.dtype.kind != known[0].dtype.kind for ids in known):
        names = {sheet: ids.astype(str) for sheet, ids in names.items() if ids is not None}
    every = dict.fromkeys(name for ids in names.values() if ids is not None for name in ids.tolist())
    if len(sheets) > 1 and len(every) == sum(sheet.frame.height for sheet in sheets):
        raise InputError(
            f"no id is in two files: {first.path} has {str(known[0][0])!r}, {sheets[1].path} has {str(known[1][0])!r}; "
            "write the ids of a row alike in all files"
        )
    of_views = {name for sheet in have_views if (ids := names[sheet]) is not None for name in ids.tolist()}
    rows = [name for name in every if name in of_views]
    places: dict[Sheet, np.ndarray | None] = {}
    for sheet, ids in names.items():
        at = {} if ids is None else {name: place for place, name in enumerate(ids.tolist())}
        found = np.array([at.get(name, -1) for name in rows])
        places[sheet] = None if np.array_equal(found, np.arange(sheet.frame.height)) else found
    return np.array(rows), places


def _placed(name: str, values: Array, places: np.ndarray | None) -> dict[str, Any]:
    """The values in the order of all rows, with a mask where some lack them."""
    if places is None:
        return {name: values}
    seen = places >= 0
    if isinstance(values, FileRows):
        return {name: values.chosen(places)} | ({} if seen.all() else {f"{name}.mask": seen})
    placed = values[places]
    if seen.all():
        return {name: placed}
    if placed.dtype == object:
        placed[~seen] = None
        return {name: placed}
    placed[~seen] = np.nan if placed.dtype.kind == "f" else 0
    return {name: placed, f"{name}.mask": seen}
