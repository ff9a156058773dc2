"""Runs under way, reported to an experiment tracker from what they write: the history, and the record in the end."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.runs.record import Record
from polyvae.runs.store import CONFIG, HISTORY, RunStore
from polyvae.runs.trackers import TRACKERS, Tracker, library_of, point, settings_of

LOG_EVERY = 50  # steps from one logged loss to the next


@dataclass
class _Run:
    """A run in the tracker: how many lines of the history it has, and when the file that held them was written."""

    tracker: Tracker
    lines: int = 0
    written: int = 0


@dataclass
class Live:
    """Reports the runs of a store to a tracker.

    A tracker that cannot start the first run raises InputError. Later faults of a tracker cost no run: the first is
    reported, and nothing more is logged.
    """

    name: str
    library: Any
    store: RunStore
    say: Callable[[str], None]
    runs: dict[str, _Run] = field(default_factory=dict)
    has_begun: bool = False
    is_silent: bool = False

    def begin(self, run_id: str, config: RunConfig) -> None:
        """Opens a run in the tracker, unless it is open."""
        if run_id in self.runs or self.is_silent:
            return
        kind = TRACKERS[self.name]
        folder = self.store.root.absolute() if kind.lies_in_store else None
        try:
            self.runs[run_id] = _Run(kind.open(self.library, run_id, settings_of(config), folder))
        except Exception as reason:  # a tracker may raise anything
            if not self.has_begun:
                raise InputError(f"--log {self.name} cannot start: {_said(reason)}") from reason
            self._give_up(reason)
        self.has_begun = True

    def step(self, run_id: str, done: int, loss: float) -> None:
        """Logs the loss of every fiftieth step, and each epoch once it is in the history."""
        self._catch_up(run_id)
        if done % LOG_EVERY == 0:
            self._tell(run_id, lambda run: run.tracker.log(done, {"step/loss": loss}))

    def poll(self, run_ids: list[str]) -> None:
        """Logs the new epochs of runs that other processes make; one that has no config yet has not begun."""
        for run_id in run_ids:
            if run_id not in self.runs and (self.store.folder(run_id) / CONFIG).is_file():
                self.begin(run_id, self.store.config(run_id))
            self._catch_up(run_id)

    def finished(self, record: Record) -> None:
        """Logs the rest of the history and the final metrics, and closes the run in the tracker."""
        self.begin(record.run_id, record.config)
        self._catch_up(record.run_id)
        self._tell(record.run_id, lambda run: run.tracker.finish(record.metrics, record.status))
        self.runs.pop(record.run_id, None)

    def close(self) -> None:
        """Closes the runs that have not finished; the same command goes on with them."""
        for run_id in list(self.runs):
            self._tell(run_id, lambda run: run.tracker.finish({}, "interrupted"))
        with self._guarded():
            TRACKERS[self.name].close(self.library)

    def _catch_up(self, run_id: str) -> None:
        path = self.store.folder(run_id) / HISTORY

        def read(run: _Run) -> None:
            written = path.stat().st_mtime_ns if path.is_file() else 0
            if written == run.written:
                return
            history = self.store.history(run_id)
            for line in history[run.lines :]:
                run.tracker.log(*point(line))
            run.lines, run.written = max(run.lines, len(history)), written  # what is done again is the same again

        self._tell(run_id, read)

    def _tell(self, run_id: str, what: Callable[[_Run], None]) -> None:
        if run_id in self.runs:
            with self._guarded():
                what(self.runs[run_id])

    @contextmanager
    def _guarded(self) -> Generator[None]:
        try:
            yield
        except Exception as reason:  # noqa: BLE001 as above
            self._give_up(reason)

    def _give_up(self, reason: Exception) -> None:
        self.runs.clear()
        if not self.is_silent:
            self.say(f"--log {self.name} failed ({_said(reason)}): nothing more is logged, and the runs go on")
        self.is_silent = True


@contextmanager
def live(tracker: str, store: RunStore, say: Callable[[str], None]) -> Generator[Live]:
    """Inside, runs of the store can be reported to the tracker; in the end those that are open are closed.

    say: is told of a tracker that fails. Raises InputError if there is no such tracker, or it is not installed.
    """
    told = Live(tracker, library_of(tracker, "--log"), store, say)
    try:
        yield told
    finally:
        told.close()


def _said(reason: Exception) -> str:
    return (str(reason) or type(reason).__name__).splitlines()[0]
