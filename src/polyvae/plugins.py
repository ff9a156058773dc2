"""Plug-ins: a user's own Python file, or installed package, that registers methods, data sets, networks and so on.

    polyvae run --plugin mine.py --method mine

A file is executed when it is named, on the command line or by `load`; nothing that lies in a store is ever executed.
An installed package names its module under the entry point group `polyvae.plugins`.
"""

import importlib.util
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from polyvae import files
from polyvae.errors import InputError
from polyvae.registry import REGISTRIES, Origin, entries_from

GROUP = "polyvae.plugins"
_loaded: dict[str, Origin] = {}  # absolute path -> what was loaded from it, for the worker processes of a sweep


def load(path: Path | str) -> None:
    """Executes a Python file, which registers what it adds; once per content.

    Raises InputError that names the file when it is missing or cannot be executed.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise InputError(f"--plugin {path}: no such file")
    origin = Origin(file.name, files.sha256(file))
    if _loaded.get(str(file)) == origin:
        return
    name = f"polyvae_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {path} is no Python file; give it the ending .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        with entries_from(origin):
            spec.loader.exec_module(module)
    except InputError as error:
        raise InputError(f"--plugin {path}: {error}") from error
    except Exception as error:  # a user's file may raise anything
        raise InputError(f"--plugin {path} cannot be loaded ({type(error).__name__}: {error})") from error
    _loaded[str(file)] = origin


def load_all(paths: Iterable[Path | str] = ()) -> None:
    """The plug-ins of installed packages, and these files."""
    load_installed()
    for path in paths:
        load(path)


def load_installed() -> None:
    """Imports the plug-ins of installed packages. Raises InputError that names a package which cannot be imported."""
    for entry in metadata.entry_points(group=GROUP):
        spec = importlib.util.find_spec(entry.module)
        if spec is None or spec.origin is None:
            raise InputError(f"plug-in {entry.name!r} names the module {entry.module!r}, which is not installed")
        with entries_from(Origin(entry.module, files.sha256(Path(spec.origin)))):
            entry.load()


def loaded() -> tuple[str, ...]:
    """The files that were loaded, as absolute paths."""
    return tuple(_loaded)


def summary() -> list[str]:
    """A line per plug-in: what it adds."""
    added: dict[str, list[str]] = {}
    for table in REGISTRIES:
        for name, origin in table.origins.items():
            added.setdefault(origin.file, []).append(f"{table.what} {name}")
    return [f"{file} adds {', '.join(entries)}." for file, entries in added.items()]
