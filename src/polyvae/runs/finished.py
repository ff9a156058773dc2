"""What is done with a finished run: more metrics, and a better prior."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from polyvae import fitting, keys, metrics
from polyvae.errors import InputError
from polyvae.fitting import Fitted, SamplerKind
from polyvae.models import TrainableModel
from polyvae.runs.evaluation import Say, Scores, evaluation_of, score
from polyvae.runs.plan import Plan, make_plan
from polyvae.runs.record import Record
from polyvae.runs.saving import check_has_prior, load, load_calibration, save_prior
from polyvae.runs.stages import stages_of
from polyvae.runs.store import RECORD, RunStore
from polyvae.threads import on_threads


def completed(plan: Plan, store: RunStore, record: Record, say: Say) -> Record:
    """A finished run's record, with the metrics that it lacks of those that the plan asks for. Hold the lock."""
    if not (missing := lacking(plan, record)):
        return record
    plan = replace(plan, metrics=missing)
    model = load(store.folder(plan.run_id), networks=plan.blueprint.own)
    return _added(store.folder(plan.run_id), record, plan, _scores(plan, model, store.folder(plan.run_id), say))


def lacking(plan: Plan, record: Record) -> tuple[str, ...]:
    """The metrics that the plan asks for and the record lacks, or has at a smaller K."""
    resolved, samples = record.resolved, plan.config.importance_samples
    scored = plan.metrics if resolved.metrics is None else resolved.metrics
    at = resolved.importance_samples or {}
    return tuple(name for name in plan.metrics if name not in scored or at.get(name, samples) < samples)


def plan_of(folder: Path, **changes: Any) -> Plan:
    """The plan of a run, whatever its folder is called now. Raises InputError when its data have changed."""
    store = RunStore(folder.parent)
    config = store.config(folder.name)
    # Scored on other threads it is still the run that was trained on its own.
    record, plan = store.record(folder.name), make_plan(config.with_(**changes | {"threads": config.threads}))
    if plan.run_id != (folder.name if record is None else record.run_id):
        raise InputError(
            f"run {folder.name} was made from other data than {plan.config.data or plan.config.dataset} now holds, "
            "or by a version that split the data or computed the objective differently, or with your own networks or "
            "plug-in: put the data back, start a new run, or use it in Python with what you have"
        )
    return replace(plan, config=plan.config.with_(threads=changes.get("threads", config.threads)))


def evaluate(
    run: str, names: str, store: RunStore, *, prior: str | None = None, say: Say = lambda text: None, **changes: Any
) -> Record:
    """Scores a finished run by the metrics `names` and adds them to its record.

    prior: a fitted one in place of the model's own; what depends on it is kept under prior/<prior>/ + the usual key.
    changes: threads, device and importance_samples, where they differ from those of the run's config.
    Raises InputError for an unknown run or metric, or a run that is not finished or whose data are not at hand.
    """
    folder = store.existing(run)
    store = RunStore(folder.parent)
    record = store.record(folder.name)
    if record is None or not record.is_done:
        what = f"failed ({record.error})" if record else "is not finished"
        raise InputError(f"run {folder.name} {what}; there is nothing to score before its command is done")
    plan = plan_of(folder, metrics=names, **changes)
    scores = _scores(plan, load(folder, prior=prior), folder, say)
    with store.lock(folder.name, wait=True):
        record = store.record(folder.name) or record
        if prior is not None:
            return _added_by_prior(folder, record, prior, plan, scores)
        return _added(folder, record, plan, scores)


def fit_prior(
    run: str,
    store: RunStore,
    kind: SamplerKind,
    components: int | None,
    seed: int,
    *,
    say: Say = lambda text: None,
    **changes: Any,
) -> Fitted:
    """Fits a sampler to the training rows of a finished run and keeps it beside its weights.

    changes: threads, where they differ from those of the run's config.
    Raises InputError for an unknown run, one whose data or weights are not at hand, or a model that is not joint.
    """
    folder = store.existing(run)
    plan = plan_of(folder, **changes)
    model = load(folder)
    check_has_prior(folder, model)
    does = "pruning the clusters of the prior" if kind == "pruned" else f"fitting a {kind} (about a minute)"
    say(f"encoding training rows, then {does}")
    with on_threads(plan.threads):
        how = {"components": components, "beta": plan.config.beta, "seed": seed}
        fitted = fitting.fit_prior(model.to(plan.device), plan.train, kind, **how)
    facts = {"seed": seed, "log_density_own_prior": fitted.before, "log_density": fitted.after}
    save_prior(folder, kind, fitted.prior, facts)
    return fitted


def _scores(plan: Plan, model: TrainableModel, folder: Path, say: Say) -> Scores:
    model = model.to(plan.device)
    with on_threads(plan.threads):
        evaluation = evaluation_of(plan, stages_of(plan, model)[-1].loss, say)
        return score(plan, model, replace(evaluation, calibration=load_calibration(folder)), say)


def _added_by_prior(folder: Path, record: Record, prior: str, plan: Plan, scores: Scores) -> Record:
    """What depends on a fitted prior, in place of what the record had of it; written to the folder. Hold the lock."""
    added = {keys.of(keys.FITTED_PRIOR, prior, key): value for key, value in metrics.by_prior(scores.metrics).items()}
    if not added:
        which = ", ".join(name for name, metric in metrics.METRICS.items() if metric.by_prior)
        raise InputError(f"none of these metrics depends on the prior; those that do are {which}")
    stem = keys.of(keys.FITTED_PRIOR, prior)
    before = keys.below(stem, record.metrics)
    stale = {keys.of(stem, key) for key in before.keys() - metrics.not_of(plan.metrics, before)}
    others = {key: value for key, value in record.metrics.items() if key not in stale}
    record = replace(record, metrics=others | added)
    record.write(folder / RECORD)
    return record


def _added(folder: Path, record: Record, plan: Plan, scores: Scores) -> Record:
    """The scores of a plan's metrics in place of what the record had of them, written to the folder. Hold the lock."""
    record = replace(
        record,
        metrics=metrics.not_of(plan.metrics, record.metrics) | scores.metrics,
        notes=metrics.not_of(plan.metrics, record.notes) | scores.notes,
        resolved=record.resolved.with_scoring(scores.resolved),
    )
    record.write(folder / RECORD)
    return record
