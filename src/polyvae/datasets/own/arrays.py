"""The user's own data: one array per modality, from files (`readers`) or from memory.

Keys: `<name>` is a modality; `<name>.mask` (Bool per row) says where it is present, and so do marks of missing values
on a whole row (`missing`); `<name>.features` names the columns of a table; `label` or `labels` (integers or words) is
the class of a row, `.ids` (integers or words) its name, by default its place. An array is interpreted by its type
and shape, unless a `modalities.json` beside the file describes it: {"<name>": {"likelihood": ..., "scale": number or
"learned", "network": ..., "weight": ...}}. Declare ordered classes and counts there, or with `--likelihood`.

| array | taken as |
|---|---|
| 3 or 4 axes, uint8, or float in [0, 1] | image (row, height, width) or (row, channel, height, width), Laplace(0.75) |
| 1 axis, integers | classes 0, 1, ...: one-hot, Categorical |
| 1 axis, words, few different ones | classes: one-hot, Categorical |
| 1 axis, other words | text |
| 2 axes, each row all 0 but a single 1 | one-hot, Categorical |
| 2 axes, only 0 and 1 | Bernoulli |
| other numbers | table, standardised on the training rows, Normal with a learned scale per feature |
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyvae import files
from polyvae.archives import NO_OBJECTS
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.own.columns import Scaling, interpret, taken_as
from polyvae.datasets.own.covariates import covariate_of, levels_of, taken_out
from polyvae.datasets.own.doubts import doubts, doubts_of_labels
from polyvae.datasets.own.missing import without_marks
from polyvae.datasets.own.parts import Parts
from polyvae.datasets.own.readers import read
from polyvae.datasets.own.readers.content import LABELS, Content
from polyvae.errors import InputError
from polyvae.noise import derive_seed
from polyvae.text import LENGTH

IDS, FEATURES = ".ids", ".features"
# What `polyvae impute` writes beside a modality; not read again.
IMPUTED = (".sd", ".low", ".high", ".class", ".ids", ".draws")
TEST_SHARE = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraysOptions:
    """data: a path (`readers.read`), or name -> array or tensor. test_size: rows of the test split, None: a fifth.

    scaling: of tables. standard: mean and standard deviation; robust: median and quartiles, and the model sees values
    beyond ten times the spread clipped. text_length: token ids per text, including the end token. covariate: a key
    with one word or integer per row, which encoders and decoders read; it is not a modality.
    """

    data: Path | str | Mapping[str, Any] | None = None
    test_size: int | None = None
    scaling: Scaling = "standard"
    text_length: int = LENGTH
    covariate: str | None = None


def load_arrays(options: ArraysOptions, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    """One split of the user's arrays; `info["description"]` is what each array was taken for.

    seed: of the shuffle that cuts off the test rows. size: how many rows of the split, None: all.
    Tables are standardised on all training rows, whatever `size` is.
    Raises InputError that names the key and the row.
    """
    data = options.data
    if data is None:
        raise InputError("the data set 'arrays' needs data: a file (--data FILE) or a mapping of arrays")
    source = None if isinstance(data, Mapping) else Path(data)
    parts, levels = read_parts(data), None
    train, test = _split(len(parts.present), options.test_size, seed)
    chosen = _limit(train if split == "train" else test, size, split)
    if options.covariate is not None:
        parts, by_row = taken_out(parts, options.covariate)
        levels = levels_of(covariate_of(options.covariate, by_row, train), by_row[chosen])
    description = {**parts.settings, **_description(source, parts.values)}
    specs, values, warnings = [], {}, {"label": doubts_of_labels(parts.labels)}
    for column, (name, array) in enumerate(parts.values.items()):
        entry, present = description.get(name, {}), parts.present[:, column]
        spec, stored = interpret(name, array, present, entry, train, options.scaling, options.text_length)
        if names := parts.features.get(name):
            spec = replace(spec, feature_names=names)
        specs.append(spec)
        warnings[name] = doubts(spec, array, present, train)
        values[name] = torch.from_numpy(stored[chosen])
    info = {
        "source": str(source) if source else "memory",
        "split": split,
        "seed": seed,
        "rows": {"train": len(train), "test": len(test), "used": len(chosen)},
        "description": {m.name: taken_as(m) for m in specs},
        "warnings": {name: text for name, text in warnings.items() if text},
        "networks": {name: entry["network"] for name, entry in description.items() if "network" in entry},
    }
    if parts.classes:
        info["label_names"] = list(parts.classes)
    labels = None if parts.labels is None else torch.from_numpy(parts.labels[chosen])
    present = torch.from_numpy(parts.present[chosen])
    return MultimodalDataset(
        "arrays", tuple(specs), values, present, labels, info, levels=levels, ids=parts.ids[chosen]
    )


def read_parts(data: Path | str | Mapping[str, Any]) -> Parts:
    """Values, masks, labels and ids of files or a mapping, with checked keys, types and numbers of rows."""
    content = Content(_from_memory(data)) if isinstance(data, Mapping) else read(data)
    return _sort_keys(content.arrays)._replace(settings=content.settings, headings=content.headings)


def _from_memory(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {str(key): _to_numpy(key, value) for key, value in data.items()}


def _to_numpy(key: str, value: Any) -> np.ndarray:
    if isinstance(value, Tensor):  # float64 because NumPy has no bfloat16
        return (value.detach().cpu().double() if value.is_floating_point() else value.detach().cpu()).numpy()
    try:
        return np.asanyarray(value)  # a mask is kept
    except ValueError as error:
        raise InputError(f"{key!r} is not a rectangular array ({error}); give one array per modality") from error


def _sort_keys(arrays: Mapping[str, np.ndarray]) -> Parts:
    """Values, masks, labels and ids by their keys, checked for type and number of rows."""
    features = {key.removesuffix(FEATURES): array for key, array in arrays.items() if key.endswith(FEATURES)}
    arrays = {key: array for key, array in arrays.items() if not key.endswith(FEATURES)}
    own = {key: _not_filled_in(key, arrays) for key in arrays if not _is_imputed(key, arrays)}
    read = {key: without_marks(key, array) for key, array in own.items()}
    arrays, here = {key: array for key, (array, _) in read.items()}, {key: seen for key, (_, seen) in read.items()}
    given = [key for key in LABELS if key in arrays]
    if len(given) > 1:
        raise InputError("the data have both 'label' and 'labels'; keep only one")
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
    present = np.stack([_mask(name, arrays.get(f"{name}.mask"), rows) & here[name] for name in values], 1)
    if not present.any(1).all():
        raise InputError(f"row {int(np.argmin(present.any(1)))} has no observed modality; remove such rows")
    labels, classes = _labels(arrays, here, given)
    ids = _ids(arrays.get(IDS, np.arange(rows)), here.get(IDS))
    return Parts(values, present, labels, ids, _features(features, values), classes)


def _is_imputed(key: str, arrays: Mapping[str, np.ndarray]) -> bool:
    name, dot, field = key.rpartition(".")
    return dot + field in IMPUTED and name in arrays and f"{name}.mask" in arrays


def _not_filled_in(key: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
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
    arrays: Mapping[str, np.ndarray], here: Mapping[str, np.ndarray], given: list[str]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(labels as integers, their names, if they were words)."""
    if not given:
        return None, ()
    labels = arrays[given[0]]
    if not here[given[0]].all():
        row = int(np.argmin(here[given[0]]))
        raise InputError(f"{given[0]!r} is missing in row {row}; label every row, or leave out the labels")
    if labels.ndim != 1 or labels.dtype.kind not in "biuU":
        raise InputError(f"{given[0]!r} is {labels.dtype} {labels.shape}; labels must be one integer or word per row")
    if labels.dtype.kind == "U":
        names, codes = np.unique(labels, return_inverse=True)
        return codes.astype(np.int64), tuple(names.tolist())
    return labels.astype(np.int64), ()


def _description(source: Path | None, names: Iterable[str]) -> Mapping[str, Any]:
    """The content of `modalities.json` beside the data, empty where there is none."""
    folder = source if source is None or source.is_dir() else source.parent
    beside = folder / "modalities.json" if folder else None
    given = files.read_settings(beside) if beside and beside.is_file() else {}
    if not isinstance(given, Mapping):
        raise InputError("modalities.json must map each modality name to its settings")
    if unknown := sorted(set(given) - set(names)):
        raise InputError(f"modalities.json describes {unknown[0]!r}, but the data hold {', '.join(names)}")
    return given


def _split(rows: int, test_size: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, test rows). The data may themselves have been drawn from `default_rng(seed)`."""
    test_rows = max(1, round(TEST_SHARE * rows)) if test_size is None else test_size
    if not 1 <= test_rows < rows:
        raise InputError(f"test_size {test_rows} of {rows} rows must leave at least one row on either side")
    order = np.random.default_rng(derive_seed(seed, "split")).random(rows).argsort()
    return order[test_rows:], order[:test_rows]


def _limit(rows: np.ndarray, size: int | None, split: str) -> np.ndarray:
    if size is not None and size > len(rows):
        raise InputError(f"size {size} must be from 1 to {len(rows)}, the number of rows of the {split} split")
    return rows[:size]
