"""Rows that stay in a .npy file until they are asked for, so that data may be larger than memory.

Files are read, not mapped: pages of a mapped file count as memory of the process, for which a cluster may kill it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from math import prod
from pathlib import Path

import numpy as np

from polyvae.errors import InputError

MOST = 2**22  # values that are worked on at a time

Places = np.ndarray | slice


@dataclass(frozen=True, eq=False)
class FileRows:
    """Rows of a .npy file. It stands for the array of them: indexing reads them.

    start: of the first row, in bytes. kind, inner: type and shape of a row there. dtype, shape: of what stands for all
    rows. at: (row,), which rows of the file these are, in this order, -1 for none, which is a row of NaN; None: all.
    """

    path: Path
    start: int
    kind: np.dtype
    inner: tuple[int, ...]
    dtype: np.dtype
    shape: tuple[int, ...]
    at: np.ndarray | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __getitem__(self, rows: Places) -> np.ndarray:
        """The rows, read now. Raises InputError for a file that has become shorter, or is gone."""
        places = self._places(rows)
        found = np.empty((len(places), *self.inner), self.kind)
        if found.size:
            self._read(places, found.reshape(-1).view(np.uint8).data)
            if (places < 0).any():
                found[places < 0] = np.nan
        with np.errstate(over="ignore"):  # as in memory: what overflows becomes infinite
            return found.reshape(len(places), *self.shape[1:]).astype(self.dtype, copy=False)

    def chosen(self, rows: Places) -> "FileRows":
        """Some of the rows, in the order of `rows`; nothing is read."""
        places = self._places(rows)
        return replace(self, shape=(len(places), *self.shape[1:]), at=places)

    def stored(self, dtype: type[np.generic], row: tuple[int, ...]) -> "FileRows":
        """The same rows in another type, each in the shape `row`."""
        return replace(self, dtype=np.dtype(dtype), shape=(len(self), *row))

    def expect(self, rows: np.ndarray) -> None:
        """Tells the system that these rows will be read next, so that it fetches them meanwhile (on Linux)."""
        if not hasattr(os, "posix_fadvise"):
            return
        size, places = self._row_size, self._places(rows)
        with suppress(OSError), self.path.open("rb", buffering=0) as file:  # errors are reported when they are read
            for place in np.sort(places[places >= 0]).tolist():
                os.posix_fadvise(file.fileno(), self.start + place * size, size, os.POSIX_FADV_WILLNEED)

    @property
    def _row_size(self) -> int:
        return self.kind.itemsize * prod(self.inner)

    def _places(self, rows: Places) -> np.ndarray:
        if self.at is not None:
            return self.at[rows]
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)))
        return np.flatnonzero(rows) if rows.dtype == bool else rows

    def _read(self, places: np.ndarray, into: memoryview) -> None:
        """Neighbours in the file are read at once, and all in its order."""
        size, order = self._row_size, np.argsort(places, kind="stable")
        order = order[places[order] >= 0]
        is_first = np.ones(len(order), bool)
        is_first[1:] = (np.diff(places[order]) != 1) | (np.diff(order) != 1)
        firsts = np.flatnonzero(is_first)
        counts = np.diff([*firsts.tolist(), len(order)])
        try:
            with self.path.open("rb", buffering=0) as file:
                for to, count in zip(order[firsts].tolist(), counts.tolist(), strict=True):
                    file.seek(self.start + int(places[to]) * size)
                    _fill(file, into[to * size : (to + count) * size])
        except (OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.path} can no longer be read ({reason}); put the file back as it was") from error


def _fill(file: FileIO, into: memoryview) -> None:
    while into:
        got = file.readinto(into)  # at most 2 GiB at a time
        if not got:
            raise EOFError("it has become shorter")
        into = into[got:]


Array = np.ndarray | FileRows


def parts(array: Array, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """The rows of an array, or some of them in the order of `rows`, at most 2^22 values at a time."""
    size = max(1, MOST // max(1, prod(array.shape[1:])))
    count = len(array) if rows is None else len(rows)
    for start in range(0, count, size):
        yield array[slice(start, start + size) if rows is None else rows[start : start + size]]


def thinned(array: FileRows, rows: np.ndarray) -> np.ndarray:
    """Every n-th of `rows`, so that they have at most 2^22 values."""
    return rows[:: -(-len(rows) * prod(array.shape[1:]) // MOST) or 1]
