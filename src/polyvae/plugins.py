"""Plug-ins: a user's own Python file, or installed package, that registers methods, data sets, networks and so on.

    polyvae run --plugin mine.py --method mine

A file is executed when it is named, on the command line or by `load`; nothing that lies in a store is ever executed.
An installed package names its module under the entry point group `polyvae.plugins`.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from polyvae.errors import InputError
from polyvae.registry import REGISTRIES, Origin, entries_from

GROUP = "polyvae.plugins"
_loaded: dict[str, Origin] = {}  # absolute path -> what was loaded from it, for the worker processes of a sweep


def load(path: Path | str) -> None:
    """Executes a Python file, which registers what it adds; once per content.

    Its SHA-256 is that of this file alone: modules of yours that it imports do not count.
    Raises InputError that names the file when it is missing or cannot be executed.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise InputError(f"--plugin {path}: no such file")
    origin = Origin(str(file), _sha256(file))
    if _loaded.get(str(file)) == origin:
        return
    name = f"polyvae_plugin_{file.stem}_{origin.sha256[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {path} is not a Python file; give it the ending .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    with _registering(origin, f"--plugin {path}"):
        spec.loader.exec_module(module)
    _loaded[str(file)] = origin


def load_all(paths: Iterable[Path | str] = ()) -> None:
    """The plug-ins of installed packages, and these files."""
    load_installed()
    for path in paths:
        load(path)


def load_installed() -> None:
    """Imports the plug-ins of installed packages; their SHA-256 is that of all Python files of the package.

    Raises InputError that names a plug-in which cannot be imported.
    """
    for entry in metadata.entry_points(group=GROUP):
        place = f"the installed plug-in {entry.name!r} ({entry.value})"
        spec = importlib.util.find_spec(entry.module.split(".")[0])  # of the package: it is not imported yet
        if spec is None or spec.origin is None:
            raise InputError(f"{place} is not there; reinstall its package, or uninstall it")
        folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
        sources = sorted(path for folder in folders for path in folder.rglob("*.py")) or [Path(spec.origin)]
        digest = hashlib.sha256("".join(map(_sha256, sources)).encode()).hexdigest()
        with _registering(Origin(entry.module, digest), place):
            entry.load()


@contextmanager
def _registering(origin: Origin, place: str) -> Generator[None]:
    """What is registered inside comes from `origin`; whatever goes wrong is an InputError that names the place."""
    try:
        with entries_from(origin):
            yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    except Exception as error:  # a user's code may raise anything
        raise InputError(f"{place} cannot be loaded ({type(error).__name__}: {error})") from error


def _sha256(path: Path) -> str:
    from polyvae import files  # here: it imports torch, which the list of commands can do without

    return files.sha256(path)


def loaded() -> tuple[str, ...]:
    """The files that were loaded, as absolute paths."""
    return tuple(_loaded)


def summary() -> list[str]:
    """A line per plug-in: what it adds."""
    added: dict[str, list[str]] = {}
    for table in REGISTRIES:
        for name, origin in table.origins.items():
            added.setdefault(origin.name, []).append(f"{table.what} {name}")
    return [f"{file} adds {', '.join(entries)}." for file, entries in added.items()]
