"""Many runs on one store: the same command again does only what is missing."""

import time
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from polyvae import metrics, plugins
from polyvae.config import DATA_OPTIONS, RunConfig
from polyvae.errors import InputError
from polyvae.runs.evaluation import evaluation_of
from polyvae.runs.finished import lacking
from polyvae.runs.plan import Plan, make_plan, make_plans
from polyvae.runs.record import Record
from polyvae.runs.run import run_one
from polyvae.runs.store import RunStore
from polyvae.sweeps import executors
from polyvae.sweeps.executors import Resources

BUSY = 75  # exit status of a task whose run another process holds
MOST_DEATHS = 3
DEATH = "the worker process died, see its messages"


@dataclass(frozen=True)
class Watcher:
    """What a sweep tells while it goes on, and asks.

    on_prepare: each data set whose judge or critic is made, how many are done, and of how many. on_record: every
    finished run, old ones first. on_poll: twice a second the ids under way. is_stopping: once it is true, no further
    run is started.
    """

    on_prepare: Callable[[str, int, int], None] = lambda data_set, done, total: None
    on_record: Callable[[Record], None] = lambda record: None
    on_poll: Callable[[list[str]], None] = lambda running: None
    is_stopping: Callable[[], bool] = lambda: False


SILENT = Watcher()

# A judge is trained on the whole data set; a critic on the training rows of a run, as its modalities describe them.
DATA_FIELDS = ("dataset", *DATA_OPTIONS, "data", "data_dir", "data_seed", "train_size", "test_size")
TUPLE_FIELDS = ("only", "validation_fraction", "likelihood", "likelihood_scale", "modality_weights")


@dataclass(frozen=True)
class _Task:
    """What a worker process is told. plugins: files that it has to load first."""

    run_id: str
    config: RunConfig
    store: Path
    retries: bool
    plugins: tuple[str, ...]


def sweep(
    configs: Sequence[RunConfig],
    store: RunStore,
    *,
    workers: int = 1,
    executor: str = "local",
    resources: Resources | None = None,
    retry_failed: bool = False,
    watcher: Watcher = SILENT,
) -> list[Record]:
    """The records of all configs, in their order; missing ones are made, `workers` at a time, in the given order.

    Failed runs are left alone unless `retry_failed`. A run whose worker is killed starts again from its checkpoint;
    after three deaths it is recorded as failed. A run has the threads that its config says: one, by default.
    executor: local, ray or slurm; resources: what the latter two give to a run.
    watcher: is told how far it is; when it stops the sweep, only what is finished is returned.
    Raises InputError, before any run starts, if any config cannot work.
    """
    given = _checked(workers, executor, resources or Resources(), store)
    run_ids, todo = _prepare(configs, store, retry_failed, watcher)
    known: dict[str, Record] = {}  # another sweep may do a failed run again, and its record is gone for a while

    def tell(record: Record) -> None:
        known[record.run_id] = record
        watcher.on_record(record)

    for run_id in run_ids:
        if run_id not in todo and (record := store.record(run_id)) is not None:
            tell(record)
    _make(todo, store, executors.EXECUTORS[executor], given, replace(watcher, on_record=tell))
    return [known[run_id] for run_id in run_ids if run_id in known]


def work_left(plan: Plan, store: RunStore, retry_failed: bool) -> Literal["run", "score"] | None:
    """What a sweep would do for this plan: a run, metrics that the finished run lacks, or nothing."""
    record = store.record(plan.run_id)
    if record is None or not record.is_done:
        return "run" if record is None or retry_failed else None
    has_weights = (store.folder(plan.run_id) / "model.safetensors").is_file()  # where records alone are kept, no
    return "score" if has_weights and lacking(plan, record) else None


def _checked(workers: int, executor: str, resources: Resources, store: RunStore) -> Resources:
    if executor not in executors.EXECUTORS:
        raise InputError(f"no executor {executor!r}; choose {', '.join(executors.EXECUTORS)}")
    return replace(resources, workers=workers, folder=store.root)


def _prepare(
    configs: Sequence[RunConfig], store: RunStore, retry_failed: bool, watcher: Watcher
) -> tuple[list[str], dict[str, _Task]]:
    """(run ids of all, what is to do); the judges and critics that it needs are trained here, once."""
    plans = make_plans(configs)
    wanted = [plan for plan in plans if work_left(plan, store, retry_failed) is not None]
    kinds = list({_made_for(plan): plan for plan in wanted}.values())
    for done, plan in enumerate(kinds):
        modalities = plan.config.modalities
        watcher.on_prepare(plan.config.dataset + (f", {modalities} modalities" if modalities else ""), done, len(kinds))
        evaluation_of(plan)
    run_ids = list(dict.fromkeys(plan.run_id for plan in plans))
    told = (store.root.absolute(), retry_failed, plugins.loaded())
    return run_ids, {plan.run_id: _Task(plan.run_id, plan.config, *told) for plan in wanted}


def _make(
    todo: dict[str, _Task], store: RunStore, execute: executors.Executor, resources: Resources, watcher: Watcher
) -> None:
    """Runs what is to do until nothing is left, the runs that another sweep is at included."""
    deaths = dict.fromkeys(todo, 0)

    def poll(running: list[_Task]) -> None:
        watcher.on_poll([task.run_id for task in running])

    def free() -> Generator[_Task]:
        yield from (t for t in list(todo.values()) if not watcher.is_stopping() and _is_free(store, t.run_id))

    while todo and not watcher.is_stopping():
        if not any(_is_free(store, run_id) for run_id in todo):  # another sweep is at all of them
            time.sleep(executors.POLL_SECONDS)
            continue
        with closing(execute(_work, free(), resources, poll)) as results:
            for task, status in results:
                deaths[task.run_id] += status < 0
                if status == BUSY or (status < 0 and deaths[task.run_id] < MOST_DEATHS):
                    continue
                if status:
                    _record_failure(store, task, f"{DEATH} (exit status {status}; -9 may mean out of memory)")
                if (record := store.record(task.run_id)) is not None:
                    del todo[task.run_id]
                    watcher.on_record(record)


def _work(task: _Task) -> int:
    store = RunStore(task.store)
    try:
        plugins.load_all(task.plugins)
        plan = make_plan(task.config)
        if plan.run_id != task.run_id:
            raise InputError("its data or a plug-in changed while the sweep was under way; start the sweep again")
        record = run_one(plan, store, wait=False, retries=task.retries)
    except InputError as error:  # say, a damaged checkpoint: the other runs go on
        _record_failure(store, task, str(error))
        return 0
    return BUSY if record is None else 0


def _is_free(store: RunStore, run_id: str) -> bool:
    with store.lock(run_id, wait=False) as held:
        return held


def _made_for(plan: Plan) -> Hashable:
    """What the judge and critic of a plan depend on, beside what the package fixes; plans that agree share them."""
    config, needs = plan.config, frozenset(metrics.METRICS[name].needs for name in plan.metrics)
    fields = DATA_FIELDS + (TUPLE_FIELDS if "critic" in needs else ())
    seed = config.seed if config.pairing == "fresh" else None  # whose first epoch the critic learns from
    return plan.metrics, seed, *(getattr(config, field) for field in fields)


def _record_failure(store: RunStore, task: _Task, error: str) -> None:
    with store.lock(task.run_id, wait=True):
        if store.is_done(task.run_id):  # by another sweep
            return
        store.finish(Record.failed(task.run_id, task.config, error))
