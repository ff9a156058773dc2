"""New rows for a trained model: arrays read by the modalities it was trained with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyvae.covariate import Covariate
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.own.covariates import levels_of
from polyvae.datasets.own.doubts import doubts, doubts_of_labels
from polyvae.datasets.own.parts import Parts
from polyvae.datasets.own.reading import read_parts
from polyvae.datasets.own.roles import Roles
from polyvae.errors import InputError
from polyvae.file_rows import Array, FileRows, parts
from polyvae.modality import Modality, check_suits
from polyvae.text import Vocabulary

EXACT = 2**53  # integers up to here are exact as floats


def load_like(
    source: Parts | Path | str | Mapping[str, Any],
    modalities: Sequence[Modality],
    covariate: Covariate | None = None,
) -> MultimodalDataset:
    """The rows of files (or name -> array, or what was read from either) in the form and units of `modalities`.

    Keys as for the data set `arrays`; a modality without a key is missing in every row. If both have column names,
    columns are matched by name, in any order, and further ones are left out. covariate: that of the model; every row
    needs a level.
    Raises InputError for unknown keys, wrong shapes, and observed values that are not finite or that the likelihood
    cannot score.
    """
    roles = Roles(covariate=None if covariate is None else covariate.name)
    read = source if isinstance(source, Parts) else read_parts(source, roles.for_new_rows(modalities))
    levels = None if covariate is None else levels_of(covariate, read.about[covariate.name], read.ids)
    known = {m.name: m for m in modalities}
    if unknown := sorted(set(read.values) - set(known)):
        raise InputError(f"unknown key {unknown[0]!r}; the model has {', '.join(known)}")
    rows, present = len(read.present), torch.zeros(len(read.present), len(known), dtype=torch.bool)
    values, in_files = {}, {}
    given, warnings = list(read.values), {"label": doubts_of_labels(read.labels)}
    for column, modality in enumerate(modalities):
        here = read.present[:, given.index(modality.name)] if modality.name in given else np.zeros(rows, bool)
        if not here.any():
            stored = torch.int16 if modality.vocabulary else torch.float32
            row = torch.zeros(1, *modality.stored_shape, dtype=stored)  # for all: they may be more than memory holds
            values[modality.name] = row.expand(rows, *modality.stored_shape)
            continue
        present[:, column] = torch.from_numpy(here)
        array, note = _aligned(modality, read.values[modality.name], read.features.get(modality.name, ()))
        if isinstance(array, FileRows):
            in_files[modality.name] = _in_file(modality, array, here)
        else:
            values[modality.name] = _stored(modality, array, here)
        warnings[modality.name] = " ".join(filter(None, [note, doubts(modality, array, here, ids=read.ids)]))
    labels = None if read.labels is None else torch.from_numpy(read.labels)
    info = {"warnings": {name: text for name, text in warnings.items() if text}}
    about: dict[str, Any] = {"levels": levels, "ids": read.ids, "in_files": in_files}
    return MultimodalDataset("arrays", tuple(modalities), values, present, labels, info, **about)


def like(parts: Parts, modalities: Sequence[Modality]) -> Parts:
    """The parts with the columns that `modalities` have, in their order."""
    values, features = dict(parts.values), dict(parts.features)
    for modality in (m for m in modalities if m.name in features and m.feature_names and not m.is_classes):
        name = modality.name
        values[name], _ = _aligned(modality, values[name], features[name])
        features[name] = modality.feature_names
    return parts._replace(values=values, features=features)


def _aligned(modality: Modality, array: Array, names: Sequence[str]) -> tuple[Array, str]:
    """(the columns that the modality has, in its order; what was left out, in words)."""
    wanted = modality.feature_names
    if modality.is_classes or not wanted or not names or tuple(names) == wanted:
        return array, ""
    places = {name: place for place, name in enumerate(names)}
    if lacking := [name for name in wanted if name not in places]:
        raise InputError(
            f"{modality.name!r} lacks {len(lacking)} of the {len(wanted)} columns that the model was trained on, such "
            f"as {lacking[0]!r}; add them, empty where they are missing"
        )
    if isinstance(array, FileRows):
        raise InputError(
            f"{modality.name!r} has other columns than the model, or in another order, and is too large to be read at "
            f"once; save the {len(wanted)} columns in the order of training"
        )
    further = f"{len(names) - len(wanted)} columns that the model does not know are left out."
    return array[:, [places[name] for name in wanted]], further if len(names) > len(wanted) else ""


def with_given(filled: np.ndarray, given: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`filled` (row, *shape), with the given values where they were `seen`, in their units and in a type that holds
    both; words, too. Byte images stay bytes. seen: Bool (row,); single missing values are not seen."""
    known = given.reshape(filled.shape)
    mask = np.broadcast_to(seen.reshape(-1, *(1,) * (filled.ndim - 1)), filled.shape)
    if known.dtype.kind == "f":
        mask = mask & ~np.isnan(known)
    if mask.all():
        return known
    if known.dtype == np.uint8 and known.ndim == 4:
        filled = (filled.clip(0, 1) * 255).round().astype(np.uint8)
    result = known.astype(np.result_type(known, filled))
    result[~mask] = _in_type(filled[~mask], result.dtype)
    return result


def _in_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values (cell,) in a wider type. From 32 to 64 bits by their shortest digits: .1, not .10000000149011612."""
    if (values.dtype, dtype) != (np.float32, np.float64):
        return values.astype(dtype)
    import polars as pl  # ten times as fast as NumPy

    return pl.Series(values).cast(pl.String).cast(pl.Float64).to_numpy()


def _stored(modality: Modality, array: np.ndarray, present: np.ndarray) -> Tensor:
    if modality.vocabulary:
        return _encoded(modality, modality.vocabulary, array)
    if array.dtype.kind == "U":
        array = _numbered(modality, array, present)
    if modality.is_classes and array.ndim == 1:
        array = (array[:, None] == np.arange(modality.shape[0])).astype(np.float32)
        if not array[present].any(1).all():
            raise InputError(f"{modality.name!r} has a class outside 0 to {modality.shape[0] - 1}")
    if array.ndim == len(modality.shape):  # grey images and single features, written without their axis of length 1
        array = array[:, None]
    if array.shape[1:] != modality.shape:
        raise InputError(f"{modality.name!r} has shape {array.shape}; the model expects {('rows', *modality.shape)}")
    if modality.is_image and array.dtype == np.uint8:
        return torch.from_numpy(array)
    if array.dtype.kind in "iu" and not present.all() and int(np.abs(array[present]).max(initial=0)) > EXACT:
        raise InputError(
            f"{modality.name!r} holds integers beyond 2^53, which a float array cannot hold exactly; give fewer digits"
        )
    with np.errstate(over="ignore"):
        stored = torch.from_numpy(array.astype(np.float32))
    _check(modality, stored, np.arange(len(array)), present)
    return stored


def _in_file(modality: Modality, array: FileRows, present: np.ndarray) -> FileRows:
    """As `_stored`, for what is neither text nor classes by number: rows in files have several values each."""
    shape = array.shape[1:]
    if shape != modality.shape and (1, *shape) != modality.shape:
        raise InputError(f"{modality.name!r} has shape {array.shape}; the model expects {('rows', *modality.shape)}")
    is_bytes = modality.is_image and array.dtype == np.uint8
    stored = array.stored(np.uint8 if is_bytes else np.float32, modality.shape)
    first = 0
    for part in () if is_bytes else map(torch.from_numpy, parts(stored)):
        rows = np.arange(first, first := first + len(part))
        _check(modality, part, rows, present[rows])
    return stored


def _check(modality: Modality, stored: Tensor, rows: np.ndarray, present: np.ndarray) -> None:
    """Raises InputError for observed values that are not finite or that the likelihood cannot score. rows: their
    numbers."""
    fine = stored.isfinite() | (stored.isnan() & modality.has_gaps)
    here = torch.from_numpy(present)
    wrong = ~fine.flatten(1).all(1) & here
    if bool(wrong.any()):
        row = int(rows[int(wrong.nonzero()[0])])
        raise InputError(
            f"{modality.name!r}, row {row}: values are not finite, or beyond float32; if the row lacks this "
            f"modality, set '{modality.name}.mask' to False"
        )
    check_suits(modality.likelihood, modality, stored[here])


def _numbered(modality: Modality, array: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Words as the classes of the model."""
    if not (modality.is_classes and modality.feature_names):
        raise InputError(f"{modality.name!r} holds words, but the model's modality is neither text nor named classes")
    codes = {word: code for code, word in enumerate(modality.feature_names)}
    if unknown := np.flatnonzero(present & ~np.isin(array, modality.feature_names)).tolist():
        raise InputError(
            f"{modality.name!r}, row {unknown[0]}: {str(array[unknown[0]])!r} is not a class of the model "
            f"({', '.join(modality.feature_names[:20])}); correct it, or leave it empty if it is missing"
        )
    return np.array([codes.get(word, 0) for word in array.tolist()])


def _encoded(modality: Modality, vocabulary: Vocabulary, array: np.ndarray) -> Tensor:
    """Sentences (row,) or token ids (row, position) as token ids."""
    if array.dtype.kind == "U":
        return vocabulary.encode(array.tolist())
    is_ids = array.shape[1:] == modality.stored_shape and array.dtype.kind in "iu"
    if not is_ids or array.min() < 0 or array.max() >= len(vocabulary):
        raise InputError(
            f"{modality.name!r} is text: give one sentence per row, or token ids (rows, {vocabulary.length}) from 0 to "
            f"{len(vocabulary) - 1}"
        )
    return torch.from_numpy(array.astype(np.int16))
