"""One run from config to record."""

import copy
import os
import platform
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from polyvae import metrics, priors
from polyvae.config import RunConfig
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError, RunError
from polyvae.modality import Batch
from polyvae.models.vae import MultimodalVAE
from polyvae.noise import Noise, derive_seed
from polyvae.objectives import Bound
from polyvae.pictures.grids import write_grids
from polyvae.runs.evaluation import Say, evaluation_of, identities
from polyvae.runs.finished import THREADS, completed, samples_of
from polyvae.runs.plan import Plan, make_plan
from polyvae.runs.saving import Networks, build_networks, load, save_model
from polyvae.runs.store import Record, RunStore, failed_record
from polyvae.training import parallel
from polyvae.training.loop import Progress, TrainingStage, train

OnStep = Callable[[int, int, float], None]  # steps done, steps in all, loss


@dataclass(frozen=True)
class RunResult:
    """A finished run. `metrics` is flat; `notes` says why a metric is not defined here."""

    run_id: str
    folder: Path
    record: Record

    @property
    def metrics(self) -> dict[str, float]:
        return self.record["metrics"]

    @property
    def notes(self) -> dict[str, str]:
        return self.record["notes"]

    def load(self, networks: Networks | None = None) -> MultimodalVAE:
        return load(self.folder, networks=networks)


def run(
    config: RunConfig,
    store: RunStore | Path | str = "runs",
    *,
    data: MultimodalDataset | None = None,
    networks: Networks | None = None,
    on_step: OnStep = lambda done, total, loss: None,
    say: Say = lambda text: None,
) -> RunResult:
    """Trains and scores one model, or returns the finished run; an interrupted run goes on where it stopped.

    data: your own data set in place of `config.dataset`. networks: name -> (encoder, decoder) of your own.
    Raises InputError before any compute for bad input, RunError when the run fails (its record says why).
    """
    place = store if isinstance(store, RunStore) else RunStore(store)
    plan = make_plan(config, data, networks)
    with parallel.joined() as team:
        if team.leads:
            record = run_one(plan, place, own=networks or {}, retries=True, on_step=on_step, say=say)
            team.tell(False)
        else:
            record = _follow(team, plan, place, networks or {})
    if record is None or record["status"] != "done":
        raise RunError(f"run {plan.run_id} failed: {record and record['error']}")
    return RunResult(plan.run_id, place.folder(plan.run_id), record)


def run_one(
    plan: Plan,
    store: RunStore,
    *,
    own: Networks | None = None,
    wait: bool = True,
    retries: bool = False,
    on_step: OnStep = lambda done, total, loss: None,
    say: Say = lambda text: None,
) -> Record | None:
    """The record of the plan's run, made if it is not there; None if another process is at it and `wait` is False.

    A run that fails gets a record with its error, and is done again only if `retries`.
    """
    with store.lock(plan.run_id, wait=wait) as held:
        if not held:
            return None
        existing = store.record(plan.run_id)
        if existing is not None and existing["status"] == "done":
            return completed(plan, store, existing, own or {}, say)
        if existing is not None and not retries:
            return existing
        folder = store.begin(plan.run_id, plan.config)
        torch.set_num_threads(plan.config.threads or THREADS)
        record = _blank_record(plan)
        try:
            _train_and_score(plan, folder, own or {}, record, on_step, say)
        except InputError:  # say, a damaged checkpoint: nothing was computed
            raise
        except Exception as error:  # noqa: BLE001 networks of the user's own may raise anything
            record |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        store.finish(record)
        return record


def _follow(team: parallel.Team, plan: Plan, store: RunStore, own: Networks) -> Record | None:
    """Takes part in the training of the first process, if there is any; its record, when that is done."""
    torch.set_num_threads(plan.config.threads or THREADS)
    while team.tell():
        with suppress(RunError):  # it fails in all processes, and the first one records it
            _train(plan, build_model(plan, own), store.folder(plan.run_id), lambda done, total, loss: None)
    return store.record(plan.run_id)


def _train_and_score(plan: Plan, folder: Path, own: Networks, record: Record, on_step: OnStep, say: Say) -> None:
    started = time.monotonic()
    evaluation = evaluation_of(plan, say)
    record["resolved"] |= identities(evaluation)
    model = build_model(plan, own)
    record["resolved"]["parameters"] = sum(value.numel() for value in model.parameters())
    record["seconds"]["data"] = _since(started)

    started = time.monotonic()
    parallel.team().tell(True)
    progress = _train(plan, model, folder, on_step)
    save_model(folder, model, plan.network_names)
    record["resolved"]["steps"] = progress.step
    record["seconds"]["train"] = round(progress.total_seconds, 3)

    started = time.monotonic()
    record["metrics"], record["notes"] = metrics.evaluate(model.eval(), evaluation, plan.metrics, say)
    if any(modality.is_image or modality.vocabulary for modality in plan.modalities):
        write_grids(model, plan.test, folder / "samples", seed=plan.config.seed)
    record["seconds"]["evaluate"] = _since(started)
    record["status"] = "done"
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def build_model(plan: Plan, own: Networks) -> MultimodalVAE:
    """The untrained model; each modality's networks start from a seed of their own, whatever the others are."""
    pairs = {}
    own = copy.deepcopy(dict(own))  # the user's own stay untrained, so that the same call is the same run
    with torch.random.fork_rng():
        for modality in plan.modalities:
            torch.manual_seed(derive_seed(plan.config.seed, "weights", modality.name))
            pairs |= build_networks([modality], plan.network_names, plan.latent_dim, own)
        torch.manual_seed(derive_seed(plan.config.seed, "weights", "prior"))
        prior = _first_prior(plan)
    settings = plan.settings
    model = MultimodalVAE(plan.modalities, pairs, plan.mixture, plan.latent_dim, prior=prior, family=settings.family)
    return model.to(plan.device)


def _first_prior(plan: Plan) -> priors.Prior:
    """The untrained prior; pseudo-inputs start as training rows."""
    settings, rows = plan.settings, plan.rows(0)
    count = settings.components or priors.COMPONENTS
    inputs = rows.batch(torch.randperm(len(rows))[:count]).to("cpu") if settings.prior == "vamp" else None
    return priors.make(settings.prior, plan.latent_dim, count, inputs)


def _train(plan: Plan, model: MultimodalVAE, folder: Path, on_step: OnStep) -> Progress:
    config = plan.config
    weights = torch.tensor([m.weight for m in plan.modalities], device=plan.device)
    stages = []
    for stage in plan.method.stages:
        function = plan.settings.function(stage.objective)

        def loss(batch: Batch, generator: Noise, function: Any = function) -> Bound:
            options = {"beta": config.beta, "weights": weights, "generator": generator, **plan.settings.options}
            return function(model, batch, plan.mixture, **options)

        epochs = max(1, round(stage.share * config.epochs))
        stages.append(TrainingStage(stage.name, loss, list(stage.parameters(model)), epochs))
    return train(model, stages, plan.rows, plan.validation, config, folder, on_step=on_step)


def _blank_record(plan: Plan) -> Record:
    return failed_record(plan.run_id, plan.config, None) | {
        "seconds": {"data": 0.0, "train": 0.0, "evaluate": 0.0},
        "environment": _environment(plan),
        "resolved": {
            "modalities": [m.name for m in plan.modalities],
            "latent_dim": plan.latent_dim,
            "networks": plan.network_names,
            "likelihoods": {m.name: m.to_json()["likelihood"] for m in plan.modalities},
            "weights": {m.name: m.weight for m in plan.modalities},
            **plan.settings.to_json(),
            "is_bound": plan.mixture.is_bound,
            "train_rows": len(plan.rows(0)),
            "test_rows": len(plan.test),
            "metrics": list(plan.metrics),
            "importance_samples": samples_of(plan),
            "data": plan.content,
        },
    }


def _environment(plan: Plan) -> dict[str, Any]:
    packages = ("polyvae", "torch", "numpy", "scipy", "safetensors")
    versions = {"python": platform.python_version()}
    return {
        "versions": versions | {name: metadata.version(name) for name in packages},
        "device": str(plan.device),
        "threads": torch.get_num_threads(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
