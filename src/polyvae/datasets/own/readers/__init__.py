"""Files of the user's own data, read into the names and arrays that the data set `arrays` takes.

A format is one line in `READERS`: .npz has its arrays by name, the others are sheets, from which views are taken.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from polyvae import archives
from polyvae.datasets.own.readers import omics
from polyvae.datasets.own.readers.content import Content, Sheet
from polyvae.datasets.own.readers.hf import is_data_set, open_data_set
from polyvae.datasets.own.readers.omics import open_omics, views_of_omics
from polyvae.datasets.own.readers.tables import FORMATS, doubtful, open_table, views_by_prefix, views_by_stem
from polyvae.datasets.own.readers.views import joined, read_toml
from polyvae.datasets.own.roles import Roles
from polyvae.errors import InputError

OpenSheet = Callable[[Path, Collection[str]], Sheet]


def _read_npz(path: Path, roles: Roles) -> Content:
    return Content(roles.applied(archives.read_npz(path)))


def _read_table(path: Path, roles: Roles, open_sheet: OpenSheet = open_table) -> Content:
    sheet = open_sheet(path, roles.named | roles.views.keys())
    views = views_by_prefix(sheet, roles)
    return joined(views, roles, [sheet], doubtful([sheet], views, roles))


def _read_omics(path: Path, roles: Roles) -> Content:
    sheets = open_omics(path)
    return joined(views_of_omics(sheets), roles, list(sheets.values()))


READERS: dict[str, Callable[[Path, Roles], Content]] = {
    ".npz": _read_npz,
    **dict.fromkeys(FORMATS, _read_table),
    ".toml": read_toml,
    **dict.fromkeys(omics.FORMATS, _read_omics),
}
PLAIN = ("", ".zip", ".npy")  # left to the reader of .npz, whose error says what such a file is


def read(data: Path | str, roles: Roles) -> Content:
    """What a file holds, or several: a folder, or paths separated by commas; without what `roles` leave out.

    Raises InputError that names the file, the column and the row, and the fix.
    """
    path = Path(data)
    if is_data_set(path):
        return _read_table(path, roles, open_data_set)
    if path.is_dir():
        found = (file for file in path.iterdir() if file.suffix.lower() in (*FORMATS, ".npy"))
        return _read_several(roles, path, sorted(found))
    if "," in str(data) and not path.exists():
        return _read_several(roles, path, [Path(part.strip()) for part in str(data).split(",")])
    reader = READERS.get(path.suffix.lower())
    if reader is None and path.suffix not in PLAIN:
        raise InputError(
            f"{path}: {path.suffix} files are not read; save it as one of {', '.join(READERS)} (a spreadsheet: .csv)"
        )
    return (reader or READERS[".npz"])(path, roles)


def _read_several(roles: Roles, place: Path, paths: list[Path]) -> Content:
    """One modality per file, named after it: tables joined by their ids, or .npy arrays with a row each.

    A table of which `roles` leave nothing describes the rows of the others.
    """
    if not paths:
        raise InputError(f"{place} holds no data; put one {', '.join(FORMATS)} or .npy file per modality there")
    kinds = {path.suffix.lower() == ".npy" for path in paths}
    if len(kinds) > 1:
        raise InputError(f"{place} holds .npy arrays beside tables; keep one kind, or name the files in a .toml")
    if kinds == {True}:
        is_large = sum(path.stat().st_size for path in paths if path.is_file()) > archives.most_memory()
        read_array = archives.open_npy if is_large else archives.read_npy
        return Content(roles.applied({path.stem: read_array(path) for path in paths}))
    if unknown := [path for path in paths if path.suffix.lower() not in FORMATS]:
        raise InputError(f"{unknown[0]}: several files must be {', '.join(FORMATS)}; name others in a .toml")
    sheets = [open_table(path, roles.named | roles.views.keys()) for path in paths]
    views = views_by_stem(sheets, roles)
    return joined(views, roles, sheets, doubtful(sheets, views, roles))
