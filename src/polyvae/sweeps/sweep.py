"""Many runs on one store: the same command again does only what is missing."""

import time
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from polyvae import metrics, plugins
from polyvae.config import DATA_OPTIONS, RunConfig
from polyvae.errors import InputError, RunError
from polyvae.runs.evaluation import evaluation_of
from polyvae.runs.finished import lacking
from polyvae.runs.plan import Plan, make_plan, make_plans
from polyvae.runs.record import Record, duration
from polyvae.runs.run import DeviceLost, steps_of
from polyvae.runs.stages import stages_of
from polyvae.runs.store import RunStore
from polyvae.sweeps import costs, executors
from polyvae.sweeps.executors import Resources
from polyvae.sweeps.executors.resources import Results
from polyvae.threads import CORES
from polyvae.training.loop import exhausted, steps

BUSY, LATE, LOST = 75, 76, 77  # exit statuses: another process holds the run; time is up; the device is gone
GRACE = 30.0  # seconds after the deadline for what cannot stop at a step, such as scoring
AT_ONCE = 8  # runs that fill a GPU: sixteen do no more steps a second
MOST_DEATHS = 3


@dataclass(frozen=True)
class Watcher:
    """What a sweep reports while it runs, and what it asks.

    on_prepare: each data set whose judge or critic is made, how many are done, and of how many. on_record: every
    finished run, old ones first. on_poll: twice a second the ids under way. is_stopping: once it is true, no further
    run is started. on_note: what the user should know of the sweep itself.
    """

    on_prepare: Callable[[str, int, int], None] = lambda data_set, done, total: None
    on_record: Callable[[Record], None] = lambda record: None
    on_poll: Callable[[list[str]], None] = lambda running: None
    is_stopping: Callable[[], bool] = lambda: False
    on_note: Callable[[str], None] = lambda text: None


SILENT = Watcher()

# A judge is trained on the whole data set; a critic on the training rows of a run, as its modalities describe them.
DATA_FIELDS = ("dataset", *DATA_OPTIONS, "data", "data_dir", "data_seed", "train_size", "test_size")
TUPLE_FIELDS = ("only", "validation_fraction", "likelihood", "library", "likelihood_scale", "modality_weights")


@dataclass(frozen=True)
class _Task:
    """What a worker process is given.

    chosen, tried: as in the `Plan` that chose them. plugins: files that it has to load first. deadline: as `time.time`
    counts.
    """

    run_id: str
    config: RunConfig
    chosen: Mapping[str, Any]
    tried: Mapping[str, Any]
    store: Path
    retries: bool
    plugins: tuple[str, ...]
    deadline: float | None


class _TimeIsUp(Exception):
    """The deadline is past, and what cannot stop at a step has had its time."""


def sweep(
    configs: Sequence[RunConfig | Plan],
    store: RunStore,
    *,
    workers: int | None = 1,
    executor: str = "local",
    resources: Resources | None = None,
    minutes: float | None = None,
    retry_failed: bool = False,
    watcher: Watcher = SILENT,
) -> list[Record]:
    """The records of all configs, in their order; missing ones are made, `workers` at a time, in the given order.

    Failed runs are left alone unless `retry_failed`. A run whose worker is killed starts again from its checkpoint;
    after three deaths it is recorded as failed. A run has the threads that its config says: one, by default.
    workers: None for as many as fill this machine: its GPU, or two CPU cores. On a GPU they take turns in one process.
    executor: local, ray or slurm; resources: what the latter two give to a run.
    minutes: after which the sweep ends. No run is started that would not end by then, as far as finished runs of the
    store tell; those under way leave checkpoints.
    watcher: is told how far it is; when it stops the sweep, only what is finished is returned.
    Raises InputError, before any run starts, if any config cannot work.
    """
    deadline = None if minutes is None else time.time() + 60 * minutes
    if executor not in executors.EXECUTORS:
        raise InputError(f"no executor {executor!r}; choose {', '.join(executors.EXECUTORS)}")
    plans = make_plans(configs)
    is_shared = executor == "local" and _share_a_gpu(plans)
    wanted = [plan for plan in plans if work_left(plan, store, retry_failed) is not None]
    count = workers if workers is not None else _fill(wanted) if is_shared else min(2, CORES)
    given = replace(resources or Resources(), workers=count, folder=store.root)
    _make_judges(wanted, watcher)
    run_ids = list(dict.fromkeys(plan.run_id for plan in plans))
    told = (store.root.absolute(), retry_failed, plugins.loaded(), deadline)
    todo = {plan.run_id: _Task(plan.run_id, plan.config, plan.chosen, plan.tried, *told) for plan in wanted}
    cost = {} if minutes is None else _costs(todo, store)
    known: dict[str, Record] = {}  # another sweep may do a failed run again, and its record is gone for a while

    def tell(record: Record) -> None:
        known[record.run_id] = record
        watcher.on_record(record)

    for run_id in run_ids:
        if run_id not in todo and (record := store.record(run_id)) is not None:
            tell(record)
    how = partial(executors.in_turns, _steps) if is_shared else partial(executors.EXECUTORS[executor], _work)
    queue = _Queue(todo, cost, store, how, given, deadline, replace(watcher, on_record=tell))
    if minutes is not None and todo:
        _check_time(queue, minutes)
    queue.run()
    return [known[run_id] for run_id in run_ids if run_id in known]


def work_left(plan: Plan, store: RunStore, retry_failed: bool) -> Literal["run", "score"] | None:
    """What a sweep would do for this plan: a run, metrics that the finished run lacks, or nothing."""
    record = store.record(plan.run_id)
    if record is None or not record.is_done:
        return "run" if record is None or retry_failed else None
    has_weights = (store.folder(plan.run_id) / "model.safetensors").is_file()  # where records alone are kept, no
    return "score" if has_weights and lacking(plan, record) else None


def _make_judges(plans: Sequence[Plan], watcher: Watcher) -> None:
    """Trains the judges and critics that the plans need, once, until the watcher stops the sweep."""
    kinds = list({_made_for(plan): plan for plan in plans}.values())
    for done, plan in enumerate(kinds):
        if watcher.is_stopping():
            return
        modalities = plan.config.modalities
        watcher.on_prepare(plan.config.dataset + (f", {modalities} modalities" if modalities else ""), done, len(kinds))
        evaluation_of(plan)


def _share_a_gpu(plans: Sequence[Plan]) -> bool:
    return all(plan.device.type == "cuda" for plan in plans)


def _fill(plans: Sequence[Plan]) -> int:
    """How many runs like the first one fill its GPU: as many as its memory holds, at most eight."""
    if not plans:
        return 1
    plan = plans[0]
    torch.cuda.reset_peak_memory_stats(plan.device)
    before = torch.cuda.memory_allocated(plan.device)
    try:
        model = plan.build()
        with TemporaryDirectory() as folder:
            taken = steps(model, stages_of(plan, model), plan.rows_at, None, plan.config, Path(folder))
            with closing(taken):
                next(taken)
    except (torch.OutOfMemoryError, RunError):  # its record will say so
        return 1
    torch.cuda.empty_cache()  # what PyTorch keeps for later counts as taken
    asked = 2 * (torch.cuda.max_memory_allocated(plan.device) - before)  # a captured step keeps what it takes
    there, _ = torch.cuda.mem_get_info(plan.device)
    return max(1, min(AT_ONCE, int(there // max(1, asked))))


def _costs(todo: dict[str, _Task], store: RunStore) -> dict[str, float]:
    """Seconds that each run is expected to take; empty where nothing is known of this machine."""
    expected = costs.estimate([task.config for task in todo.values()], store.records(lambda damage: None))
    return {} if expected is None else dict(zip(todo, expected, strict=True))


def _check_time(queue: "_Queue", minutes: float) -> None:
    """Reports which runs take longer than there is time. Raises InputError if all of them do."""
    long = [run_id for run_id in queue.todo if not queue.ends_within(60 * minutes, run_id)]
    if len(long) == len(queue.todo):
        shortest = min(queue.cost.values())
        raise InputError(
            f"--minutes {minutes:g} is too short for any run: the shortest takes about {duration(shortest)} here; "
            f"use --minutes {ceil(1.2 * shortest / 60)}"
        )
    if long:
        queue.watcher.on_note(f"runs that take longer than --minutes {minutes:g}, and wait: {len(long)}")


@dataclass
class _Queue:
    """What is left to do, and how it is done.

    cost: seconds that a run is expected to take, where that is known. resources: with fewer workers after a run that
    ran out of memory.
    """

    todo: dict[str, _Task]
    cost: dict[str, float]
    store: RunStore
    execute: Callable[..., Results[_Task]]
    resources: Resources
    deadline: float | None
    watcher: Watcher

    def run(self) -> None:
        """Runs what is to do until nothing is left that can end in time, including the runs of another sweep."""
        self.deaths = dict.fromkeys(self.todo, 0)
        while (fitting := list(filter(self._fits, self.todo))) and not self._is_ending():
            if not any(_is_free(self.store, run_id) for run_id in fitting):  # another sweep has all of them
                time.sleep(executors.POLL_SECONDS)
                continue
            with suppress(_TimeIsUp), closing(self.execute(self._free(), self.resources, self._poll)) as results:
                for task, status in results:
                    if not self._settle(task, status):
                        break  # those under way leave checkpoints

    def _settle(self, task: _Task, status: int) -> bool:
        """Takes a run that is done off the list. Returns whether the others may go on as they are."""
        self.deaths[task.run_id] += status < 0
        if status == LOST:
            raise RunError("the GPU no longer answers; what is finished is in the store, the others have checkpoints")
        if status in (BUSY, LATE) or (status < 0 and self.deaths[task.run_id] < MOST_DEATHS):
            return True
        if status:
            ended, hint = ("process died", "; -9 may mean out of memory") if status < 0 else ("failed", "")
            error = f"the worker {ended}, see its messages (exit status {status}{hint})"
            _record_failure(self.store, task, error)
        if (record := self.store.record(task.run_id)) is None:
            return True
        if record.is_out_of_memory and self.resources.workers > 1:
            self.resources = replace(self.resources, workers=self.resources.workers // 2)
            self.todo[task.run_id] = replace(task, retries=True)
            self.watcher.on_note(f"{task.run_id} ran out of memory; going on with {self.resources.workers} at a time")
            return False
        del self.todo[task.run_id]
        self.watcher.on_record(record)
        return True

    def _free(self) -> Generator[_Task]:
        for run_id, task in list(self.todo.items()):
            if not self._is_ending() and self._fits(run_id) and _is_free(self.store, run_id):
                yield task

    def ends_within(self, seconds: float, run_id: str) -> bool:
        """Whether a run is expected to take no longer. What has begun before may always go on."""
        return self.cost.get(run_id, 0.0) <= seconds or (self.store.folder(run_id) / "checkpoint").is_dir()

    def _fits(self, run_id: str) -> bool:
        """Whether a run may start now."""
        return self.deadline is None or self.ends_within(self.deadline - time.time(), run_id)

    def _poll(self, running: list[_Task]) -> None:
        self.watcher.on_poll([task.run_id for task in running])
        if self._is_late(GRACE):
            raise _TimeIsUp

    def _is_ending(self) -> bool:
        return self.watcher.is_stopping() or self._is_late()

    def _is_late(self, grace: float = 0.0) -> bool:
        return self.deadline is not None and time.time() > self.deadline + grace


def _work(task: _Task) -> int:
    """Makes a run, or scores it by more metrics; returns the exit status."""
    return exhausted(_steps(task))


def _steps(task: _Task) -> Generator[None, None, int]:
    """`_work`, a training step at a time."""
    store = RunStore(task.store)
    try:
        plugins.load_all(task.plugins)
        plan = make_plan(task.config)  # which leaves the data nothing to choose
        plan = replace(plan, chosen=task.chosen, tried=task.tried)
        if plan.run_id != task.run_id:
            raise InputError("its data or a plug-in changed while the sweep was under way; start the sweep again")
        taken = steps_of(plan, store, wait=False, retries=task.retries)
        for _ in taken:
            if task.deadline is not None and time.time() > task.deadline:
                taken.close()
                return LATE
            yield
    except InputError as error:  # say, a damaged checkpoint: the other runs go on
        _record_failure(store, task, str(error))
        return 0
    except DeviceLost:
        return LOST
    return BUSY if store.record(task.run_id) is None else 0


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
