"""Progress of runs: a live display on a terminal, plain lines in a pipe, nothing when quiet."""

import time
from collections.abc import Sequence
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from polyvae import keys
from polyvae.cli.common import Terminal, say
from polyvae.config import RunConfig
from polyvae.runs.record import Record, duration
from polyvae.runs.store import RunStore
from polyvae.sweeps import costs

LINE_SECONDS = 20.0  # between plain lines
PREPARING = "preparing the data, and a judge or critic if metrics need one (about a minute, once per data set)"


class _Display:
    """A rich progress display that is off in a pipe, where `line` prints instead."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Terminal()
        self.is_live = self.console.is_redrawn and not quiet
        what, note = (TextColumn(part, markup=False) for part in ("{task.description}", "{task.fields[note]}"))
        columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
        self.progress = Progress(*columns, console=self.console)
        self.last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self.is_live:  # else some versions of rich print a blank line at the end
            self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.is_live:
            self.progress.stop()

    def line(self, text: str, *, now: bool) -> None:
        """Prints a plain line in a pipe, at most once in 20 seconds unless `now`."""
        if self.quiet or self.is_live or (not now and time.monotonic() - self.last_line < LINE_SECONDS):
            return
        self.last_line = time.monotonic()
        say(text)


class Bar(_Display):
    """One computation: its steps or named parts, and what is being done."""

    def __enter__(self) -> Self:
        self.task = self.progress.add_task("reading the data", total=None, note="")
        return super().__enter__()

    def say(self, text: str) -> None:
        if self.is_live:
            self.console.print(text)
        self.line(text, now=True)

    def step(self, done: int, total: int, loss: float) -> None:
        note = f"loss {loss:,.1f}"
        self.progress.update(self.task, description="train", completed=done, total=total, note=note)
        self.line(f"step {done} of {total}, {note}", now=done == total)

    def rows(self, done: int, total: int) -> None:
        self.progress.update(self.task, description="rows", completed=done, total=total)
        self.line(f"{done:,} of {total:,} rows", now=False)

    def part(self, name: str, done: int, total: int) -> None:
        """`done` of `total` parts are finished; `name` is the current one, empty at the end."""
        self.progress.update(self.task, description=name or "bounds", completed=done, total=total)
        if name:
            self.line(f"[{done + 1} of {total}] {name}", now=True)


class SweepTable(_Display):
    """The runs of a sweep: done, failed, running, waiting, time left; and the epoch of the running ones."""

    def __init__(self, store: RunStore, configs: Sequence[RunConfig], workers: int, quiet: bool) -> None:
        super().__init__(quiet)
        self.store, self.configs, self.workers = store, configs, workers
        self.records: list[Record] = []
        self.doubts: set[str] = set()
        self.tasks: dict[str, TaskID] = {}
        self.left, self.left_at = "", 0.0

    def __enter__(self) -> Self:
        self.all = self.progress.add_task(PREPARING, total=None, note="")
        self.line(PREPARING, now=True)
        return super().__enter__()

    def prepare(self, data_set: str, done: int, total: int) -> None:
        text = f"preparing {done + 1} of {total} data sets: {data_set}"
        self.progress.update(self.all, description=text, completed=done, total=total)
        self.line(text, now=True)

    def finished(self, record: Record) -> None:
        self.records.append(record)
        run_id = record.run_id
        if run_id in self.tasks:
            self.progress.remove_task(self.tasks.pop(run_id))
        outcome = f"{record.total_seconds:,.0f} s" if record.is_done else f"failed: {record.error}"
        self.say(f"[{len(self.records)} of {len(self.configs)}] {run_id}: {outcome}")
        for doubt in (f"  {keys.in_words(name)}: {text}" for name, text in record.doubts.items()):
            if doubt not in self.doubts:  # runs share their data
                self.doubts.add(doubt)
                self.say(doubt)

    def poll(self, running: list[str]) -> None:
        if self.quiet:
            return
        text = self.summary(len(running))
        self.progress.update(self.all, description=text, completed=len(self.records), total=len(self.configs))
        self.line(f"{text}: " + "; ".join(map(self._place, running)), now=False)

    def summary(self, running: int) -> str:
        """How many runs are in each state, and how long the unfinished ones will take."""
        failed = sum(not record.is_done for record in self.records)
        waiting = len(self.configs) - len(self.records) - running
        if time.monotonic() - self.left_at > LINE_SECONDS:
            self.left, self.left_at = self._time_left(), time.monotonic()
        return f"{len(self.records) - failed} done, {failed} failed, {running} running, {waiting} waiting{self.left}"

    def say(self, text: str) -> None:
        if self.is_live:
            self.console.print(text)
        self.line(text, now=True)

    def _time_left(self) -> str:
        seconds = costs.left(self.configs, self.records)
        return "" if seconds is None else f", about {duration(seconds / self.workers)} left"

    def _place(self, run_id: str) -> str:
        """Moves the run's bar to its last epoch, and returns it in words."""
        if run_id not in self.tasks:
            self.tasks[run_id] = self.progress.add_task(run_id, total=None, note="")
        history = self.store.history(run_id)
        if not history:
            return f"{run_id}: starting"
        done, epochs = history[-1]["epoch"] + 1, self.store.config(run_id).epochs
        note = f"loss {history[-1]['loss']:,.1f}" if done < epochs else "scoring"
        self.progress.update(self.tasks[run_id], completed=done, total=epochs, note=note)
        return f"{run_id}: epoch {done}"
