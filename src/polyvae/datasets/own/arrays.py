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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyvae import files
from polyvae.dataset import MultimodalDataset, cut
from polyvae.datasets.own.columns import Scaling, interpret, taken_as
from polyvae.datasets.own.covariates import covariate_of, levels_of
from polyvae.datasets.own.doubts import doubts, doubts_of_labels
from polyvae.datasets.own.new_rows import load_like
from polyvae.datasets.own.parts import Parts
from polyvae.datasets.own.reading import read_parts
from polyvae.datasets.own.roles import Roles
from polyvae.errors import InputError
from polyvae.file_rows import FileRows
from polyvae.modality import Modality
from polyvae.noise import derive_seed
from polyvae.text import LENGTH

TEST_SHARE = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraysOptions:
    """data, test_data: a path (`readers.read`), or name -> array or tensor. test_size: rows that are cut off the data
    for the test split, where there are no test_data; None: a fifth.

    scaling: of tables. standard: mean and standard deviation; robust: median and quartiles, and the model sees values
    beyond ten times the spread clipped. text_length: token ids per text, including the end token.
    Names of keys or columns that are not modalities: label, the class of a row (default: label or labels); covariate, a
    word or integer per row, which encoders and decoders read; group, whose rows no split separates; leave_out,
    comma-separated.
    """

    data: Path | str | Mapping[str, Any] | None = None
    test_data: Path | str | Mapping[str, Any] | None = None
    test_size: int | None = None
    scaling: Scaling = "standard"
    text_length: int = LENGTH
    label: str | None = None
    covariate: str | None = None
    group: str | None = None
    leave_out: str | None = None


def load_arrays(options: ArraysOptions, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    """One split of the user's arrays; `info["description"]` is what each array was taken for.

    seed: of the shuffle that cuts off the test rows. size: how many rows of the split, None: all.
    Tables are standardised on all training rows, whatever `size` is.
    Raises InputError that names the key and the row.
    """
    data = options.data
    if options.test_data is not None and split == "test":
        return _own_test_rows(options, load_arrays(options, split="train", size=None, seed=seed), size)
    if data is None:
        raise InputError("the data set 'arrays' needs data: a file (--data FILE) or a mapping of arrays")
    source = None if isinstance(data, Mapping) else Path(data)
    parts, levels = read_parts(data, Roles.of(options)), None
    groups = None if options.group is None else parts.about[options.group]
    train, test = _split(len(parts.present), options, seed, groups)
    chosen = _limit(train if split == "train" else test, size, split)
    if options.covariate is not None:
        by_row = parts.about[options.covariate]
        levels = levels_of(covariate_of(options.covariate, by_row, train), by_row[chosen], parts.ids[chosen])
    description = {**parts.settings, **_description(source, parts.values)}
    specs, values, in_files, warnings = [], {}, {}, {"label": doubts_of_labels(parts.labels), **parts.doubts}
    for place, (name, array) in enumerate(parts.values.items()):
        entry, present = description.get(name, {}), parts.present[:, place]
        columns = parts.features.get(name, ())
        spec, stored = interpret(name, array, present, entry, train, options.scaling, options.text_length, columns)
        specs.append(spec)
        doubt = doubts(spec, array, present, train, parts.ids)
        warnings[name] = " ".join(filter(None, [warnings.get(name), doubt]))
        if isinstance(stored, FileRows):
            in_files[name] = stored.chosen(chosen)
        else:
            values[name] = torch.from_numpy(stored[chosen])
    info = {
        "source": str(source) if source else "memory",
        "split": split,
        "seed": seed,
        "rows": {"train": len(train), "test": len(test), "used": len(chosen)},
        "description": {m.name: taken_as(m) + ", read by batch" * (m.name in in_files) for m in specs},
        "warnings": {name: text for name, text in warnings.items() if text},
        "networks": {name: entry["network"] for name, entry in description.items() if "network" in entry},
    }
    if parts.classes:
        info["label_names"] = list(parts.classes)
    labels = None if parts.labels is None else torch.from_numpy(parts.labels[chosen])
    present = torch.from_numpy(parts.present[chosen])
    groups = None if groups is None else groups[chosen]
    about: dict[str, Any] = {"levels": levels, "ids": parts.ids[chosen], "groups": groups}
    return MultimodalDataset("arrays", tuple(specs), values, present, labels, info, in_files=in_files, **about)


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


def _own_test_rows(options: ArraysOptions, train: MultimodalDataset, size: int | None) -> MultimodalDataset:
    """The rows of `test_data`, in the units of the training rows.

    Raises InputError where their columns differ from those of the training rows, or labels are words in one file and
    integers in the other, or they share a group.
    """
    parts = read_parts(options.test_data or {}, Roles.of(options))
    differing = sorted(_columns(train) ^ _columns_of(parts, train.modalities))
    if differing:
        lacking = [name for name in differing if name in _columns(train)]
        said = f"lack {lacking[0]!r}, which the training rows have" if lacking else f"also have {differing[0]!r}"
        more = f" ({len(differing)} columns differ)" if len(differing) > 1 else ""
        raise InputError(f"the test data {said}{more}; give both files the same columns, or use --leave-out")
    test = load_like(parts, train.modalities, train.covariate)
    groups = None if options.group is None else parts.about[options.group]
    # as words, since one file may hold as words what the other holds as integers
    known = [set() if names is None else {*names.astype(str).tolist()} for names in (groups, train.groups)]
    if shared := known[0] & known[1]:
        raise InputError(f"{options.group} {min(shared)!r} has rows in both the data and the test data; remove some")
    kinds = ["words" if is_words else "integers" for is_words in ("label_names" in train.info, parts.classes)]
    if parts.labels is not None and kinds[0] != kinds[1]:
        raise InputError(
            f"labels are {kinds[0]} in the data and {kinds[1]} in the test data; write them alike in both files"
        )
    names = list(train.info.get("label_names", ()))
    names += [name for name in parts.classes if name not in names]
    labels = parts.named_labels
    if labels is not None and parts.classes:
        labels = np.array([names.index(name) for name in labels.tolist()])
    rows = {"train": len(train), "test": len(test), "used": len(test) if size is None else size}
    info = {**train.info, "split": "test", "rows": rows, "warnings": test.info["warnings"]}
    info |= {"label_names": names} if names else {}
    test = replace(test, labels=None if labels is None else torch.from_numpy(labels), info=info, groups=groups)
    return test if size is None else test.rows(_limit(np.arange(len(test)), size, "test").tolist())


def _columns(data: MultimodalDataset) -> set[str]:
    """The names of modalities, of the columns of tables, and of the label."""
    of_tables = {f"{m.name}.{name}" for m in data.modalities if not m.is_classes for name in m.feature_names}
    return {*data.names, *of_tables, *([] if data.labels is None else ["label"])}


def _columns_of(parts: Parts, modalities: Sequence[Modality]) -> set[str]:
    named = {m.name for m in modalities if m.feature_names and not m.is_classes}
    of_tables = {f"{name}.{column}" for name in named & set(parts.features) for column in parts.features[name]}
    return {*parts.values, *of_tables, *([] if parts.labels is None else ["label"])}


def _split(rows: int, options: ArraysOptions, seed: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, test rows). The data may themselves have been drawn from `default_rng(seed)`."""
    test_size = options.test_size
    if options.test_data is not None:
        if test_size is not None:
            raise InputError("--test-size cuts test rows off the data, and --test-data are test rows; leave one out")
        return np.arange(rows), np.arange(0)
    test_rows = max(1, round(TEST_SHARE * rows)) if test_size is None else test_size
    if not 1 <= test_rows < rows:
        raise InputError(f"test_size {test_rows} of {rows} rows must leave at least one row on either side")
    order = np.random.default_rng(derive_seed(seed, "split")).random(rows).argsort()
    return cut(order, test_rows, groups)


def _limit(rows: np.ndarray, size: int | None, split: str) -> np.ndarray:
    if size is not None and size > len(rows):
        raise InputError(f"size {size} must be from 1 to {len(rows)}, the number of rows of the {split} split")
    return rows[:size]
