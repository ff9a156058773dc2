"""What commands share: common flags, lists in one word, S from a file, tables."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO, TypeVar

import torch
import tyro
from rich.console import Console, Group
from rich.table import Column, Table
from rich.text import Text

from polyvae import escapes
from polyvae.config import Seed, ThreadCount, checked
from polyvae.errors import InputError
from polyvae.files import read_settings
from polyvae.threads import THREADS

Store = Annotated[Path, tyro.conf.arg(metavar="DIR", help="Folder of the runs.")]
Stores = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR...", help="Folders of the runs, one or more.")]
Quiet = Annotated[bool, tyro.conf.arg(help="Print only errors.")]
LIVE = "Show training live in an experiment tracker, whose package must be installed: pip install 'polyvae[wandb]'."
Log = Annotated[Literal["tensorboard", "wandb", "trackio", "mlflow"] | None, tyro.conf.arg(help=LIVE)]
Threads = Annotated[int | None, tyro.conf.arg(help="CPU threads. Default: all cores that this process may use.")]
OF_RUN = "CPU threads. Default: those of the run's config, usually 1."
RunThreads = Annotated[int | None, tyro.conf.arg(help=OF_RUN)]
RunName = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="Run id, the start of a run id, or a run folder.")
]
CONDITION = """SQL condition on settings and metrics, such as "method = 'mopoe' AND beta <= 1"."""
Where = Annotated[str | None, tyro.conf.arg(help=CONDITION)]
STORE = Path("runs")
UNFOLDED = 10_000  # columns

T = TypeVar("T")


def out_file(path: Path, *endings: str, name: str = "--out") -> Path:
    """The value of --out, or of the argument `name`: a file that a command will write.

    Raises InputError, before anything is computed, if it cannot be written."""
    if path.is_dir():
        raise InputError(f"{name} {path} is a folder; name a file in it")
    if path.exists() and not path.is_file():  # it would be replaced by a file of that name
        raise InputError(f"{name} {path} is a pipe or a device; name a file")
    if endings and path.suffix not in endings:
        raise InputError(f"{name} {path}: name a {' or '.join(endings)} file")
    return _writable(path, path.parent, name)


def out_folder(path: Path) -> Path:
    """The value of --out: a folder that a command will write. Raises InputError if it cannot be written."""
    return _writable(path, path, "--out")


def _writable(path: Path, folder: Path, name: str) -> Path:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise InputError(f"{name} {path}: {there} is a file, not a folder; choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{name} {path}: {there} cannot be written to; choose another place")
    return path


def seeded(seed: int) -> int:
    """The value of --seed. Raises InputError for a value that no generator accepts."""
    return checked("seed", seed, Seed)


def use_threads(count: int | None) -> None:
    """Sets the number of threads of the command. Raises InputError for an invalid number."""
    torch.set_num_threads(THREADS if count is None else checked("threads", count, ThreadCount))


def subsets_in(path: str, read: Callable[[Any], T]) -> T:
    """S from a JSON file, whose content `read` converts. Raises InputError that names the file."""
    content = read_settings(Path(path))
    try:
        return read(content)
    except InputError as error:
        raise InputError(f"--subsets {path}: {error}") from error


def left_out(damage: InputError) -> None:
    """Reports on stderr what cannot be read; the command continues with the rest."""
    say(f"polyvae: left out: {damage}", file=sys.stderr)


def say(text: object, file: TextIO | None = None) -> None:
    """Prints text without any codes that a terminal would obey."""
    print(escapes.terminal(str(text)), file=file, flush=True)


class Terminal(Console):
    """Prints tables and text literally: no markup, no emoji, and no codes that a terminal would obey."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    @property
    def is_redrawn(self) -> bool:
        """Whether lines can be drawn again: not in a file, nor in a notebook, whose kernel asks for colours."""
        return self.is_terminal and self.file.isatty() and "JPY_PARENT_PID" not in os.environ

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(escapes.terminal(text), **options)


def table_of(*headings: str) -> Table:
    columns = (Column(heading, overflow="fold") for heading in headings)
    return Table(*columns, box=None, header_style="bold")


def show(table: Table | Group) -> None:
    """Prints a table, or several things: folded to the width of a terminal; in a log, each row on one line."""
    terminal = Terminal()
    if terminal.is_terminal:
        terminal.print(table)
        return
    terminal.width = UNFOLDED
    with terminal.capture() as shown:
        terminal.print(table)
    say("\n".join(line.rstrip() for line in shown.get().splitlines()))
