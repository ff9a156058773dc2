"""The marks of missing values in NumPy, pandas and scikit-learn: NaN, None, NA, NaT, masks."""

import numpy as np

from polyvae.archives import NO_OBJECTS
from polyvae.errors import InputError
from polyvae.file_rows import Array, FileRows, parts

MARKS = ("NoneType", "NAType", "NaTType")  # types of None, pandas.NA and pandas.NaT
AS_TEXT = ("nan", "NaN", "<NA>", "NaT", "None", "null")  # what `astype(str)` makes of them
NUMBERS = (int, float, np.number, np.bool_)  # bool is an int


def without_marks(key: str, array: Array) -> tuple[Array, np.ndarray]:
    """The array as plain numbers or strings, and Bool (row,): whether the row has any value.

    Missing values are NaN in floats, and integers with single gaps become floats. Otherwise a missing row is 0 or "".
    Raises InputError for objects that are neither strings nor numbers, and for named columns in one array.
    """
    if isinstance(array, FileRows):
        return array, _have_some(array)
    if names := array.dtype.names:
        raise InputError(
            f"{key!r} holds named columns ({', '.join(names)}); give each as an array, {key}[{names[0]!r}]"
        )
    if array.ndim == 0:
        return array, np.ones(1, bool)
    missing = _missing(array)
    values = _typed(key, np.ma.getdata(array), missing)
    if not missing.any():
        return values, np.ones(len(array), bool)
    here = np.logical_not(missing.reshape(len(array), -1).all(1))
    cells = missing & here.reshape(-1, *(1,) * (array.ndim - 1))
    if values.dtype.kind in "biu" and cells.any():
        values = values.astype(np.float64)
    values = values.copy()
    values[missing] = {"f": np.nan, "U": ""}.get(values.dtype.kind, 0)
    return values, here


def _have_some(array: FileRows) -> np.ndarray:
    """Bool (row,): whether the row has a value that is not NaN."""
    if array.dtype.kind != "f":
        return np.ones(len(array), bool)
    return np.concatenate([np.ones(0, bool), *(~np.isnan(part).reshape(len(part), -1).all(1) for part in parts(array))])


def _missing(array: np.ndarray) -> np.ndarray:
    """Bool, of the shape of the array."""
    values = np.ma.getdata(array)
    if values.dtype.kind == "f":
        marked = np.isnan(values)
    elif values.dtype.kind in "OT":
        marked = np.array([_is_mark(value) for value in values.ravel().tolist()], bool).reshape(values.shape)
    else:
        marked = np.zeros(values.shape, bool)
    return marked | np.ma.getmaskarray(array)


def _is_mark(value: object) -> bool:
    return type(value).__name__ in MARKS or (isinstance(value, float) and value != value)


def _typed(key: str, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Objects as strings or numbers; all other arrays unchanged."""
    if values.dtype.kind not in "OT":
        return values
    known = values[~missing].tolist()
    if known and all(isinstance(value, str) for value in known):
        typed = np.full(values.shape, "", dtype=np.array(known).dtype)
    elif known and all(isinstance(value, NUMBERS) for value in known):
        typed = np.zeros(values.shape, dtype=np.array(known).dtype)
    else:
        kinds = ", ".join(sorted({type(value).__name__ for value in known})) or "only missing values"
        raise InputError(f"{key!r} has dtype object and holds {kinds}; {NO_OBJECTS}")
    typed[~missing] = known
    return typed
