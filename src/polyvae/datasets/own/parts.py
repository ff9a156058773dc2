"""What was read from the user's data, checked: values by name, which rows have them, labels and names."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from polyvae.datasets.own.readers.content import HEADINGS, Headings
from polyvae.file_rows import Array


class Parts(NamedTuple):
    """name -> array; present: Bool (row, modality); labels: Int64 (row,) or None.

    ids: (row,), the names of the rows. features: name -> names of a table's columns, where there are any. classes:
    names of the labels, where there are any. settings: name -> what the file itself says as `modalities.json` does.
    about: column -> (row,), words or integers: the covariate and the group, where they were asked for. doubts: name or
    file -> why it may not be meant like that.
    """

    values: dict[str, Array]
    present: np.ndarray
    labels: np.ndarray | None
    ids: np.ndarray
    features: Mapping[str, tuple[str, ...]]
    classes: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = {}
    headings: Headings = HEADINGS
    about: Mapping[str, np.ndarray] = {}
    doubts: Mapping[str, str] = {}

    @property
    def named_labels(self) -> np.ndarray | None:
        """The labels as they were given."""
        return named(self.labels, self.classes)


def named(labels: np.ndarray | None, names: Sequence[str]) -> np.ndarray | None:
    """Labels as their names, where they have some."""
    return labels if labels is None or not len(names) else np.array(names)[labels]


def called(row: int, ids: np.ndarray) -> str:
    """A row in words: by its id, if the user gave ids, else by its number."""
    is_number = ids.dtype.kind in "iu" and ids[row] == row
    return f"row {row}" if is_number else f"row {row} (id {str(ids[row])!r})"
