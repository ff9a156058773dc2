"""Many runs on one store: the same command again does only what is missing."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyvae import executors
from polyvae.benchmark import prepare, run_one
from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.plan import Plan, make_plan
from polyvae.store import Record, RunStore

BUSY = 75  # exit status of a task whose run another process holds
MOST_DEATHS = 3
OnRecord = Callable[[Record], None]
OnPoll = Callable[[list[str]], None]


@dataclass(frozen=True)
class _Task:
    """What a worker process is told."""

    run_id: str
    config: RunConfig
    store: Path
    retries: bool


def sweep(
    configs: Sequence[RunConfig],
    store: RunStore,
    *,
    workers: int = 1,
    retry_failed: bool = False,
    on_record: OnRecord = lambda record: None,
    on_poll: OnPoll = lambda running: None,
) -> list[Record]:
    """The records of all configs, in their order; missing ones are made by `workers` processes.

    Failed runs are left alone unless `retry_failed`. A run whose worker is killed starts again from its checkpoint;
    after three deaths it is recorded as failed. Cores are shared among the workers.
    on_record: called when a run has finished. on_poll: called twice a second with the run ids under way.
    Raises InputError, before any run starts, if any config cannot work.
    """
    if workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
    threads = max(1, (os.cpu_count() or 1) // workers)
    plans = [make_plan(c if c.threads else c.with_(threads=threads)) for c in configs]
    run_ids = list(dict.fromkeys(plan.run_id for plan in plans))
    todo = {
        p.run_id: _Task(p.run_id, p.config, store.root, retry_failed)
        for p in plans
        if _is_wanted(store, p, retry_failed)
    }
    for plan in _one_per_data_set([p for p in plans if p.run_id in todo]):
        prepare(plan)
    deaths = dict.fromkeys(todo, 0)

    def poll(running: list[_Task]) -> None:
        on_poll([task.run_id for task in running])

    while todo:
        for task, status in executors.local(_work, list(todo.values()), workers, poll):
            if status == BUSY:
                continue
            if status:
                deaths[task.run_id] += 1
                if status < 0 and deaths[task.run_id] < MOST_DEATHS:
                    continue
                _record_death(store, task, status)
            del todo[task.run_id]
            on_record(_finished(store, task.run_id))
        if todo:
            time.sleep(executors.POLL_SECONDS)
    return [_finished(store, run_id) for run_id in run_ids]


def _work(task: _Task) -> int:
    record = run_one(make_plan(task.config), RunStore(task.store), wait=False, retries=task.retries)
    return BUSY if record is None else 0


def _is_wanted(store: RunStore, plan: Plan, retry_failed: bool) -> bool:
    record = store.record(plan.run_id)
    return record is None or (record["status"] == "failed" and retry_failed)


def _one_per_data_set(plans: Sequence[Plan]) -> list[Plan]:
    return list({_data_key(plan.config): plan for plan in plans}.values())


def _finished(store: RunStore, run_id: str) -> Record:
    record = store.record(run_id)
    if record is None:
        raise InputError(f"the record of {run_id} has vanished from {store.root}; run the sweep again")
    return record


def _record_death(store: RunStore, task: _Task, status: int) -> None:
    with store.lock(task.run_id, wait=True):
        store.finish(
            {
                "run_id": task.run_id,
                "config": task.config.to_dict(),
                "status": "failed",
                "error": f"the worker process died (exit status {status}; -9 may mean out of memory), see its messages",
                "metrics": {},
                "notes": {},
                "seconds": {},
                "environment": {},
                "resolved": {},
            }
        )


def _data_key(config: RunConfig) -> tuple[object, ...]:
    return config.dataset, config.modalities, config.scale, config.background, config.data_dir
