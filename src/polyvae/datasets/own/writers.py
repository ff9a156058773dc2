"""Files for what a model makes of the user's rows: arrays by name in a .npz or a folder of .npy files, or the form of
the input (tables, AnnData, MuData)."""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from polyvae import archives, files
from polyvae.datasets.own.readers.content import HEADINGS, Headings
from polyvae.datasets.own.readers.omics import FORMATS as OMICS
from polyvae.datasets.own.readers.omics import needs_extra
from polyvae.datasets.own.readers.tables import FORMATS as TABLES
from polyvae.errors import InputError
from polyvae.modality import Modality

FOLDER = ""  # the ending of a folder, which holds one .npy file per array
FORMATS = (".npz", *TABLES, *OMICS, FOLDER)
FIELDS = (".sd", ".low", ".high")  # beside the values of a table
ENDS = (".low", ".high")
CODES = "X_polyvae"  # by scanpy's convention of obsm

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Rows:
    """Which rows the arrays are of.

    ids, labels: (row,) or None. passed: columns that are not modalities, passed on by name. source: the file
    that they were read from, if any.
    """

    ids: np.ndarray | None = None
    labels: np.ndarray | None = None
    passed: Mapping[str, np.ndarray] = field(default_factory=dict)
    headings: Headings = HEADINGS
    source: Path | None = None


def check_format(path: Path, modalities: Sequence[Modality], source: Path | None, formats: Sequence[str]) -> None:
    """Raises InputError where a file of this ending cannot hold the modalities: before anything is computed.

    Tables have no place for pictures. For AnnData, arrays are added to the input file, so there must be one.
    """
    if path.suffix not in formats:
        endings = ", ".join(filter(None, formats))
        known = [f"a {endings} file"] * bool(endings) + ["a folder, without an ending"] * (FOLDER in formats)
        raise InputError(f"--out {path}: name {' or '.join(known)}")
    if path.suffix == FOLDER and (texts := [m.name for m in modalities if m.vocabulary]):
        raise InputError(f"--out {path}: .npy files have no place for the texts of {texts[0]!r}; name a .npz file")
    if path.suffix in TABLES and (images := [m.name for m in modalities if m.is_image]):
        raise InputError(f"--out {path}: a table has no place for the pictures of {images[0]!r}; name a .npz file")
    if path.suffix in OMICS:
        needs_extra()
        if source is None or source.suffix.lower() != path.suffix:
            raise InputError(
                f"--out {path}: what is written is added to an input {path.suffix} file; use --data FILE{path.suffix}"
            )


def format_of(source: Path | None, modalities: Sequence[Modality], formats: Sequence[str]) -> str:
    """The ending of a file like that of the input, or else the first of `formats`."""
    suffix = source.suffix.lower() if source else ""
    return suffix if suffix and suffix in formats and not any(m.is_image for m in modalities) else formats[0]


def write(path: Path, modalities: Sequence[Modality], arrays: Arrays, rows: Rows) -> list[Path]:
    """Writes arrays by the keys that `polyvae impute` has; returns the files: tables have one for each of FIELDS.

    modalities: those that are written. Tables of numbers have the columns of the input; of classes there is the
    likeliest. The ends of intervals have all columns.
    """
    if path.suffix == ".npz":
        write_npz(path, dict(arrays) | features_of(modalities) | named(rows))
        return [path]
    if path.suffix in OMICS:
        _write_omics(path, rows, lambda data: _add_imputed(data, modalities, arrays, rows))
        return [path]
    written = []
    for end in ("", *FIELDS):
        found = {m.name: arrays.get(f"{m.name}{end}") for m in modalities}
        if end in ENDS and any(values is not None for values in found.values()):  # classes and texts have no interval
            found = {name: arrays[name] if values is None else values for name, values in found.items()}
        kept = [(m, np.asarray(found[m.name])) for m in modalities if found[m.name] is not None]
        if kept:
            columns = [part for m, values in kept for part in _columns(m, values)]
            written.append(path.with_name(f"{path.stem}{end}{path.suffix}"))
            _write_table(written[-1], _headed(rows) | dict(columns))
    return written


def check_folder(path: Path, keys: Set[str]) -> None:
    """Raises InputError where a folder holds .npy files of other names than these: they would be read as data beside
    what is written there."""
    if others := sorted(file.name for file in path.glob("*.npy") if file.stem not in keys):
        raise InputError(
            f"--out {path} holds {others[0]}, which would be read as data beside what is written; name another folder, "
            "or remove the .npy files there"
        )


def write_parts(path: Path, parts: Iterable[Arrays], rows: int, whole: Arrays) -> None:
    """Writes a folder of .npy files: parts of `rows` rows one after the other, so that none need more memory than one
    part; and arrays that are there as a whole.

    Every part has the same keys. Numbers are written in the type that they have where some are filled in, since another
    part may have such.
    """
    with ExitStack() as stack:
        opened: dict[str, IO[bytes]] = {}
        for part in parts:
            for key, values in part.items():
                array = _as_if_filled_in(key, np.asarray(values))
                if key not in opened:
                    temporary = stack.enter_context(files.atomic(path / f"{key}.npy"))
                    opened[key] = stack.enter_context(temporary.open("wb"))
                    archives.write_header(opened[key], array.dtype, (rows, *array.shape[1:]))
                opened[key].write(np.ascontiguousarray(array).data)
        for key, values in whole.items():
            with files.atomic(path / f"{key}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, values, allow_pickle=False)


def _as_if_filled_in(key: str, array: np.ndarray) -> np.ndarray:
    are_values, are_bytes = "." not in key or key.endswith(ENDS), array.dtype == np.uint8 and array.ndim == 4
    return array.astype(np.result_type(array, np.float32), copy=False) if are_values and not are_bytes else array


def write_codes(path: Path, codes: np.ndarray, rows: Rows) -> None:
    """Codes (row, dimension): columns z0, z1, ... of a table, `codes` of .npz, obsm of AnnData."""
    if path.suffix == ".npz":
        write_npz(path, {"codes": codes} | named(rows))
    elif path.suffix in TABLES:
        _write_table(path, _headed(rows) | {f"z{place}": column for place, column in enumerate(codes.T)})
    else:
        _write_omics(path, rows, lambda data: _with_codes(data, codes, rows))


def write_npz(path: Path, values: Mapping[str, Any]) -> None:
    """As numpy.savez_compressed, whose arguments would clash with arrays called `file` or `allow_pickle`."""
    with files.atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in values.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)


def features_of(modalities: Sequence[Modality]) -> dict[str, np.ndarray]:
    """<name>.features of those that have names of features."""
    return {f"{m.name}.features": np.array(m.feature_names) for m in modalities if m.feature_names}


def named(rows: Rows) -> dict[str, np.ndarray]:
    """Names of rows, their labels and what is passed on, by the keys of arrays."""
    about = {".ids": rows.ids, "label": rows.labels, **rows.passed}
    return {key: value for key, value in about.items() if value is not None}


def _headed(rows: Rows) -> dict[str, np.ndarray]:
    named = {rows.headings.id: rows.ids, rows.headings.label: rows.labels, **rows.passed}
    return {key: value.reshape(len(value)) for key, value in named.items() if value is not None}


def _columns(modality: Modality, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The columns of a table: what `readers.tables` reads as this modality."""
    names = modality.feature_names
    if modality.is_classes:
        likeliest = values.argmax(-1)
        return [(modality.name, np.array(names)[likeliest] if names else likeliest)]
    if modality.vocabulary:
        return [(modality.name, values)]
    flat = values.reshape(len(values), -1)
    if flat.shape[1] == 1 and not names:
        return [(modality.name, flat[:, 0])]
    names = names or tuple(map(str, range(flat.shape[1])))
    return [(f"{modality.name}.{name}", column) for name, column in zip(names, flat.T, strict=True)]


def _write_table(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    import polars as pl

    frame = pl.DataFrame({name: np.ascontiguousarray(column) for name, column in columns.items()})
    with files.atomic(path) as temporary:
        if path.suffix == ".parquet":
            frame.write_parquet(temporary)
        else:
            frame.fill_nan(None).write_csv(temporary, separator="," if path.suffix == ".csv" else "\t")


def _write_omics(path: Path, rows: Rows, change: Callable[[Any], Any]) -> None:
    """A copy of the input file, changed."""
    library = import_module({".h5ad": "anndata", ".h5mu": "mudata"}[path.suffix])
    changed = change(getattr(library, f"read_{path.suffix[1:]}")(rows.source))
    with files.atomic(path) as temporary:
        changed.write(temporary)


def _with_codes(data: Any, codes: np.ndarray, rows: Rows) -> Any:
    data.obsm[CODES] = codes[_places(data, rows)]
    return data


def _add_imputed(data: Any, modalities: Sequence[Modality], arrays: Arrays, rows: Rows) -> Any:
    """layers["imputed"], ["imputed_sd"], ... of the modality; obsm["<name>_imputed"], ... of what was in obsm.

    A modality of MuData that some rows lack is given all rows, its X what was imputed.
    """
    parts = {m.name: _fields(arrays, m.name) for m in modalities}
    if not hasattr(data, "mod"):
        for name, fields in parts.items():
            place = data.layers if name == "X" else data.obsm
            for key, values in fields.items():
                place[key if name == "X" else f"{name}_{key}"] = values
        return data
    mods = dict(data.mod) | {name: _whole(data.mod[name], fields, rows) for name, fields in parts.items()}
    whole = import_module("mudata").MuData(mods)
    for column in data.obs.columns.difference(whole.obs.columns):
        whole.obs[column] = data.obs[column].reindex(whole.obs_names)
    for key in data.obsm.keys() - mods.keys():
        whole.obsm[key] = data.obsm[key][data.obs_names.get_indexer(whole.obs_names)]
    whole.uns.update(data.uns)
    return whole


def _fields(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    found = {f"imputed{end.replace('.', '_')}": arrays.get(f"{name}{end}") for end in ("", *FIELDS)}
    return {key: np.asarray(values) for key, values in found.items() if values is not None}


def _whole(part: Any, fields: Mapping[str, np.ndarray], rows: Rows) -> Any:
    """The modality with its imputed layers, and all rows."""
    if rows.ids is not None and len(part) < len(rows.ids):
        kept = {"obs": part.obs.reindex(rows.ids), "var": part.var, "varm": dict(part.varm), "uns": dict(part.uns)}
        part = import_module("anndata").AnnData(X=fields["imputed"], **kept)
    places = _places(part, rows)
    for key, values in fields.items():
        part.layers[key] = values[places]
    return part


def _places(data: Any, rows: Rows) -> np.ndarray:
    """Where the rows of the file are among those of the arrays, matched by name."""
    at = {name: place for place, name in enumerate([] if rows.ids is None else rows.ids.tolist())}
    return np.array([at[name] for name in data.obs_names])
