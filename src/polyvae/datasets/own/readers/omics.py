"""AnnData and MuData files (.h5ad, .h5mu; extra `[omics]`): the matrices that are asked for, made dense.

Without a .toml, X of .h5ad is the modality `X`, and every obsm but derived ones (X_pca, X_umap, ...) is one by its
name; of .h5mu, X of each modality. Rows are matched by obs_names.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from polyvae.archives import check_memory
from polyvae.datasets.own.readers.content import Sheet, View
from polyvae.errors import InputError

FORMATS = (".h5ad", ".h5mu")
DERIVED = "X_"  # by scanpy's convention: X_pca, X_umap
ROWS = "obs_names"


def views_of_omics(sheets: Mapping[str, Sheet]) -> list[View]:
    if parts := [view_of_matrix(name, sheet, "X") for name, sheet in sheets.items() if name]:
        return parts
    places = [place for place in sheets[""].matrices if _is_data(place)]
    return [view_of_matrix(_name(place), sheets[""], place) for place in places]


def open_omics(path: Path) -> dict[str, Sheet]:
    """For .h5ad one sheet, called ""; for .h5mu one for all rows, called "", and one per modality."""
    with _opened(path) as file:
        sheets = {"": _sheet(path, file, "")}
        for name in _order(file):
            sheets[name] = _sheet(path, file[f"mod/{name}"], f"mod/{name}/")
    return sheets


def view_of_matrix(name: str, sheet: Sheet, place: str, settings: dict[str, Any] | None = None) -> View:
    """place: X, layers/<name> or obsm/<name>. Raises InputError for one that is not there."""
    if place not in sheet.matrices:
        raise InputError(f"{sheet.path} has no matrix {place!r}; it has {', '.join(sheet.matrices) or 'none'}")
    return View(name, sheet, sheet.matrices[place], settings or {})


def needs_extra() -> None:
    """Raises InputError where the extra is not installed."""
    if lacking := [name for name in ("anndata", "mudata", "h5py") if find_spec(name) is None]:
        raise InputError(f"{lacking[0]} is not installed: pip install 'polyvae[omics]'")


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    needs_extra()
    h5py = import_module("h5py")
    if not path.is_file():
        raise InputError(f"no file {path}")
    try:
        with h5py.File(path) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be read ({str(error).splitlines()[0]}); write it again") from error


def _element(node: Any) -> Any:
    return import_module("anndata.io").read_elem(node)


def _order(file: Any) -> list[str]:
    """The names of the modalities of .h5mu, in their order; none of .h5ad."""
    if "mod" not in file:
        return []
    return [str(name) for name in file["mod"].attrs.get("mod-order", list(file["mod"]))]


def _sheet(path: Path, group: Any, at: str) -> Sheet:
    import polars as pl

    obs = _element(group["obs"])
    columns = {ROWS: obs.index.astype(str).tolist()}
    for name in obs.columns.difference([ROWS], sort=False):  # categories, strings and missing ones as Python's own
        columns[name] = obs[name].astype(object).where(obs[name].notna(), None).tolist()
    frame = pl.DataFrame(columns, strict=False)
    places = [*(["X"] if "X" in group else []), *_below(group, "layers"), *_below(group, "obsm")]
    if "mod" in group:  # its matrices are those of its modalities
        places = []
    return Sheet(path, frame, ROWS, {place: partial(_dense, path, at, place) for place in places})


def _below(group: Any, kind: str) -> list[str]:
    return [f"{kind}/{name}" for name in group.get(kind, ())]


def _is_data(place: str) -> bool:
    return place == "X" or (place.startswith("obsm/") and not _name(place).startswith(DERIVED))


def _name(place: str) -> str:
    return place.rpartition("/")[2]


def _dense(path: Path, at: str, place: str) -> tuple[np.ndarray, Sequence[str]]:
    """A matrix and the names of its columns."""
    with _opened(path) as file:
        group = file[at] if at else file
        values = _element(group[place])
        names = [] if place.startswith("obsm/") else list(_element(group["var"]).index.astype(str))
    if hasattr(values, "columns"):  # a data frame
        names, values = list(map(str, values.columns)), values.to_numpy()
    if hasattr(values, "toarray"):
        asked = values.shape[0] * values.shape[1] * values.dtype.itemsize
        check_memory(Path(f"{path}: {place}, {values.shape[0]:,} x {values.shape[1]:,}, made dense, which"), asked)
        values = values.toarray()
    return np.asarray(values), tuple(names)
