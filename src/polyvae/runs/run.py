"""One run from config to record."""

import os
import platform
import shutil
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from polyvae import files, keys, metrics
from polyvae.config import RunConfig
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError, RunError
from polyvae.intervals import Calibration
from polyvae.likelihoods import Counts
from polyvae.models import Networks, TrainableModel
from polyvae.pictures.draws import write_draws
from polyvae.pictures.grids import write_grids
from polyvae.pictures.views import write_views
from polyvae.runs.evaluation import Say, evaluation_of, score
from polyvae.runs.finished import completed
from polyvae.runs.live import live
from polyvae.runs.plan import Plan, make_plan, plugins_behind
from polyvae.runs.record import Record, Resolved, Weights
from polyvae.runs.saving import checksums, load, load_best, save_calibration, save_model
from polyvae.runs.stages import stages_of
from polyvae.runs.store import DRAWS, VIEWS, RunStore
from polyvae.runs.trackers import library_of
from polyvae.runs.verdict import verdict
from polyvae.threads import on_threads, steps_on_threads
from polyvae.training import parallel
from polyvae.training.checkpoint import Progress
from polyvae.training.loop import exhausted, steps

DEVICE_ERRORS = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()  # torch 2.8 and later
OnStep = Callable[[int, int, float], None]  # steps done, steps in all, loss


class DeviceLost(RunError):
    """The accelerator failed, and with it everything that this process had on it."""


@dataclass(frozen=True)
class RunResult:
    """A finished run. `metrics` is flat; `notes` says why a metric is not defined here."""

    run_id: str
    folder: Path
    record: Record

    @property
    def metrics(self) -> dict[str, float]:
        return dict(self.record.metrics)

    @property
    def notes(self) -> dict[str, str]:
        return dict(self.record.notes)

    @property
    def verdict(self) -> str:
        """Whether it fills in tables better than simpler methods, with the right intervals; "" without tables."""
        scores = {self.record.config.method: self.metrics}
        return "\n".join(verdict(scores, self.record.resolved.modalities, seeds=1))

    def load(self, networks: Networks | None = None) -> TrainableModel:
        return load(self.folder, networks=networks)


def run(
    config: RunConfig,
    store: RunStore | Path | str = "runs",
    *,
    data: MultimodalDataset | None = None,
    test: MultimodalDataset | None = None,
    networks: Networks | None = None,
    on_step: OnStep = lambda done, total, loss: None,
    say: Say = lambda text: None,
    log: str | None = None,
) -> RunResult:
    """Trains and scores one model, or returns the finished run; an interrupted run goes on where it stopped.

    data: your own data set in place of `config.dataset`. They choose the settings that RunConfig(dataset="arrays")
    leaves open; any other config has those of generated data. test: its test rows; by default a share of `data`.
    networks: name -> (encoder, decoder) of your own.
    on_step: called with (steps done, steps in all, loss in nats); on an accelerator, for 50 steps at a time.
    say: called with a line of text when something else than training begins, and with what to know of the data.
    log: tensorboard, wandb, trackio or mlflow, which then shows the run while it trains (`runs.live`).
    Raises InputError before any compute for bad input, RunError when the run fails (its record says why).
    """
    if log is not None:
        library_of(log, "--log")  # while nothing is loaded
    place = store if isinstance(store, RunStore) else RunStore(store)
    plan = make_plan(config, data, networks, test)
    for name, text in plan.whole_train.info.get("description", {}).items():
        say(f"{name}: {text}")
    if plan.is_said:
        say(plan.is_said)
    with parallel.joined() as team:
        if team.leads:
            record = _logged(plan, place, log, on_step, say)
            team.tell(False)
        else:
            record = _follow(team, plan, place)
    if record is None or not record.is_done:
        where = f"; where: {place.folder(plan.run_id) / 'traceback.txt'}" if record else ""
        raise RunError(f"run {plan.run_id} failed: {record and record.error}{where}")
    return RunResult(plan.run_id, place.folder(plan.run_id), record)


def _logged(plan: Plan, store: RunStore, log: str | None, on_step: OnStep, say: Say) -> Record | None:
    """`run_one`, followed by the tracker `log`, unless the run has finished before."""
    if log is None or store.is_done(plan.run_id):
        return run_one(plan, store, retries=True, on_step=on_step, say=say)
    with live(log, store, say) as told:
        told.begin(plan.run_id, plan.config)

        def step(done: int, total: int, loss: float) -> None:
            told.step(plan.run_id, done, loss)
            on_step(done, total, loss)

        record = run_one(plan, store, retries=True, on_step=step, say=say)
        if record is not None:
            told.finished(record)
        return record


def run_one(*arguments: Any, **options: Any) -> Record | None:
    """The record of `steps_of`, taken one step after the other to the end."""
    return exhausted(steps_of(*arguments, **options))


def steps_of(
    plan: Plan,
    store: RunStore,
    *,
    wait: bool = True,
    retries: bool = False,
    on_step: OnStep = lambda done, total, loss: None,
    say: Say = lambda text: None,
) -> Generator[None, None, Record | None]:
    """Makes the record of the plan's run if it is not there; None if another process has it and `wait` is False.

    It yields after every training step, so that runs can take turns; closed there, it leaves a checkpoint.
    A run that fails gets a record with its error, and is done again only if `retries`.
    """
    with store.lock(plan.run_id, wait=wait) as held:
        if not held:
            return None
        existing = store.record(plan.run_id)
        if existing is not None and existing.is_done:
            return completed(plan, store, existing, say)
        if existing is not None and not retries:
            return existing
        folder = store.begin(plan.run_id, plan.config)
        record = yield from steps_on_threads(plan.threads, _attempt(plan, folder, on_step, say))
        store.finish(record)
        if record.is_done:  # until the record is there, a kill must not cost the training
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return record


def _follow(team: parallel.Team, plan: Plan, store: RunStore) -> Record | None:
    """Takes part in the training of the first process, if there is any; its record, when that is done."""
    with on_threads(plan.threads):
        while team.tell():
            with suppress(RunError):  # it fails in all processes, and the first one records it
                exhausted(_train(plan, plan.build(), store.folder(plan.run_id), lambda done, total, loss: None))
    return store.record(plan.run_id)


@dataclass
class _Account:
    """What is known of a run under way: it goes into the record, however the run ends."""

    resolved: Resolved
    seconds: dict[str, float] = field(default_factory=lambda: {"data": 0.0, "train": 0.0, "evaluate": 0.0})
    metrics: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Generator[None]:
        started = time.monotonic()
        yield
        self.seconds[part] = round(time.monotonic() - started, 3)


def _attempt(plan: Plan, folder: Path, on_step: OnStep, say: Say) -> Generator[None, None, Record]:
    """The record of one try."""
    counts = {m.name for m in plan.modalities if isinstance(m.likelihood, Counts)}  # the doubts are of standard units
    warnings = plan.whole_train.info.get("warnings", {})
    doubts = {keys.of(keys.DATA, name): text for name, text in warnings.items() if name not in counts}
    account, error = _Account(_resolved(plan), notes=doubts), None
    environment = _environment(plan)
    try:
        yield from _train_and_score(plan, folder, account, on_step, say)
    except InputError:  # say, a damaged checkpoint: nothing was computed
        raise
    except DEVICE_ERRORS as reason:  # no fault of this run, which goes on from its checkpoint
        raise DeviceLost(f"device {plan.device} no longer answers: {str(reason).splitlines()[0]}") from reason
    except Exception as reason:  # noqa: BLE001 networks of the user's own may raise anything
        error = f"{type(reason).__name__}: {reason}"
        files.write_text(folder / "traceback.txt", traceback.format_exc())
    return Record(
        run_id=plan.run_id,
        config=plan.config,
        status="done" if error is None else "failed",
        error=error,
        metrics=account.metrics,
        notes=account.notes,
        seconds=account.seconds,
        environment=environment,
        resolved=account.resolved,
    )


def _train_and_score(
    plan: Plan, folder: Path, account: _Account, on_step: OnStep, say: Say
) -> Generator[None, None, None]:
    with account.timed("data"):
        model = plan.build()
        evaluation = evaluation_of(plan, stages_of(plan, model)[-1].loss, say)
        parameters = sum(value.numel() for value in model.parameters())
        account.resolved = replace(account.resolved, parameters=parameters)

    parallel.team().tell(True)
    progress = yield from _train(plan, model, folder, on_step)
    account.notes |= {keys.EAGER: f"steps ran kernel by kernel: {progress.eager}"} if progress.eager else {}
    save_model(folder, model, plan.blueprint)
    account.seconds["train"] = round(progress.total_seconds, 3)

    with account.timed("evaluate"):
        weights: Weights = "model" if progress.best_loss is None else "model_best"
        if weights == "model_best":
            load_best(model, folder)
            account.resolved = replace(account.resolved, best_epoch=progress.best_epoch)
        try:
            evaluation = replace(evaluation, calibration=_calibrate(plan, model, folder, say))
        except InputError as reason:  # what is trained already is kept
            account.notes[keys.CALIBRATION] = f"intervals are the model's own: {reason}"
        facts: dict[str, Any] = {"steps": progress.step, "scored_weights": weights, "sha256": checksums(folder)}
        account.resolved = replace(account.resolved, **facts)
        scores = score(plan, model.eval(), evaluation, say)
        account.metrics, account.notes = scores.metrics, account.notes | scores.notes
        account.resolved = account.resolved.with_scoring(scores.resolved)
        account.notes |= _draw(plan, model, folder, evaluation.calibration)


def _calibrate(plan: Plan, model: TrainableModel, folder: Path, say: Say) -> Calibration | None:
    """Finds and writes how wide intervals have to be, by the validation rows; None without any, or without a table."""
    if plan.validation is None:
        return None
    say("calibrating intervals on the validation rows")
    calibration = metrics.calibrate(model, plan.validation, plan.train, seed=plan.config.seed)
    if not calibration.factors:
        return None
    save_calibration(folder, calibration)
    return calibration


def _draw(plan: Plan, model: TrainableModel, folder: Path, calibration: Calibration | None) -> dict[str, str]:
    """Draws the sample grids, and writes what a report shows of pictures and tables; a note where that fails.

    A picture is no reason to lose a run.
    """
    try:
        if any(modality.is_image or modality.vocabulary for modality in plan.modalities):
            write_grids(model, plan.test, folder / "samples", seed=plan.config.seed)
            write_draws(model, plan.test, folder / DRAWS, seed=plan.config.seed)
        if any(modality.is_real_table for modality in plan.modalities):
            write_views(model, plan.test, plan.train, folder / VIEWS, calibration=calibration, seed=plan.config.seed)
    except Exception as reason:  # noqa: BLE001 whatever it is, the run is trained and scored
        return {keys.SAMPLES: f"the sample grids could not be drawn ({type(reason).__name__}: {reason})"}
    return {}


def _train(plan: Plan, model: TrainableModel, folder: Path, on_step: OnStep) -> Generator[None, None, Progress]:
    stages = stages_of(plan, model)
    error = None
    if plan.config.best_by == "imputation" and plan.validation is not None:
        error = partial(metrics.imputation_error, model, plan.validation)
    return steps(model, stages, plan.rows_at, plan.validation, plan.config, folder, error=error, on_step=on_step)


def _resolved(plan: Plan) -> Resolved:
    """What the config leaves open, as it was settled for this run."""
    return Resolved(
        modalities=tuple(m.name for m in plan.modalities),
        latent_dim=plan.blueprint.latent_dim,
        networks=dict(plan.blueprint.networks),
        likelihoods={m.name: m.to_json()["likelihood"] for m in plan.modalities},
        weights={m.name: m.weight for m in plan.modalities},
        **asdict(plan.settings),
        is_bound=plan.method.is_bound and plan.mixture.is_bound if plan.settings.prior else None,
        chosen=plan.chosen,
        tried={name: {str(value): error for value, error in of.items()} for name, of in plan.tried.items()},
        train_rows=len(plan.train),
        test_rows=len(plan.test),
        data=plan.content,
        plugins=plugins_behind(plan.config, plan.blueprint),
    )


def _environment(plan: Plan) -> dict[str, Any]:
    is_on_gpu = plan.device.type == "cuda"
    return {
        "versions": dict(_versions()),
        "device": str(plan.device),
        **({"gpu": torch.cuda.get_device_name(plan.device)} if is_on_gpu else {}),
        "threads": torch.get_num_threads(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
    }


@cache
def _versions() -> dict[str, str]:
    packages = ("polyvae", "torch", "numpy", "scipy", "safetensors")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
