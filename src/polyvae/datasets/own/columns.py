"""How one of the user's arrays is interpreted: image, classes or table, with its likelihood and scaling."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polyvae import likelihoods
from polyvae.datasets.own.doubts import Names, spread_of
from polyvae.errors import InputError
from polyvae.file_rows import Array, FileRows, parts, thinned
from polyvae.likelihoods import Form
from polyvae.modality import Modality, Standardise, text_modality
from polyvae.text import LENGTH, Vocabulary, tokenise

Scaling = Literal["standard", "robust"]
FIELDS = ("likelihood", "scale", "network", "weight")
MAX_CLASSES = 1000
FEW, REPEATS = 100, 5  # words are classes if at most so many differ, and each occurs so often on average
CLIPPED = 10.0  # model units, where scaling is robust
RESOLUTION = 1e-5  # a feature's sd below this share of its mean drowns in float32 rounding


def interpret(
    name: str,
    array: Array,
    present: np.ndarray,
    entry: Mapping[str, Any],
    train: np.ndarray,
    scaling: Scaling = "standard",
    text_length: int = LENGTH,
    columns: tuple[str, ...] = (),
) -> tuple[Modality, Array]:
    """The modality that `array` is, and its values as they are stored (uint8 for images of bytes, else float32).

    Rows in a file stay there; they are looked at in parts, as large arrays in memory are.
    columns: names of the columns of a table, where it has some.
    """
    _check_entry(name, entry)
    if not present[train].any():
        raise InputError(f"modality {name!r} is missing in every training row; leave it out")
    names = columns
    if isinstance(array, np.ndarray) and array.dtype.kind == "U":
        if not _is_classes(name, array[present], entry.get("likelihood")):
            return _text(name, array, present, entry, train, text_length)
        array, names = _numbered(array, present)
    has_gaps = _has_gaps(name, array, present)
    wanted = entry.get("likelihood")
    if array.ndim > 2:
        stored, kind, scale = _image(name, array, present), "laplace", likelihoods.SCALE
    elif (
        isinstance(array, np.ndarray)
        and array.ndim == 1
        and array.dtype.kind in "iu"
        and wanted in (None, "categorical", "ordinal")
    ):
        stored, kind, scale = _one_hot(name, array, present), "categorical", None
    else:
        stored, scale = _as_table(array), None
        kind = _table_kind(stored, present)
    if wanted is not None:
        for seen in _seen(stored, present):
            known = np.nan_to_num(seen) if has_gaps else seen
            _check_fit(name, wanted, torch.from_numpy(known), Form(is_image=array.ndim > 2))
    kind = wanted or kind
    if "scale" in entry and not likelihoods.has_scale(kind):
        raise InputError(f"modalities.json, {name!r}: likelihood {kind!r} has no scale; leave it out")
    scale = None if entry.get("scale", scale) == "learned" else entry.get("scale", scale)
    likelihood = likelihoods.make(kind, scale)
    spec = Modality(
        name, stored.shape[1:], likelihood, entry.get("weight", 1.0), has_gaps=has_gaps, feature_names=names
    )
    if array.ndim <= 2 and likelihood.takes_any_real:
        units = (_standardise if scaling == "standard" else _robust)(spec, array, train[present[train]])
        spec = replace(spec, transform=units)
    return spec, stored


def _is_classes(name: str, seen: np.ndarray, wanted: str | None) -> bool:
    """Whether words are classes, not text: if there are few different ones, unless `wanted` names a likelihood.

    Raises InputError for words that can be neither.
    """
    different = np.unique(seen)
    if wanted is not None:
        return wanted != "text"
    if len(different) == 1:
        raise InputError(f"{name!r} is {str(different[0])!r} in every row; leave it out")
    if len(different) <= min(FEW, len(seen) // REPEATS):
        return True
    if all(len(tokenise(words)) < 2 for words in different.tolist()):
        raise InputError(
            f"{name!r} holds {len(different)} different words in {len(seen)} rows. Put names of rows under the key "
            f'`.ids`; if they are classes, write {{"{name}": {{"likelihood": "categorical"}}}} in modalities.json'
        )
    return False


def _numbered(array: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Words as 0, 1, ..., and the words: sorted, by number if they are whole numbers."""
    names = sorted(np.unique(array[present]).tolist(), key=lambda word: (int(word) if word.isdecimal() else -1, word))
    codes = {word: code for code, word in enumerate(names)}
    return np.array([codes.get(word, 0) for word in array.tolist()]), tuple(names)


def _text(
    name: str, array: np.ndarray, present: np.ndarray, entry: Mapping[str, Any], train: np.ndarray, length: int
) -> tuple[Modality, np.ndarray]:
    """Sentences as token ids; the vocabulary is that of the training rows."""
    kind = entry.get("likelihood", "text")
    _check_fit(name, kind, torch.empty(0), Form(is_text=True))
    if "scale" in entry:
        raise InputError(f"modalities.json, {name!r}: likelihood {kind!r} has no scale; leave it out")
    vocabulary = Vocabulary.of(array[train[present[train]]].tolist(), length)
    likelihood, weight = likelihoods.make(kind), entry.get("weight", 1.0)
    spec = replace(text_modality(name, vocabulary), likelihood=likelihood, weight=weight)
    return spec, vocabulary.encode(array.tolist()).numpy()


def _check_fit(name: str, kind: str, seen: Tensor, form: Form) -> None:
    """Raises InputError that lists the likelihoods that can score `seen`, unless `kind` is one of them."""
    suited = [other for other in likelihoods.LIKELIHOODS if likelihoods.make(other).unfit(seen, form) is None]
    if kind not in suited:
        raise InputError(f"likelihood {kind!r} does not suit modality {name!r}; choose one of {', '.join(suited)}")


def _check_entry(name: str, entry: Any) -> None:
    place = f"modalities.json, {name!r}"
    if not isinstance(entry, Mapping):
        raise InputError(f"{place}: expected settings ({', '.join(FIELDS)}), got {entry!r}")
    for key, value in entry.items():
        if key not in FIELDS:
            raise InputError(f"{place}: unknown setting {key!r}; settings are {', '.join(FIELDS)}")
        wanted = {"likelihood": str, "network": str, "weight": (int, float), "scale": (int, float, type(None))}[key]
        if (key, value) == ("scale", "learned"):
            continue
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "word" if wanted is str else 'number, or "learned"' if key == "scale" else "number"
            raise InputError(f"{place}: {key} {value!r} must be a {kind}")


def _seen(array: Array, present: np.ndarray) -> Iterator[np.ndarray]:
    """The rows that are present, in parts."""
    return parts(array, np.flatnonzero(present))


def _as_table(array: Array) -> Array:
    if isinstance(array, FileRows):
        return array.stored(np.float32, (array.size // len(array),))
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which is an error unless it is masked
        return array.reshape(len(array), -1).astype(np.float32)


def _has_gaps(name: str, array: Array, present: np.ndarray) -> bool:
    """Whether single values are missing in rows that are present. Raises InputError for others that are not finite."""
    if array.dtype.kind != "f":
        return False
    first, has_gaps = 0, False
    for part in parts(array):
        here = present[first : first + len(part)]
        with np.errstate(over="ignore"):
            table = part.reshape(len(part), -1).astype(np.float32, copy=False)
        gaps = np.isnan(table) & (array.ndim <= 2)
        finite = np.isfinite(table) | gaps
        wrong = np.flatnonzero(here & ~finite.all(1))
        if len(wrong):
            what = "infinite or beyond float32" if array.ndim <= 2 else "NaN, infinite or beyond float32"
            some = f"{int((~finite[wrong[0]]).sum())} of {finite.shape[1]}"
            raise InputError(
                f"modality {name!r}, row {first + int(wrong[0])}: {some} values are {what}, but the row counts as "
                f"observed; fill them in, or give a mask '{name}.mask' (Bool per row, False where the whole modality "
                "is missing)"
            )
        first, has_gaps = first + len(part), has_gaps or bool(gaps[here].any())
    return has_gaps


def _image(name: str, array: Array, present: np.ndarray) -> Array:
    if array.ndim > 4:
        raise InputError(
            f"modality {name!r} has {array.ndim} axes; images are (row, height, width) or (row, channel, height, width)"
        )
    if array.ndim == 4 and array.shape[3] < min(array.shape[1:3]):
        raise InputError(
            f"modality {name!r} has shape {array.shape}, channels last; use transpose(0, 3, 1, 2), or, if axis 1 holds "
            "the channels, swap height and width"
        )
    if array.dtype != np.uint8:
        ends = [(seen.min(), seen.max()) for seen in _seen(array, present)]
        least, most = min(low for low, _ in ends), max(high for _, high in ends)
        if array.dtype.kind not in "bf" or least < 0 or most > 1:
            raise InputError(
                f"images {name!r} are {array.dtype} from {least} to {most}; give uint8, or float in [0, 1]"
            )
    stored = np.uint8 if array.dtype == np.uint8 else np.float32
    shape = (1, *array.shape[1:]) if array.ndim == 3 else array.shape[1:]
    if isinstance(array, FileRows):
        return array.stored(stored, shape)
    return array.reshape(len(array), *shape).astype(stored, copy=False)


def _one_hot(name: str, array: np.ndarray, present: np.ndarray) -> np.ndarray:
    seen = array[present]
    if seen.min() < 0 or seen.max() >= MAX_CLASSES:
        raise InputError(
            f"classes {name!r} run from {seen.min()} to {seen.max()}; they must be from 0 to {MAX_CLASSES - 1} "
            "(convert to float if they are quantities)"
        )
    stored = np.zeros((len(array), int(seen.max()) + 1), np.float32)
    stored[np.flatnonzero(present), seen] = 1
    return stored


def _table_kind(stored: Array, present: np.ndarray) -> str:
    """The guessed likelihood of a table."""
    if not all(np.isin(seen[~np.isnan(seen)], (0, 1)).all() for seen in _seen(stored, present)):
        return "normal"
    is_one_hot = stored.shape[1] > 1 and all((seen.sum(1) == 1).all() for seen in _seen(stored, present))
    return "categorical" if is_one_hot else "bernoulli"


class _Moments(NamedTuple):
    """Of each feature: (feature,)."""

    mean: np.ndarray
    sd: np.ndarray
    least: np.ndarray
    most: np.ndarray


def _moments(spec: Modality, table: Array, rows: np.ndarray) -> _Moments:
    """Over the rows, without NaN. Sums run in the order of rows, so parts of any size give the same.

    Raises InputError for a feature that no row has.
    """
    total = squares = count = np.zeros(0)
    least, most = np.full(spec.shape, np.inf), np.full(spec.shape, -np.inf)
    for part in _doubles(table, rows):
        known = ~np.isnan(part)
        least, most = np.fmin(least, np.fmin.reduce(part)), np.fmax(most, np.fmax.reduce(part))
        total, count = _summed(total, np.where(known, part, 0.0)), _summed(count, known.astype(np.float64))
    if len(empty := np.flatnonzero(count == 0)):
        raise InputError(f"{_place(spec, int(empty[0]))} is missing in every training row; leave it out")
    mean = total / count
    for part in _doubles(table, rows):
        squares = _summed(squares, np.square(np.where(np.isnan(part), 0.0, part - mean)))
    return _Moments(mean, np.sqrt(squares / count), least, most)


def _doubles(table: Array, rows: np.ndarray) -> Iterator[np.ndarray]:
    return (part.reshape(len(part), -1).astype(np.float64) for part in parts(table, rows))


def _summed(before: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Row after row, as NumPy adds up the rows of one array; before: the sums so far, or empty. It changes `part`."""
    if len(before):
        part[0] += before
    return part.sum(0)


def _place(spec: Modality, feature: int) -> str:
    return f"modality {spec.name!r}, {Names(features=spec.feature_names).feature(feature)}"


def _standardise(spec: Modality, table: Array, rows: np.ndarray) -> Standardise:
    """Mean and sd per feature over the rows; constant features get sd 1."""
    mean, sd, least, most = _moments(spec, table, rows)
    constant = least == most
    lost = np.flatnonzero(~constant & (sd < RESOLUTION * np.abs(mean)))
    if len(lost):
        raise InputError(
            f"{_place(spec, int(lost[0]))} varies by {sd[lost[0]]:.3g} around {mean[lost[0]]:.6g}, too little for "
            "float32; subtract a constant first"
        )
    return Standardise(tuple(mean.tolist()), tuple(np.where(constant, 1.0, sd).tolist()), from_zero=_from_zero(least))


def _robust(spec: Modality, table: Array, rows: np.ndarray) -> Standardise:
    """Median and spread per feature; where all but a few values are equal, their standard deviation.

    For rows in a file every n-th counts, so that 2^22 values are held: no part has the median of the whole.
    """
    whole = _moments(spec, table, rows)
    held = thinned(table, rows) if isinstance(table, FileRows) else rows
    median, spread = spread_of(table[held].astype(np.float64).reshape(len(held), -1))
    median = np.where(np.isnan(median), whole.mean, median)  # a feature that hardly any row has
    sd = np.where(spread > 0, spread, whole.sd)
    units = tuple(median.tolist()), tuple(np.where(sd > 0, sd, 1.0).tolist())
    return Standardise(*units, CLIPPED, _from_zero(whole.least))


def _from_zero(least: np.ndarray) -> tuple[bool, ...]:
    """By feature, whether no value is below 0; empty where all have some."""
    found = least >= 0
    return tuple(found.tolist()) if found.any() else ()


def taken_as(modality: Modality) -> str:
    """How a modality was interpreted, in one line."""
    likelihood = likelihoods.to_json(modality.likelihood)
    scale = f"({likelihood['scale'] or 'learned scale'})" if "scale" in likelihood else ""
    if modality.vocabulary:
        return f"text of {modality.shape[0]} tokens, {modality.shape[1]} words, weight {modality.weight:g}"
    what = "image" if modality.is_image else "classes" if modality.is_classes else "table"
    units = ", standardised" if modality.transform else ""
    shape = str(tuple(modality.shape))
    if modality.is_classes and (names := modality.feature_names):
        shape = f"({len(names)}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
    return f"{what} {shape}, {likelihood['kind']}{scale}{units}, weight {modality.weight:g}"
