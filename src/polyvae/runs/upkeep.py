"""Looking after a store: what in it is damaged or half done, and what is no longer needed."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from polyvae import files
from polyvae.errors import InputError
from polyvae.runs import saving
from polyvae.runs.record import Record
from polyvae.runs.store import Damaged, RunStore, raised


class Problem(NamedTuple):
    """What is wrong with a run, and what to do about it."""

    run_id: str
    problem: str
    fix: str


def check(store: RunStore) -> list[Problem]:
    """Damaged and half runs of a store, by name; runs that a process is working on are left out."""
    return [Problem(folder.name, *problem) for folder in idle(store) for problem in _problems(store, folder)]


def waste(store: RunStore) -> list[Path]:
    """Files and folders that nothing needs: leftovers of killed processes, checkpoints of finished runs, empty runs.

    Runs that a process is working on are left out, and so are checkpoints of failed runs, from which a retry goes on.
    """
    return [path for folder in idle(store) for path in _waste_of(store, folder)]


def collect(store: RunStore) -> tuple[int, int]:
    """Removes what `waste` finds; returns the number of files and folders removed, and their bytes."""
    count = total = 0
    for folder in idle(store):
        for path in _waste_of(store, folder):
            count, total = count + 1, total + size(path)
            files.remove(path)
    return count, total


def copy_records(store: RunStore, target: RunStore, on_damage: Damaged = raised) -> list[Record]:
    """Copies the records of finished runs into another store, without weights; returns those that were new or changed.

    Such a store is small enough to be committed: it can be read, reported and filtered, and its runs count as done, or
    as failed. The data directory of this machine is left out. on_damage: as for `RunStore.records`.
    Raises InputError where there is no store, or it would be copied onto itself.
    """
    if target.root.resolve() == store.there().root.resolve():
        raise InputError(f"{target.root} is the store itself; name another folder to copy its records to")
    copies = [replace(record, config=record.config.with_(data_dir=None)) for record in store.records(on_damage)]
    changed = [record for record in copies if target.record(record.run_id) != record]
    for record in changed:
        target.finish(record)
    return changed


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    paths: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    return sum(p.stat().st_size for p in paths if p.is_file())


def run_folders(store: RunStore) -> list[Path]:
    return sorted(p for p in store.there().root.iterdir() if p.is_dir() and not p.name.startswith("."))


def idle(store: RunStore) -> Iterator[Path]:
    """The run folders that no process is working on; each stays locked until the next one is asked for."""
    for folder in run_folders(store):
        with store.lock(folder.name, wait=False) as held:
            if held:
                yield folder


def _problems(store: RunStore, folder: Path) -> list[tuple[str, str]]:
    again = "run the command that made it again"
    try:
        record = store.record(folder.name)
    except InputError as error:
        return [(_reason(error), again)]
    is_whole = any(os.path.lexists(folder / name) for name in ("config.json", "model.json", "model.safetensors"))
    if record is None and not is_whole:
        return [("holds neither config.json nor record.json", "polyvae store gc, or delete the folder")]
    beside = (store.history, store.views, store.draws)
    reads: list[Callable[[], object]] = [partial(read, folder.name) for read in beside]
    reads += [partial(store.config, folder.name)] if is_whole else []
    faults = [fault for read in reads if (fault := _fault(read))]
    if record is None:
        how_far = "; ".join(faults) or f"after epoch {len(store.history(folder.name))}"
        return [(f"half done, {how_far}", f"{again}; it goes on from its checkpoint")]
    problems = []
    if record.run_id != folder.name:
        problems.append((f"its record is that of {record.run_id}", "rename the folder"))
    if not record.is_done:
        problems.append((f"failed: {record.error}", "fix the cause, then polyvae sweep --retry-failed"))
    if is_whole and not faults:
        faults += _contradictions(store, folder.name, record)
    if record.is_done and is_whole:  # else only the record was kept
        faults += [error.split("; ")[0] for error in saving.faults(folder)]
    return problems + [(fault, f"delete the folder, then {again}") for fault in faults]


def _contradictions(store: RunStore, name: str, record: Record) -> list[str]:
    """Where the files of a run are each sound but do not belong together."""
    found, steps, history = [], record.resolved.steps, store.history(name)
    if store.config(name) != record.config:
        found += ["its config.json has other settings than its record"]
    if record.is_done and steps is not None and (not history or history[-1]["step"] != steps):
        found += [f"its history.jsonl does not end at step {steps}, as its record says"]
    return found


def _fault(read: Callable[[], object]) -> str:
    """What is wrong with what is read; empty if it can be read."""
    try:
        read()
    except InputError as error:
        return _reason(error)
    return ""


def _reason(error: InputError) -> str:
    """An error without the fix that it ends with."""
    return str(error).split("; ")[0]


def _waste_of(store: RunStore, folder: Path) -> list[Path]:
    if not any(folder.iterdir()):
        return [folder]
    checkpoint = folder / "checkpoint"
    leftovers = files.leftovers(folder)
    if not (store.is_done(folder.name) and checkpoint.is_dir()):
        return leftovers
    return [checkpoint, *(path for path in leftovers if checkpoint not in path.parents)]
