"""Scores of finished runs: metrics that are asked for later are added to the record."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from polyvae import fitting, metrics
from polyvae.errors import InputError
from polyvae.fitting import Fitted, SamplerKind
from polyvae.models.joint import MultimodalVAE
from polyvae.runs.evaluation import Say, evaluation_of, identities
from polyvae.runs.plan import Plan, make_plan
from polyvae.runs.saving import Networks, load, save_prior
from polyvae.runs.store import Record, RunStore

THREADS = torch.get_num_threads()  # unless a config says otherwise; torch obeys OMP_NUM_THREADS


def completed(plan: Plan, store: RunStore, record: Record, own: Networks, say: Say) -> Record:
    """A finished run's record, with the metrics that it lacks of those that the plan asks for."""
    if not (missing := lacking(plan, record)):
        return record
    torch.set_num_threads(plan.config.threads or THREADS)
    folder = store.folder(plan.run_id)
    plan = replace(plan, metrics=missing)
    return _added(store, record, plan, _scores(plan, load(folder, networks=own), say))


def lacking(plan: Plan, record: Record) -> tuple[str, ...]:
    """The metrics that the plan asks for and the record lacks, or has at a smaller K."""
    scored, samples = record["resolved"].get("metrics", plan.metrics), plan.config.importance_samples
    at = record["resolved"].get("importance_samples", {})
    return tuple(name for name in plan.metrics if name not in scored or at.get(name, samples) < samples)


def plan_of(folder: Path, **changes: Any) -> Plan:
    """The plan of a run in a store. Raises InputError when its data are not those it was made from."""
    plan = make_plan(RunStore(folder.parent).config(folder.name).with_(**changes))
    if plan.run_id != folder.name:
        raise InputError(
            f"run {folder.name} was made from other data than {plan.config.data or plan.config.dataset} now holds, or "
            "with networks of your own: put the data back, start a new run, or use it in Python with what you have"
        )
    return plan


def evaluate(
    run: str, names: str, store: RunStore, *, prior: str | None = None, say: Say = lambda text: None, **changes: Any
) -> Record:
    """Scores a finished run by the metrics `names` and adds them to its record.

    prior: a fitted one in place of the model's own; what depends on it is kept under prior/<prior>/ + the usual key.
    changes: threads, device and importance_samples, where they shall differ from the run's config.
    Raises InputError for an unknown run or metric, or a run that is not finished or whose data are not at hand.
    """
    folder = store.existing(run)
    store = RunStore(folder.parent)
    record = store.record(folder.name)
    if record is None or record["status"] != "done":
        what = f"failed ({record['error']})" if record else "is not finished"
        raise InputError(f"run {folder.name} {what}; there is nothing to score before its command is done")
    plan = plan_of(folder, metrics=names, **changes)
    torch.set_num_threads(plan.config.threads or THREADS)
    scores = _scores(plan, load(folder, prior=prior), say)
    with store.lock(folder.name, wait=True):
        if prior is not None:
            return _added_by_prior(store, store.record(folder.name) or record, prior, scores)
        return _added(store, store.record(folder.name) or record, plan, scores)


class _Scores(NamedTuple):
    """identities: of the networks that the metrics looked through."""

    metrics: dict[str, float]
    notes: dict[str, str]
    identities: dict[str, Any]


def _scores(plan: Plan, model: MultimodalVAE, say: Say) -> _Scores:
    evaluation = evaluation_of(plan, say)
    found, notes = metrics.evaluate(model.to(plan.device), evaluation, plan.metrics, say)
    return _Scores(found, notes, identities(evaluation))


def fit_prior(
    run: str, store: RunStore, kind: SamplerKind, components: int, seed: int, say: Say = lambda text: None
) -> Fitted:
    """Fits a sampler to the training rows of a finished run and keeps it beside its weights.

    Raises InputError for an unknown run, or one whose data or weights are not at hand.
    """
    folder = store.existing(run)
    plan = plan_of(folder)
    torch.set_num_threads(plan.config.threads or THREADS)
    say(f"encoding training rows, then fitting a {kind} (about a minute)")
    fitted = fitting.fit_prior(load(folder).to(plan.device), plan.rows(0), kind, components=components, seed=seed)
    facts = {"seed": seed, "log_density_own_prior": fitted.before, "log_density": fitted.after}
    save_prior(folder, kind, fitted.prior, facts)
    return fitted


def _added_by_prior(store: RunStore, record: Record, prior: str, scores: _Scores) -> Record:
    """The record with what depends on a fitted prior. Hold the lock."""
    new = {f"prior/{prior}/{key}": value for key, value in metrics.by_prior(scores.metrics).items()}
    if not new:
        which = ", ".join(name for name, metric in metrics.METRICS.items() if metric.by_prior)
        raise InputError(f"none of these metrics depends on the prior; those that do are {which}")
    record |= {"metrics": record["metrics"] | new}
    store.finish(record)
    return record


def _added(store: RunStore, record: Record, plan: Plan, scores: _Scores) -> Record:
    """The record with the new scores of a plan's metrics, written to the store. Hold the lock."""
    names, resolved = plan.metrics, record["resolved"]
    kept = {name: reason for name, reason in record["notes"].items() if name.split("/")[0] not in names}
    scored = list(dict.fromkeys([*resolved.get("metrics", []), *names]))
    samples = resolved.get("importance_samples", {}) | samples_of(plan)
    record |= {
        "metrics": record["metrics"] | scores.metrics,
        "notes": kept | scores.notes,
        "resolved": resolved | {"metrics": scored, "importance_samples": samples, **scores.identities},
    }
    store.finish(record)
    return record


def samples_of(plan: Plan) -> dict[str, int]:
    return {name: plan.config.importance_samples for name in plan.metrics if metrics.METRICS[name].is_sampled}
