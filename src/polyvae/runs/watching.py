"""What the runs of a store are doing, from the files that they write. Nothing here takes a lock or writes a file."""

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.methods import METHODS
from polyvae.options import parsed
from polyvae.runs.record import Record
from polyvae.runs.store import CONFIG, HISTORY, RECORD, RunStore
from polyvae.training import checkpoint

State = Literal["running", "scoring", "waiting", "failed", "damaged", "done"]
LOCKS = Path("/proc/locks")  # of Linux: the locks of this machine, by inode
QUIET = 150.0  # seconds: a run under way writes a checkpoint at least every 30, on an accelerator every 120
CHECKPOINT, WEIGHTS = "checkpoint/state.safetensors", "model.safetensors"


@dataclass(frozen=True)
class Sight:
    """A run as its files show it.

    state: waiting means begun, and left by its process. step of steps: how far training is, None where not known.
    losses: one per epoch of the last stage, in nats, of the validation rows if there are any. left: seconds of training
    left. took: seconds of a run that has ended. note: why it failed, or what its state means. written: when a file of
    the run was last written, as `time.time` counts.
    """

    run_id: str
    state: State
    written: float
    step: int | None = None
    steps: int | None = None
    losses: tuple[float, ...] = ()
    left: float | None = None
    took: float | None = None
    note: str = ""


def sights(store: RunStore, ended: dict[str, Sight] | None = None) -> list[Sight]:
    """All runs of a store, in the order of State, the latest first.

    ended: finished runs seen before, which are read again only when their record has changed; it is brought up to date.
    Raises InputError where there is no store.
    """
    ended = {} if ended is None else ended
    held, found = _held(), []
    for folder in store.there().root.iterdir():
        if (folder / RECORD).is_file():
            found.append(_ended(folder, ended))
        elif (folder / CONFIG).is_file() and not folder.name.startswith("."):
            ended.pop(folder.name, None)
            found.append(_under_way(store, folder, held))
    order = State.__args__
    return sorted(found, key=lambda sight: (order.index(sight.state), -sight.written, sight.run_id))


def _ended(folder: Path, ended: dict[str, Sight]) -> Sight:
    path, name = folder / RECORD, folder.name
    written = _written(path)
    if name not in ended or ended[name].written != written:
        try:
            record = Record.read(path)
        except InputError as damage:
            ended[name] = Sight(name, "damaged", written, note=str(damage))
        else:
            state: State = "done" if record.is_done else "failed"
            reason = (record.error or "").partition("\n")[0]
            ended[name] = Sight(name, state, written, took=record.total_seconds, note=reason)
    return ended[name]


def _under_way(store: RunStore, folder: Path, held: set[int]) -> Sight:
    name, now = folder.name, time.time()
    times = {path: _written(folder / path) for path in (CONFIG, HISTORY, CHECKPOINT, WEIGHTS)}
    written = max(times.values())
    is_held = _inode(store.root / ".locks" / name) in held
    try:
        config, history = store.config(name), store.history(name)
    except InputError as damage:
        return Sight(name, "damaged", written, note=str(damage))
    step, steps = _step(folder, history), _steps(config, history)
    state: State = "waiting"
    if is_held or now - written < QUIET:
        state = "scoring" if times[WEIGHTS] >= times[HISTORY] > 0 else "running"
    note = {"waiting": "resumes when its command is repeated", "scoring": "computing metrics"}.get(state, "")
    if state != "waiting" and not is_held:
        note = "written a moment ago, by a process that this machine does not show"
    left = None
    if step is not None and steps is not None and state != "scoring":
        left = (steps - step) * _pace(history)
        left = max(0.0, left - (now - written)) if state == "running" else left
    return Sight(name, state, written, step, steps, _losses(history), left, note=note)


def _held() -> set[int]:
    """The inodes of files that a process of this machine has locked; none where the system does not tell.

    Not the device: on Btrfs and in containers the system gives another one here than where it is asked about the file.
    """
    if not LOCKS.is_file():
        return set()
    return {int(inode) for inode in re.findall(r"^\d+: [A-Z]+ .*?:(\d+) \S+ \S+$", LOCKS.read_text(), re.M)}


def _inode(path: Path) -> int | None:
    with suppress(FileNotFoundError):  # a lock is removed when it is released
        return path.stat().st_ino
    return None


def _written(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _step(folder: Path, history: list[dict[str, Any]]) -> int | None:
    """Steps done, by the last line of the history or by the last checkpoint."""
    known = [history[-1]["step"]] if history else []
    with suppress(InputError):  # there is none, or it has just been removed
        known.append(checkpoint.place(folder / CHECKPOINT).step)
    return max(known, default=None)


def _steps(config: RunConfig, history: list[dict[str, Any]]) -> int | None:
    """Steps in all, at most; None before the first epoch, and for a method that is not known here."""
    if not history or config.method not in METHODS:
        return None
    method = METHODS[config.method]
    with suppress(InputError):
        options = parsed(config.method_options, method.options, "--method-options", config.method)
        return history[0]["step"] * sum(epochs for _, epochs in method.planned(options, config.sizes.epochs))
    return None


def _pace(history: list[dict[str, Any]]) -> float:
    """Seconds per step, of the last epochs."""
    last = history[-5:]
    steps = last[-1]["step"] - (history[-6]["step"] if len(history) > 5 else 0)
    return sum(line.get("seconds", 0.0) for line in last) / max(1, steps)


def _losses(history: list[dict[str, Any]]) -> tuple[float, ...]:
    """What the last stage minimises."""
    stage = history[-1].get("stage") if history else None
    lines = [line.get("validation", line) for line in history if line.get("stage") == stage]
    return tuple(line["loss"] for line in lines if line.get("loss") is not None)
