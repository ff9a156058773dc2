"""What commands have in common: the flags that several of them take, lists as one word, S in a file, tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from rich.table import Column, Table

from polyvae.errors import InputError
from polyvae.files import read_settings

Store = Annotated[Path, tyro.conf.arg(metavar="DIR", help="Folder of all runs.")]
Quiet = Annotated[bool, tyro.conf.arg(help="Print nothing but errors.")]
RunName = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="Run id, the start of one, or a run folder.")
]
CONDITION = """SQL condition on settings and metrics, such as "method = 'mopoe' AND beta <= 1"."""
Where = Annotated[str | None, tyro.conf.arg(help=CONDITION)]
STORE = Path("runs")

T = TypeVar("T")


def listed(text: str) -> list[str]:
    """The names in 'a,b'."""
    return [name.strip() for name in text.split(",")]


def subsets_in(path: str, read: Callable[[Any], T]) -> T:
    """The S in a JSON file, as `read` makes it of the content. Raises InputError that names the file."""
    content = read_settings(Path(path))
    try:
        return read(content)
    except InputError as error:
        raise InputError(f"--subsets {path}: {error}") from error


def table_of(*headings: str | Column) -> Table:
    return Table(*headings, box=None, header_style="bold")
