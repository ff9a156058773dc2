"""Experiment trackers: runs under way as their history grows (`runs.live`), and finished ones (`export`).

Both read what runs write. Training knows no tracker, so neither its numbers nor its ids depend on one.
"""

import contextvars
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from polyvae.config import RunConfig
from polyvae.errors import InputError, RunError
from polyvae.runs.record import Record
from polyvae.runs.store import Damaged, RunStore, raised, readable

PROJECT = "polyvae"
Scalars = dict[str, float]
End = Literal["done", "failed", "interrupted"]


class Tracker(Protocol):
    """One run in a tracker. A step that is logged again, after an interruption, has the same numbers."""

    def log(self, step: int, numbers: Scalars) -> None:
        """Adds a point to each of these curves; steps never fall."""

    def finish(self, metrics: Scalars, end: End) -> None:
        """Adds the final metrics and closes the run."""


class _TensorBoard:
    """Event files in the folder of the run: `tensorboard --logdir STORE`."""

    def __init__(self, library: Any, run_id: str, settings: dict[str, Any], folder: Path) -> None:
        self.settings = settings
        self.writer = library.SummaryWriter(str(folder / run_id), flush_secs=2)

    def log(self, step: int, numbers: Scalars) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def finish(self, metrics: Scalars, end: End) -> None:
        if end == "done":
            self.writer.add_hparams(self.settings, metrics, run_name=".")
        self.writer.close()


class _Mlflow:
    """In `folder`, or where MLFLOW_TRACKING_URI says. MLflow allows no + in names: m0+m1 becomes m0.m1.

    A run of this name that has not finished is continued, and its points are not logged twice.
    """

    def __init__(self, library: Any, run_id: str, settings: dict[str, Any], folder: Path | None) -> None:
        self.client = library.MlflowClient(tracking_uri=None if folder is None else folder.as_uri())
        found = self.client.get_experiment_by_name(PROJECT)
        experiment = self.client.create_experiment(PROJECT) if found is None else found.experiment_id
        unfinished = self.client.search_runs([experiment], "status != 'FINISHED'")
        self.last: dict[str, int] = {}  # step of each curve
        if begun := next((run for run in unfinished if run.info.run_name == run_id), None):
            self.run = begun.info.run_id
            self.client.update_run(self.run, "RUNNING")
            for name in begun.data.metrics:
                self.last[name] = max(point.step for point in self.client.get_metric_history(self.run, name))
        else:
            self.run = self.client.create_run(experiment, run_name=run_id).info.run_id
            for name, value in settings.items():
                self.client.log_param(self.run, name, value)

    def log(self, step: int, numbers: Scalars) -> None:
        for full, value in numbers.items():
            name = re.sub(r"[^\w\-. /]", ".", full)
            if step > self.last.get(name, -1):
                self.client.log_metric(self.run, name, value, step=step)
                self.last[name] = step

    def finish(self, metrics: Scalars, end: End) -> None:
        self.log(0, metrics)
        self.client.set_terminated(self.run, {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}[end])


class _Trackio:
    """Where TRACKIO_DIR said when trackio was imported; `trackio show` opens it."""

    def __init__(self, library: Any, run_id: str, settings: dict[str, Any], folder: Path | None) -> None:
        how = {"project": PROJECT, "name": run_id, "config": settings, "resume": "allow", "embed": False}
        # `init` ends the run that it finds in its context: several go side by side in contexts of their own.
        self.run = contextvars.copy_context().run(partial(library.init, **how))
        self.step = 0

    def log(self, step: int, numbers: Scalars) -> None:
        self.step = step
        self.run.log(numbers, step=step)

    def finish(self, metrics: Scalars, end: End) -> None:
        if metrics:
            self.run.log(metrics, step=self.step + 1)
        self.run.finish()


class _Wandb:
    """Offline in `folder`, for `wandb sync`; without one, as the user's own settings of wandb say."""

    def __init__(self, library: Any, run_id: str, settings: dict[str, Any], folder: Path | None) -> None:
        how = {"project": PROJECT, "name": run_id, "id": run_id, "resume": "allow", "reinit": "create_new"}
        where = {} if folder is None else {"dir": str(folder), "mode": "offline", "resume": None}
        self.run = library.init(**how | where, config=settings, settings={"console": "off"})

    def log(self, step: int, numbers: Scalars) -> None:
        if step >= self.run.step:  # else it was logged before an interruption
            self.run.log(numbers, step=step)

    def finish(self, metrics: Scalars, end: End) -> None:
        self.run.summary.update(metrics)
        self.run.finish(exit_code=0 if end == "done" else 1)


class Kind(NamedTuple):
    """A row of the table. open: called with (module, run id, settings, folder).

    lies_in_store: whether a live run is kept in its run's folder, else where the tracker itself keeps runs.
    close: called with the module in the end.
    """

    module: str
    open: Callable[[Any, str, dict[str, Any], Any], Tracker]
    lies_in_store: bool = False
    close: Callable[[Any], None] = lambda library: None


TRACKERS = {
    "tensorboard": Kind("torch.utils.tensorboard", _TensorBoard, lies_in_store=True),
    "mlflow": Kind("mlflow", _Mlflow),
    "trackio": Kind("trackio", _Trackio),
    "wandb": Kind("wandb", _Wandb, close=lambda library: library.teardown()),  # its service writes late
}


def library_of(tracker: str, flag: str) -> Any:
    """The module of a tracker. Raises InputError, naming the flag, for a name not in the table or not installed."""
    if tracker not in TRACKERS:
        raise InputError(f"{flag} {tracker!r} is not a tracker; choose {', '.join(TRACKERS)}")
    try:
        return import_module(TRACKERS[tracker].module)
    except ImportError as error:
        install = f"pip install 'polyvae[{tracker}]'"
        raise InputError(f"{flag} {tracker} needs it installed ({error}): {install}") from error


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Settings as trackers take them: without those left open."""
    return {name: value for name, value in config.to_dict().items() if value is not None}


def point(line: dict[str, Any]) -> tuple[int, Scalars]:
    """(step, numbers) of a line of the history, under `train/` and `validation/`."""
    numbers = dict(_scalars("train", line))
    return int(numbers.pop("train/step")), numbers


def export(store: RunStore, records: list[Record], tracker: str, folder: Path, on_damage: Damaged = raised) -> int:
    """Writes the finished ones of `records` into a new `folder` of the tracker; returns their number. Nothing is sent.

    on_damage: is told of those whose history cannot be read, which are left out; else the first is raised.
    Raises InputError for an unknown tracker, one that is not installed, a folder in use, or nothing to export, RunError
    where the tracker fails.
    """
    done = [record for record in records if record.is_done]
    if not done:
        raise InputError(f"no finished run in {store.root} to export")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--out {folder} is not empty, and a second export would double its runs; name a new folder")
    os.environ |= {"TRACKIO_DIR": str(folder.absolute()), "MLFLOW_ALLOW_FILE_STORE": "true"}  # read by their imports
    library = library_of(tracker, "--to")
    kind = TRACKERS[tracker]
    folder.mkdir(parents=True, exist_ok=True)

    def with_history(record: Record) -> tuple[Record, list[dict[str, Any]]]:
        return record, store.history(record.run_id)

    runs = readable(with_history, done, on_damage)
    try:
        with ExitStack() as stack:
            stack.callback(kind.close, library)
            for record, history in runs:
                run = kind.open(library, record.run_id, settings_of(record.config), folder.absolute())
                for line in history:
                    run.log(*point(line))
                run.finish(record.metrics, "done")
    except Exception as reason:  # a tracker may raise anything
        raise RunError(
            f"--to {tracker} failed ({type(reason).__name__}: {reason}); "
            f"{folder} is not complete: remove it and try again"
        ) from reason
    return len(runs)


def _scalars(prefix: str, line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if isinstance(value, dict):
            yield from _scalars(name if name == "validation" else f"{prefix}/{name}", value)
        elif isinstance(value, int | float) and f"{prefix}/{name}" != "train/epoch":
            yield f"{prefix}/{name}", float(value)
