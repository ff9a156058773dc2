"""The user's own data, read: values, masks, labels, groups and ids, checked for keys, types and numbers of rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from polyvae.archives import NO_OBJECTS
from polyvae.datasets.own.missing import without_marks
from polyvae.datasets.own.parts import Parts, called
from polyvae.datasets.own.readers import read
from polyvae.datasets.own.readers.content import Content
from polyvae.datasets.own.roles import LABELS, Roles
from polyvae.errors import InputError
from polyvae.file_rows import Array, FileRows

IDS, FEATURES = ".ids", ".features"
# What `polyvae impute` writes beside a modality; not read again.
IMPUTED = (".sd", ".low", ".high", ".class", ".ids", ".draws")
NO_ROLES = Roles()


def read_parts(data: Path | str | Mapping[str, Any], roles: Roles = NO_ROLES) -> Parts:
    """What files or a mapping hold, separated by the roles of columns.

    Raises InputError that names the key, or the file and the column, and the row.
    """
    content = Content(roles.applied(_from_memory(data))) if isinstance(data, Mapping) else read(data, roles)
    parts = _sort_keys(content.arrays, roles)
    return parts._replace(settings=content.settings, headings=content.headings, doubts=content.doubts)


def _from_memory(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {str(key): _to_numpy(key, value) for key, value in data.items()}


def _to_numpy(key: str, value: Any) -> np.ndarray:
    if isinstance(value, Tensor):  # float64 because NumPy has no bfloat16
        return (value.detach().cpu().double() if value.is_floating_point() else value.detach().cpu()).numpy()
    try:
        return np.asanyarray(value)  # a mask is kept
    except ValueError as error:
        raise InputError(f"{key!r} is not a rectangular array ({error}); give one array per modality") from error


def _sort_keys(arrays: Mapping[str, Any], roles: Roles) -> Parts:
    """Values, masks, labels and ids by their keys, checked for type and number of rows; values may be in files."""
    features = {key.removesuffix(FEATURES): array for key, array in arrays.items() if key.endswith(FEATURES)}
    arrays = {key: array for key, array in arrays.items() if not key.endswith(FEATURES)}
    own = {key: _not_filled_in(key, arrays) for key in arrays if not _is_imputed(key, arrays)}
    read: dict[str, Any] = {key: without_marks(key, array) for key, array in own.items()}
    arrays, here = {key: array for key, (array, _) in read.items()}, {key: seen for key, (_, seen) in read.items()}
    given = _label_keys(arrays)
    values = {key: array for key, array in arrays.items() if key not in LABELS and "." not in key}
    known = {*values, *given, IDS, *(f"{name}.mask" for name in values)}
    arrays |= {f"{name}{FEATURES}": array for name, array in features.items() if name not in values}
    if unknown := [key for key in arrays if key not in known]:
        raise InputError(
            f"unknown key {unknown[0]!r}; keys are <name>, <name>.mask, label and .ids (here: {', '.join(arrays)})"
        )
    if not values:
        raise InputError("the data hold no modality; give at least one array besides the labels")
    for key, array in arrays.items():
        if array.dtype.kind not in ("biufU" if array.ndim == 1 else "biuf"):
            raise InputError(
                f"{key!r} has dtype {array.dtype}; give numbers, booleans, or one sentence per row ({NO_OBJECTS})"
            )
        if array.ndim == 0 or 0 in array.shape:
            raise InputError(f"{key!r} has shape {array.shape}; it must have rows, and no axis may be empty")
    first = next(iter(values))
    rows = len(values[first])
    for key, array in arrays.items():
        if len(array) != rows:
            raise InputError(f"{key!r} has {len(array)} rows but {first!r} has {rows}; make them equal")
    ids = _ids(arrays.get(IDS, np.arange(rows)), here.get(IDS))
    seen = {name: _mask(name, arrays.get(f"{name}.mask"), rows) & here[name] for name in values}
    about = {name: _of_each_row(what, name, values, seen, ids) for name, what in roles.about.items() if name in values}
    values = {name: array for name, array in values.items() if name not in about}
    if not values:
        raise InputError(f"the data hold only {', '.join(about)}; add at least one modality")
    present = np.stack([seen[name] for name in values], 1)
    if not present.any(1).all():
        row = int(np.argmin(present.any(1)))
        raise InputError(f"{called(row, ids)} has no observed modality; remove such rows")
    labels, classes = _labels(arrays, here, given, ids, roles)
    return Parts(values, present, labels, ids, _features(features, values), classes, about=about)


def _label_keys(arrays: Mapping[str, np.ndarray]) -> list[str]:
    given = [key for key in LABELS if key in arrays]
    if len(given) > 1:
        raise InputError("the data have both 'label' and 'labels'; keep only one")
    return given


def _of_each_row(
    what: str, name: str, values: Mapping[str, np.ndarray], seen: Mapping[str, np.ndarray], ids: np.ndarray
) -> np.ndarray:
    """The word or integer of every row in the column `name`."""
    column = values[name]
    if column.ndim == 2 and column.shape[1] == 1:  # as tables hold one column of numbers
        column = column[:, 0]
    if not seen[name].all():
        lacking = np.flatnonzero(~seen[name])
        where = f"{called(int(lacking[0]), ids)}{f' and {len(lacking) - 1:,} more' * (len(lacking) > 1)}"
        raise InputError(
            f"{what} {name!r} is missing in {where}; remove such rows, or name one more file with the ids and {name!r} "
            'of all rows: in --data, or at the top of a .toml as file = "..."'
        )
    if column.ndim != 1 or column.dtype.kind not in "biuU":
        raise InputError(f"{what} {name!r} is {column.dtype} {column.shape}; it must be one word or integer per row")
    return column


def _is_imputed(key: str, arrays: Mapping[str, np.ndarray]) -> bool:
    name, dot, field = key.rpartition(".")
    return dot + field in IMPUTED and name in arrays and f"{name}.mask" in arrays


def _not_filled_in(key: str, arrays: Mapping[str, Any]) -> Array:
    """The array with NaN in single cells that `impute` has filled in: those with an sd above 0 in observed rows."""
    array, sd, mask = arrays[key], arrays.get(f"{key}.sd"), arrays.get(f"{key}.mask")
    if (
        sd is None
        or mask is None
        or sd.shape != array.shape
        or mask.shape != array.shape[:1]
        or array.dtype.kind != "f"
    ):
        return array
    if isinstance(array, FileRows) or isinstance(sd, FileRows):
        raise InputError(
            f"{key!r} was filled in, as '{key}.sd' beside it says, and is too large to be read as if it were not; "
            "give the data that it was made from"
        )
    return np.where((sd > 0) & mask.reshape(-1, *(1,) * (sd.ndim - 1)), np.nan, array)


def _mask(name: str, mask: np.ndarray | None, rows: int) -> np.ndarray:
    if mask is None:
        return np.ones(rows, bool)
    if mask.dtype != bool or mask.ndim != 1:
        raise InputError(f"'{name}.mask' is {mask.dtype} {mask.shape}; it must be Bool ({rows},), True where present")
    return mask


def _ids(ids: np.ndarray, here: np.ndarray | None) -> np.ndarray:
    if ids.ndim != 1 or ids.dtype.kind not in "iuU":
        raise InputError(f"'.ids' is {ids.dtype} {ids.shape}; ids must be one integer or word per row")
    if here is not None and not here.all():
        raise InputError(f"'.ids' is missing in row {int(np.argmin(here))}; give every row an id, or leave out the ids")
    _, first, counts = np.unique(ids, return_index=True, return_counts=True)
    if (counts > 1).any():
        row = int(first[counts > 1][0])
        raise InputError(f"'.ids' holds {ids[row]} twice, first in row {row}; give each row a different id")
    return ids


def _features(features: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]) -> dict[str, tuple[str, ...]]:
    for name, names in features.items():
        columns = values[name].size // len(values[name])
        if names.dtype.kind != "U" or names.shape != (columns,) or len(set(names.tolist())) < columns:
            raise InputError(
                f"'{name}{FEATURES}' is {names.dtype} {names.shape}; give {columns} different words, one per column"
            )
    return {name: tuple(names.tolist()) for name, names in features.items()}


def _labels(
    arrays: Mapping[str, np.ndarray], here: Mapping[str, np.ndarray], given: list[str], ids: np.ndarray, roles: Roles
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(labels as integers, their names, if they were words)."""
    if not given:
        return None, ()
    labels = arrays[given[0]]
    if not here[given[0]].all():
        row, name = int(np.argmin(here[given[0]])), roles.label or given[0]
        raise InputError(
            f"{name!r} is missing in {called(row, ids)}; label every row, or do without labels: --leave-out {name}"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "biuU":
        raise InputError(f"{given[0]!r} is {labels.dtype} {labels.shape}; labels must be one integer or word per row")
    if labels.dtype.kind == "U":
        names, codes = np.unique(labels, return_inverse=True)
        return codes.astype(np.int64), tuple(names.tolist())
    return labels.astype(np.int64), ()
