"""Hugging Face data sets on disk, as `Dataset.save_to_disk` writes them (extra `[hf]`): a sheet like that of Parquet.

Class labels are their names, pictures their bytes.
"""

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

from polyvae.archives import check_memory
from polyvae.datasets.own.readers.content import Sheet
from polyvae.datasets.own.readers.tables import sheet_of
from polyvae.errors import InputError

ONE, SEVERAL = "state.json", "dataset_dict.json"  # what a folder holds of one data set, of several splits


def is_data_set(path: Path) -> bool:
    return any((path / name).is_file() for name in (ONE, SEVERAL))


def open_data_set(path: Path, named: Collection[str], ids: str | None = None) -> Sheet:
    """named, ids: as for `open_table`. Raises InputError for a folder of several splits, one that cannot be read, and
    without the extra."""
    import polars as pl

    if (path / SEVERAL).is_file():
        splits = sorted(
            (part.name for part in path.iterdir() if (part / ONE).is_file()), key=lambda name: name != "train"
        )
        named = " --test-data ".join(str(path / split) for split in splits[:2])
        raise InputError(f"{path} holds the splits {', '.join(splits)}; name one, or two: --data {named}")
    try:
        load_from_disk = import_module("datasets.load").load_from_disk  # a folder of the user's may be called datasets
    except ImportError as error:
        raise InputError(f"{path} needs datasets installed ({error}): pip install 'polyvae[hf]'") from error
    try:
        loaded = load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({str(error).splitlines()[0]}); save it again") from error
    check_memory(path, loaded.data.nbytes)
    table = loaded.with_format("arrow")[:]
    columns = {name: _plain(table.column(name)) for name in table.column_names}
    frame = pl.DataFrame({name: pl.from_arrow(column) for name, column in columns.items()})
    _check_pictures(path, frame, loaded.features)
    return sheet_of(path, frame.with_columns(_changed(loaded.features, pl)), named, ids)


def _plain(column: Any) -> Any:
    """Arrays of fixed shape as lists."""
    return column.cast(column.type.storage_type) if hasattr(column.type, "storage_type") else column


def _is_picture(feature: Any) -> bool:
    return type(feature).__name__ == "Image"


def _check_pictures(path: Path, frame: Any, features: Any) -> None:
    """Raises InputError for a picture of which only the path was saved: the file may be gone, or another one."""
    for name in filter(lambda name: _is_picture(features[name]), features):
        content, source = (frame[name].struct.field(part) for part in ("bytes", "path"))
        rows = (content.is_null() & source.is_not_null()).arg_true()
        if len(rows):
            raise InputError(
                f"{path}, column {name!r}, row {rows[0]}: only the path {source[rows[0]]!r} of the picture was saved, "
                "without its bytes; save the data set again with a newer release of datasets"
            )


def _changed(features: Any, pl: Any) -> list[Any]:
    """Class labels by name, pictures as their bytes."""
    changed = []
    for name, feature in features.items():
        if hasattr(feature, "int2str"):
            names = dict(enumerate(feature.names))
            changed.append(pl.col(name).replace_strict(names, default=None, return_dtype=pl.String))
        elif _is_picture(feature):
            changed.append(pl.col(name).struct.field("bytes").alias(name))
    return changed
