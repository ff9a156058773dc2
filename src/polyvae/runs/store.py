"""The run store: one folder per run id; `record.json` is written last, so its presence means finished."""

import shlex
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from polyvae import files
from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.runs.record import Record
from polyvae.schema import DrawsFile, HistoryLine, ViewsFile

Damaged = Callable[[InputError], None]
Item = TypeVar("Item")
Read = TypeVar("Read")
CONFIG, HISTORY, RECORD = "config.json", "history.jsonl", "record.json"
VIEWS, DRAWS = "views.json", "draws.json"


def raised(damage: InputError) -> None:
    """The strictest answer to damage."""
    raise damage


def readable(read: Callable[[Item], Read], items: Iterable[Item], on_damage: Damaged) -> list[Read]:
    """What `read` makes of the items; `on_damage` is told of those that it cannot read."""
    found = []
    for item in items:
        try:
            found.append(read(item))
        except InputError as damage:
            on_damage(damage)
    return found


def check_kept(path: Path) -> None:
    """Raises InputError for a file of a run that is not there: the record alone was kept, or the run is unfinished."""
    folder = path.parent
    has_config, has_record = ((folder / name).is_file() for name in (CONFIG, RECORD))
    if path.is_file() or has_config == has_record:
        return
    if has_config:
        store = RunStore(folder.parent)
        command = f"{store.config(folder.name).command} --store {shlex.quote(str(store.root))}"
        raise InputError(
            f"run {folder.name} is unfinished and has no {path.name} yet; the command that made it goes on from its "
            f"checkpoint: {command}"
        )
    raise InputError(
        f"only the record of run {folder.name} was kept in {folder.parent}; use a store that has its weights, or "
        "do the run again"
    )


class RunStore:
    """Runs below `root`. Reading needs only the records; a folder without its weights counts as well."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def folder(self, run_id: str) -> Path:
        """The folder of a run. Raises InputError for an id that would lead out of the store."""
        if not files.is_plain_name(run_id):
            raise InputError(f"run id {run_id!r} is not a valid folder name (in {self.root}); rename it in its record")
        return self.root / run_id

    def there(self) -> "RunStore":
        """This store. Raises InputError where there is no such folder."""
        if not self.root.is_dir():
            raise InputError(f"there is no store {self.root}; name it by --store")
        return self

    def existing(self, run: str) -> Path:
        """The folder of a run id, of its unique prefix, or of a path. Raises InputError that lists near names."""
        path = Path(run)
        path = path if path.name not in ("", "..") else path.resolve()  # a run has the name of its folder
        for candidate in (self.root / run, path):
            if (candidate / CONFIG).is_file() or (candidate / RECORD).is_file():
                return candidate
        ids = sorted({path.parent.name for path in self.root.glob("*/*.json") if path.stem in ("config", "record")})
        matching = [name for name in ids if name.startswith(run)]
        if len(matching) == 1:
            return self.folder(matching[0])
        if matching:
            some = ", ".join(matching[:5]) + (", ..." if len(matching) > 5 else "")
            raise InputError(f"{len(matching)} runs start with {run!r} in {self.root}; say which: {some}")
        if not ids:
            raise InputError(f"no run {run!r} in {self.root}: there are no runs; name their store by --store")
        near = ", ".join(get_close_matches(run, ids, 5, 0.0))
        raise InputError(f"no run {run!r} in {self.root}; near it: {near}")

    def record(self, run_id: str) -> Record | None:
        """The record of a finished run, or None. Raises InputError when it is damaged."""
        path = self.folder(run_id) / RECORD
        return Record.read(path) if path.is_file() else None

    def is_done(self, run_id: str) -> bool:
        record = self.record(run_id)
        return record is not None and record.is_done

    def records(self, on_damage: Damaged = raised) -> list[Record]:
        """All finished runs, failed ones included, in order of run id.

        on_damage: is told of every record that cannot be read, and the others are returned; else the first is raised.
        """
        return readable(Record.read, sorted(self.root.glob("*/record.json")), on_damage)

    def config(self, run_id: str) -> RunConfig:
        """The config of a run, finished or not. Raises InputError when it is damaged."""
        path = self.folder(run_id) / CONFIG
        check_kept(path)
        content = files.read_object(path, dict[str, Any])
        try:
            return RunConfig.from_dict(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """One entry per epoch; empty when the folder holds only a record. Raises InputError when it is damaged."""
        return files.read_json_lines(self.folder(run_id) / HISTORY, HistoryLine)

    def samples(self, run_id: str) -> dict[str, Path]:
        """Sample grids: file stem -> PNG file."""
        return {path.stem: path for path in sorted((self.folder(run_id) / "samples").glob("*.png"))}

    def views(self, run_id: str) -> Any:
        """What a report shows of tables, a `ViewsFile`, or None. Raises InputError when it is damaged."""
        path = self.folder(run_id) / VIEWS
        return files.read_object(path, ViewsFile) if path.is_file() else None

    def draws(self, run_id: str) -> Any:
        """What a report lets its reader choose from, a `DrawsFile`, or None. Raises InputError when it is damaged."""
        path = self.folder(run_id) / DRAWS
        return files.read_object(path, DrawsFile) if path.is_file() else None

    def begin(self, run_id: str, config: RunConfig) -> Path:
        """Makes the run's folder with its config and returns it; what a failed or killed try left is removed.

        Hold the lock. Raises InputError when the folder cannot be made.
        """
        folder = self.folder(run_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"store {self.root} is not writable ({error.strerror}); choose another --store") from error
        for stale in [folder / RECORD, folder / "traceback.txt", *files.leftovers(folder)]:
            files.remove(stale)
        files.write_json(folder / CONFIG, config.to_dict())
        return folder

    def finish(self, record: Record) -> None:
        """Writes the record, the last file of a run."""
        record.write(self.folder(record.run_id) / RECORD)

    def lock(self, run_id: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Keeps other processes off this run. Yields False when another holds it and `wait` is False."""
        return files.lock(self.root / ".locks" / self.folder(run_id).name, wait=wait)
