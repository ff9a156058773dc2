"""Views by name, and their rows joined by id.

A .toml file names them:

    id = "cell"                    # the column that names rows, in every file; default: `id`, or a first one of names
    label = "type"                 # the column of classes
    file = "table.csv"             # of views that name no file

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
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from polyvae.datasets.own.readers import omics
from polyvae.datasets.own.readers.content import LABELS, Content, Headings, Sheet, View
from polyvae.datasets.own.readers.omics import open_omics, view_of_matrix
from polyvae.datasets.own.readers.pictures import read_pictures
from polyvae.datasets.own.readers.tables import FORMATS, open_table, view_of_columns, words
from polyvae.errors import InputError

SETTINGS = ("likelihood", "scale", "network", "weight")
KINDS = ("columns", "text", "classes", "images", "matrix")
OF_VIEW = ("file", "mod", *KINDS, "folder", "size", *SETTINGS)
OF_FILE = ("id", "label", "file", "views")


def read_toml(path: Path) -> Content:
    """Raises InputError that names the view and the key."""
    content = _parsed(path)
    _check(content, OF_FILE, str(path))
    views = content.get("views")
    if not isinstance(views, Mapping) or not views:
        raise InputError(f"{path} names no view; begin one with [views.NAME]")
    entries = {name: _entry(path, name, entry, content.get("file")) for name, entry in views.items()}
    files = dict.fromkeys([entry["file"] for entry in entries.values()])
    sheets = {file: _sheets(path.parent / file, content.get("id")) for file in files}
    label = content.get("label")
    views = [_view(path, name, entries, sheets, label) for name in entries]
    return joined(views, label, [sheet for parts in sheets.values() for sheet in parts.values()])


def joined(views: Sequence[View], label: str | None = None, others: Iterable[Sheet] = ()) -> Content:
    """The views, a row for every id that any of their sheets has, in the order of their first appearance.

    label: the column of classes; default: `label` or `labels`, if a sheet has one. others: sheets that have rows and
    labels, too.
    Raises InputError where ids are missing or wrong, or the label is in no sheet.
    """
    if not views:
        raise InputError("the data hold no modality; give at least one column besides ids and labels")
    used = list(dict.fromkeys([*others, *(view.sheet for view in views)]))
    rows, places = _rows(used)
    arrays: dict[str, Any] = {} if rows is None else {".ids": rows}
    for view in views:
        values, features = view.read()
        arrays |= _placed(view.name, values, places[view.sheet])
        if len(features):
            arrays[f"{view.name}.features"] = np.array(features)
    wanted = LABELS if label is None else (label,)
    labelled = [(sheet, name) for sheet in used for name in wanted if name in sheet.frame.columns]
    if label is not None and not labelled:
        raise InputError(f"no file has a column {label!r}, the label; {used[0].shown}")
    if labelled:
        sheet, label = labelled[0]
        arrays |= _placed("label", _classes(sheet, label), places[sheet])
        arrays.pop("label.mask", None)  # a row without a label says so itself
    settings = {view.name: view.settings for view in views if view.settings}
    return Content(arrays, settings, Headings(next((s.ids for s in used if s.ids), None) or "id", label or "label"))


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


def _sheets(file: Path, ids: str | None) -> dict[str, Sheet]:
    suffix = file.suffix.lower()
    if suffix in FORMATS:
        return {"": open_table(file, ids)}
    if suffix in omics.FORMATS:
        return open_omics(file)
    raise InputError(f"{file}: views are taken of {', '.join(FORMATS)}, .h5ad and .h5mu files")


def _view(
    path: Path,
    name: str,
    entries: Mapping[str, dict[str, Any]],
    sheets: Mapping[str, Mapping[str, Sheet]],
    label: str | None,
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
        columns = entry.get("columns") or _left(sheet, entries.values(), entry["file"], label)
        return view_of_columns(name, sheet, columns, settings)
    return view_of_matrix(name, sheet, entry.get("matrix", "X"), settings)


def _left(sheet: Sheet, entries: Any, file: str, label: str | None) -> list[str]:
    """The columns of a file that no view names, and that are neither ids nor labels."""
    named = {sheet.ids, label, *(LABELS if label is None else ())}
    for entry in (entry for entry in entries if entry["file"] == file):
        named |= {*entry.get("columns", ()), *(entry.get(kind) for kind in ("text", "classes", "images"))}
    return [column for column in sheet.frame.columns if column not in named]


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
    values = sheet.column(column)
    if not values.dtype.is_integer():
        return words(sheet, column)[0]
    return np.array(values.to_list(), object) if values.null_count() else values.to_numpy()


def _rows(sheets: Sequence[Sheet]) -> tuple[np.ndarray | None, dict[Sheet, np.ndarray | None]]:
    """(ids of all rows, sheet -> the places of its rows for each of them).

    Places are -1 where the sheet lacks a row, None where all rows are its own, in its order.
    """
    names = {sheet: sheet.names_of_rows() for sheet in sheets}
    first = sheets[0]
    known = [ids for ids in names.values() if ids is not None]
    if len(known) < len(sheets):
        nameless = next(sheet for sheet, ids in names.items() if ids is None)
        if known or any(sheet.frame.height != first.frame.height for sheet in sheets):
            raise InputError(
                f"{nameless.path} has no column of ids to join it by: none is called id, and the first one, "
                f"{nameless.frame.columns[0]!r}, repeats words or holds numbers; give each row a different id there, "
                'or write id = "..." in a .toml'
            )
        return None, dict.fromkeys(sheets)
    if any(ids.dtype.kind != known[0].dtype.kind for ids in known):
        names = {sheet: ids.astype(str) for sheet, ids in names.items() if ids is not None}
    rows = dict.fromkeys(name for ids in names.values() if ids is not None for name in ids.tolist())
    every = np.array(list(rows))
    if len(sheets) > 1 and len(every) == sum(sheet.frame.height for sheet in sheets):
        raise InputError(
            f"no id is in two files: {first.path} has {str(known[0][0])!r}, {sheets[1].path} has {str(known[1][0])!r}; "
            "write the ids of a row alike in all files"
        )
    places: dict[Sheet, np.ndarray | None] = {}
    for sheet, ids in names.items():
        at = {} if ids is None else {name: place for place, name in enumerate(ids.tolist())}
        found = np.array([at.get(name, -1) for name in rows])
        places[sheet] = None if np.array_equal(found, np.arange(sheet.frame.height)) else found
    return every, places


def _placed(name: str, values: np.ndarray, places: np.ndarray | None) -> dict[str, np.ndarray]:
    """The values in the order of all rows, with a mask where some lack them."""
    if places is None:
        return {name: values}
    placed, seen = values[places], places >= 0
    if seen.all():
        return {name: placed}
    if placed.dtype == object:
        placed[~seen] = None
        return {name: placed}
    if name == "label":
        return {name: np.ma.masked_array(placed, mask=~seen)}
    placed[~seen] = np.nan if placed.dtype.kind == "f" else 0
    return {name: placed, f"{name}.mask": seen}
