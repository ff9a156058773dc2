"""Parquet files that are larger than memory: a column is read when it is asked for, and a table is copied, once, into a
.npy file of the cache, which lies row by row."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from polyvae import archives, files
from polyvae.file_rows import Array

if TYPE_CHECKING:
    import polars as pl

MOST = 2**24  # values that are copied at a time


class Scanned:
    """A Parquet file; it stands for the frame of its columns. Raises polars' errors for other files."""

    def __init__(self, path: Path) -> None:
        import polars as pl

        self.path, self._lazy = path, pl.scan_parquet(path)
        self.schema = self._lazy.collect_schema()
        self.columns = self.schema.names()
        self.width, self.height = len(self.columns), int(self._lazy.select(pl.len()).collect().item())

    @property
    def is_large(self) -> bool:
        """Whether it may not be read at once."""
        return 8 * self.width * self.height > archives.most_memory()

    def __getitem__(self, column: str) -> "pl.Series":
        return self._lazy.select(column).collect()[column]

    def by_row(self, columns: Sequence[str], read: Callable[["pl.DataFrame", int], np.ndarray]) -> Array:
        """The table of some columns, in a file of the cache. read: some rows, and which is the first, as numbers (row,
        column)."""
        stat = self.path.stat()
        content = json.dumps([str(self.path.resolve()), stat.st_mtime_ns, stat.st_size, list(columns)])
        place = files.cache_dir() / "rows" / f"{hashlib.sha256(content.encode()).hexdigest()}.npy"
        with files.lock(place.with_suffix(".lock")):
            if not place.is_file():
                with files.atomic(place) as temporary:
                    archives.write_npy(temporary, self._parts(columns, read), self.height)
        return archives.open_npy(place)

    def _parts(self, columns: Sequence[str], read: Callable[["pl.DataFrame", int], np.ndarray]) -> Iterator[np.ndarray]:
        size, dtype = max(1, MOST // len(columns)), None
        for start in range(0, self.height, size):
            part = read(self._lazy.slice(start, size).select(columns).collect(), start)
            dtype = dtype or np.result_type(part, np.float32)  # integers, too, as another part may lack some
            yield part.astype(dtype, copy=False)
