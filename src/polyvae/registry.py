"""Tables of things by name (methods, data sets, networks, ...), which a user's own file may add to."""

import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from polyvae.errors import InputError, choices

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Origin:
    """The plug-in that an entry comes from: its file, or the name of an installed module, and the SHA-256 of it."""

    file: str
    sha256: str

    @property
    def name(self) -> str:
        """As messages and records name it, without its folder."""
        return Path(self.file).name


PLAIN = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]*")
REGISTRIES: list["Registry"] = []
_loading: ContextVar[Origin | None] = ContextVar("loading", default=None)


@contextmanager
def entries_from(origin: Origin) -> Generator[None]:
    """Whatever is registered inside comes from `origin`."""
    token = _loading.set(origin)
    try:
        yield
    finally:
        _loading.reset(token)


class Registry(dict[str, Entry], Generic[Entry]):
    """name -> entry, in the order in which they are shown.

    what: what an entry is called in errors, such as "method". origins: where entries of plug-ins come from.
    """

    def __init__(self, what: str, entries: Mapping[str, Entry]) -> None:
        super().__init__(entries)
        self.what = what
        self.origins: dict[str, Origin] = {}
        REGISTRIES.append(self)

    def register(self, name: str, entry: Entry) -> Entry:
        """Adds an entry and returns it; a plug-in may register its own anew.

        Raises InputError for a taken name, and for one that lists, paths or commands would split.
        """
        if not PLAIN.fullmatch(name):
            allowed = "ASCII letters, digits, _, - and ., and not begin with - or ."
            raise InputError(f"{self.what} {name!r}: rename it; it may hold {allowed}")
        origin, before = _loading.get(), self.origins.get(name)
        if name in self and (origin is None or before is None or before.file != origin.file):
            owner = f" by {before.name}" if before else ""
            raise InputError(f"there is a {self.what} {name!r} already{owner}; register yours under another name")
        self[name] = entry
        if origin is not None:
            self.origins[name] = origin
        return entry

    def named(self, name: str) -> Entry:
        """The entry called `name`. Raises InputError that lists the choices."""
        if name not in self:
            plugin = "or load the plug-in that adds it (--plugin FILE.py)"
            raise InputError(f"unknown {self.what} {name!r}; {choices(name, self)}, {plugin}")
        return self[name]

    def origins_of(self, names: Iterable[str]) -> dict[str, str]:
        """SHA-256 -> file name of the plug-ins that the entries called `names` come from."""
        origins = (self.origins[name] for name in names if name in self.origins)
        return {origin.sha256: origin.name for origin in origins}
