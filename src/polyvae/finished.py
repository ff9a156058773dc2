"""Scores of finished runs: metrics that are asked for later are added to the record."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from polyvae import metrics
from polyvae.errors import InputError
from polyvae.evaluation import Say, evaluation_of, identities
from polyvae.model import MultimodalVAE
from polyvae.plan import Plan, make_plan
from polyvae.saving import Networks, load
from polyvae.store import Record, RunStore

THREADS = torch.get_num_threads()  # unless a config says otherwise; torch obeys OMP_NUM_THREADS
SAMPLED = ("log_likelihood", "legacy_likelihood")  # metrics that --importance-samples is about


def completed(plan: Plan, store: RunStore, record: Record, own: Networks, say: Say) -> Record:
    """A finished run's record, with the metrics that the plan asks for and the record lacks, or has at a smaller K."""
    scored, samples = record["resolved"].get("metrics", plan.metrics), plan.config.importance_samples
    at = record["resolved"].get("importance_samples", {})
    missing = [name for name in plan.metrics if name not in scored or at.get(name, samples) < samples]
    if not missing:
        return record
    torch.set_num_threads(plan.config.threads or THREADS)
    folder = store.folder(plan.run_id)
    plan = replace(plan, metrics=tuple(missing))
    return _added(store, record, plan, _scores(plan, load(folder, networks=own), say))


def plan_of(folder: Path, **changes: Any) -> Plan:
    """The plan of a run in a store. Raises InputError when its data are not those it was made from."""
    plan = make_plan(RunStore(folder.parent).config(folder.name).with_(**changes))
    if plan.run_id != folder.name:
        raise InputError(
            f"run {folder.name} was made from other data than {plan.config.data or plan.config.dataset} now holds, or "
            "with networks of your own: put the data back, start a new run, or use it in Python with what you have"
        )
    return plan


def evaluate(run: str, names: str, store: RunStore, *, say: Say = lambda text: None, **changes: Any) -> Record:
    """Scores a finished run by the metrics `names` and adds them to its record.

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
    scores = _scores(plan, load(folder), say)
    with store.lock(folder.name, wait=True):
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
    return {name: plan.config.importance_samples for name in SAMPLED if name in plan.metrics}
