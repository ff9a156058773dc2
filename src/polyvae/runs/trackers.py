"""Finished runs for experiment trackers, written afterwards and by one process, so that training needs none."""

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from polyvae.errors import InputError
from polyvae.runs.record import Record
from polyvae.runs.store import Damaged, RunStore, raised, readable

PROJECT = "polyvae"
Scalars = dict[str, float]


class Tracked(NamedTuple):
    """What a tracker is told of a run: its id, its settings, its metrics, and (step, numbers) of every epoch."""

    run_id: str
    settings: dict[str, Any]
    metrics: Scalars
    curves: list[tuple[int, Scalars]]


def tracked(store: RunStore, record: Record) -> Tracked:
    """A finished run as trackers take it: settings without those left open, curves under `train/` and `validation/`."""
    settings = {name: value for name, value in record.config.to_dict().items() if value is not None}
    curves = [(line.pop("step"), dict(_scalars("train", line))) for line in store.history(record.run_id)]
    return Tracked(record.run_id, settings, record.metrics, curves)


def export(store: RunStore, records: list[Record], tracker: str, folder: Path, on_damage: Damaged = raised) -> int:
    """Writes the finished ones of `records` into a new `folder` of the tracker; returns their number. Nothing is sent.

    on_damage: is told of those whose history cannot be read, which are left out; else the first is raised.
    Raises InputError for an unknown tracker, one that is not installed, a folder in use, or nothing to export.
    """
    if tracker not in TRACKERS:
        raise InputError(f"no tracker {tracker!r}; choose {', '.join(TRACKERS)}")
    done = [record for record in records if record.is_done]
    if not done:
        raise InputError(f"no finished run in {store.root} to export")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--out {folder} is not empty, and a second export would double its runs; name a new folder")
    module, write = TRACKERS[tracker]
    os.environ |= {"TRACKIO_DIR": str(folder.absolute()), "MLFLOW_ALLOW_FILE_STORE": "true"}  # read by their imports
    try:
        library = import_module(module)
    except ImportError as error:
        raise InputError(f"--to {tracker} needs it installed ({error}): pip install 'polyvae[trackers]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    runs = readable(partial(tracked, store), done, on_damage)
    write(library, runs, folder.absolute())
    return len(runs)


def _scalars(prefix: str, line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if isinstance(value, dict):
            yield from _scalars(name if name == "validation" else f"{prefix}/{name}", value)
        elif isinstance(value, int | float) and f"{prefix}/{name}" != "train/epoch":
            yield f"{prefix}/{name}", float(value)


def _tensorboard(library: Any, runs: list[Tracked], folder: Path) -> None:
    for run in runs:
        with library.SummaryWriter(str(folder / run.run_id)) as writer:
            for step, numbers in run.curves:
                for name, value in numbers.items():
                    writer.add_scalar(name, value, step)
            writer.add_hparams(run.settings, run.metrics, run_name=".")


def _mlflow(library: Any, runs: list[Tracked], folder: Path) -> None:
    """Into files: `mlflow ui --backend-store-uri FOLDER`. MLflow allows no + in names: m0+m1 becomes m0.m1."""
    client = library.MlflowClient(tracking_uri=folder.as_uri())
    experiment = client.create_experiment(PROJECT)
    for run in runs:
        run_id = client.create_run(experiment, run_name=run.run_id).info.run_id
        for name, value in run.settings.items():
            client.log_param(run_id, name, value)
        for step, numbers in [*run.curves, (0, run.metrics)]:
            for name, value in numbers.items():
                client.log_metric(run_id, re.sub(r"[^\w\-. /]", ".", name), value, step=step)
        client.set_terminated(run_id)


def _trackio(library: Any, runs: list[Tracked], folder: Path) -> None:
    """Into the folder that TRACKIO_DIR named at its import: TRACKIO_DIR=FOLDER trackio show."""
    for run in runs:
        library.init(project=PROJECT, name=run.run_id, config=run.settings, embed=False)
        for step, numbers in run.curves:
            library.log(numbers, step=step)
        library.log(run.metrics, step=run.curves[-1][0] + 1 if run.curves else 1)
        library.finish()


def _wandb(library: Any, runs: list[Tracked], folder: Path) -> None:
    """As offline runs, which `wandb sync FOLDER/wandb/offline-run-*` sends."""
    for run in runs:
        named = {"project": PROJECT, "name": run.run_id, "id": run.run_id}
        offline = library.init(**named, config=run.settings, dir=str(folder), mode="offline")
        for step, numbers in run.curves:
            offline.log(numbers, step=step)
        offline.summary.update(run.metrics)
        offline.finish()
    library.teardown()  # its service writes late


TRACKERS: dict[str, tuple[str, Callable[[Any, list[Tracked], Path], None]]] = {
    "tensorboard": ("torch.utils.tensorboard", _tensorboard),
    "mlflow": ("mlflow", _mlflow),
    "trackio": ("trackio", _trackio),
    "wandb": ("wandb", _wandb),
}  # name -> (module, what writes runs with it)
