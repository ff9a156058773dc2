"""The command that does many runs."""

import math
import shlex
import signal
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from types import FrameType
from typing import Annotated, Any, Literal

import torch
import tyro

from polyvae.cli.common import STORE, Log, Quiet, Store, left_out, say, show, table_of
from polyvae.cli.progress import SweepTable
from polyvae.config import OWN, RunConfig
from polyvae.errors import InputError, RunError
from polyvae.paper import experiments
from polyvae.runs import upkeep
from polyvae.runs.live import live
from polyvae.runs.plan import Plan, make_plans
from polyvae.runs.record import Record, duration
from polyvae.runs.store import RunStore
from polyvae.runs.trackers import library_of
from polyvae.sweeps import costs
from polyvae.sweeps.executors import Resources
from polyvae.sweeps.sweep import AT_ONCE, Watcher, sweep, work_left
from polyvae.threads import CORES

STOPPING = "stopping: the current runs will be finished, and no other is started; Ctrl-C again stops at once"


def sweep_command(
    experiment: Annotated[str, tyro.conf.Positional],
    *,
    store: Store = STORE,
    preset: str | None = None,
    where: str | None = None,
    workers: int | Literal["auto"] = "auto",
    minutes: float | None = None,
    executor: Literal["local", "ray", "slurm"] = "local",
    cpus: float = 1,
    gpus: float = 0,
    address: str | None = None,
    partition: str | None = None,
    job_minutes: int | None = None,
    order: Literal["longest", "listed"] = "longest",
    data_dir: str | None = None,
    threads: int | None = None,
    log: Log = None,
    retry_failed: bool = False,
    dry_run: bool = False,
    quiet: Quiet = False,
) -> None:
    """Do all runs of an experiment that are not in the store yet. Repeating the command resumes.

    Ctrl-C once finishes the current runs and starts no other. Ctrl-C twice stops at once; the runs later resume from
    their checkpoints. Several sweeps may share one store.

    Args:
        experiment: A name (quick, fig02_quality_vs_beta, ...; an unknown name lists all) or a .py file that defines
            configs() -> list[RunConfig].
        preset: Size of an experiment that has several: cpu (minutes per run; the default), gpu_small or gpu (for one
            large GPU), or paper (as published).
        where: SQL condition on settings that selects runs, such as "method = 'mopoe' AND beta <= 1".
        workers: Number of runs at a time. On CPU cores, each run has its own process; on a GPU, the runs take turns in
            one process. auto: two on two or more cores, since two runs of one thread beat one run of two; on a GPU, as
            many as its memory holds, at most eight.
        minutes: Stop after this time. No run is started that could not finish by then. Unfinished runs leave
            checkpoints, from which the same command resumes.
        executor: local: this machine; ray: Ray, here or on a cluster; slurm: one Slurm job per run.
        cpus: CPUs per run on Ray or Slurm (--threads sets the threads); Ray takes fractions.
        gpus: GPUs per run on Ray or Slurm; Ray takes fractions, such as .25 for four runs on one GPU.
        threads: CPU threads of each run; a different number gives a different run. Default: the experiment's, mostly 1.
        address: Address of a Ray cluster (auto, or HOST:PORT). Default: this machine.
        partition: Slurm partition.
        job_minutes: Time limit of a Slurm job. Default: submitit's.
        order: longest: longest runs first, so that no long run starts last; listed: in the order of the experiment.
        data_dir: Folder that holds mnist/ and other data, for all runs.
        retry_failed: Repeat failed runs.
        dry_run: Only list the runs and estimate their time and disk space.
    """
    place = RunStore(store)
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"--minutes is {minutes:g}; it must be a finite number above 0")
    if log is not None:
        library_of(log, "--log")  # before anything else is done
    count = None if workers == "auto" and executor == "local" else 1 if workers == "auto" else workers
    fitting = AT_ONCE if torch.cuda.is_available() else min(2, CORES)
    expected = fitting if count is None else count
    given = {name: value for name, value in (("data_dir", data_dir), ("threads", threads)) if value is not None}
    by_config = {plan.config: plan for plan in make_plans(_configs(experiment, preset, where, given))}
    configs = list(by_config)
    known = place.records(left_out)
    if order == "longest":
        configs = costs.longest_first(configs, known)
    plans = [by_config[config] for config in configs]
    resources = Resources(expected, cpus, gpus, address, partition, job_minutes)
    if dry_run:
        _show(plans, place, expected, retry_failed, is_for_gpu=(preset or "").startswith("gpu"))
        return
    with SweepTable(place, configs, expected, quiet) as display, _interruptible(display.say) as stopping:
        watcher = Watcher(display.prepare, display.finished, display.poll, stopping.is_set, display.say)
        with _logging(watcher, log, place, known) as watching:
            records = sweep(
                plans,
                place,
                workers=count,
                executor=executor,
                resources=resources,
                minutes=minutes,
                retry_failed=retry_failed,
                watcher=watching,
            )
    _check_ended(records, is_stopped=stopping.is_set())
    if len(records) < len(configs):
        say(_time_is_up(configs, records, expected))
    elif not quiet:
        say(f"{len(records)} runs done in {store}; see them with: polyvae report --store {shlex.quote(str(store))}")


def _check_ended(records: Sequence[Record], *, is_stopped: bool) -> None:
    """Raises RunError for failed runs, and KeyboardInterrupt for a sweep that was stopped."""
    if failed := [record for record in records if not record.is_done]:
        lines = "\n".join(f"  {record.run_id}: {record.error}" for record in failed)
        others = "stopped; the same command resumes" if is_stopped else "the others are finished"
        raise RunError(f"{len(failed)} of {len(records)} runs failed ({others}):\n{lines}")
    if is_stopped:
        raise KeyboardInterrupt


def _time_is_up(configs: Sequence[RunConfig], records: Sequence[Record], workers: int) -> str:
    """How many runs are left, and for how long."""
    seconds, left = costs.left(configs, records), len(configs) - len(records)
    how_long = "" if seconds is None else f" (about {duration(seconds / workers)} with {workers} at a time)"
    return f"time is up: {len(records)} runs done, {left} left{how_long}; the same command resumes"


def _configs(experiment: str, preset: str | None, where: str | None, given: Mapping[str, Any]) -> list[RunConfig]:
    """The runs that are asked for."""
    configs = experiments.configs_of(experiment, preset)
    if where is not None:
        from polyvae.runs import table  # here: SQL is rarely asked for, and polars starts slowly

        configs = table.configs_where(configs, where)
    return [config.with_(**given) for config in configs]


@contextmanager
def _logging(watcher: Watcher, log: str | None, store: RunStore, known: Sequence[Record]) -> Generator[Watcher]:
    """The watcher, through which a tracker also hears of the runs, if one was asked for; not of those known before."""
    if log is None:
        yield watcher
        return
    before = {record.run_id: record for record in known}
    with live(log, store, watcher.on_note) as told:

        def on_record(record: Record) -> None:
            watcher.on_record(record)
            if before.get(record.run_id) != record:
                told.finished(record)

        def on_poll(running: list[str]) -> None:
            watcher.on_poll(running)
            told.poll(running)

        yield replace(watcher, on_record=on_record, on_poll=on_poll)


@contextmanager
def _interruptible(say: Callable[[str], None]) -> Generator[Event]:
    """An event that the first Ctrl-C sets; the second, or SIGTERM, raises KeyboardInterrupt, which ends the workers."""
    stopping = Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stopping.is_set() or number == signal.SIGTERM:
            raise KeyboardInterrupt
        stopping.set()
        say(STOPPING)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(plans: Sequence[Plan], store: RunStore, workers: int, retry_failed: bool, *, is_for_gpu: bool) -> None:
    """Prints the plan: one row per run, then the time and disk space still needed, as estimated from finished runs."""
    known = {record.run_id: record for record in store.records(left_out)}
    left = {plan.run_id: work for plan in plans if (work := work_left(plan, store, retry_failed))}
    by_id = {plan.run_id: plan.config for plan in plans}
    is_on_cpu = all(plan.device.type == "cpu" for plan in plans)
    seconds, source = _expected(list(by_id.values()), known.values(), is_on_cpu=is_on_cpu and not is_for_gpu)
    expected = dict(zip(by_id, seconds, strict=True))
    expected |= {run_id: known[run_id].seconds.get("evaluate") for run_id, work in left.items() if work == "score"}
    shown = table_of("run", "state", "expected")
    for run_id, cost in expected.items():
        state = known[run_id].status if run_id in known else "to do"
        state += ", needs more metrics" * (left.get(run_id) == "score")
        shown.add_row(run_id, state, "?" if cost is None else duration(cost))
    show(shown)
    todo = [by_id[run_id] for run_id, work in left.items() if work == "run"]
    costs_left = [cost for run_id in left if (cost := expected[run_id]) is not None]
    time = duration(sum(costs_left) / workers) if any(seconds) else "unknown until a run is done"
    if any(seconds) and source:
        missing = len(left) - len(costs_left)
        time += f", estimated from {source}" + (f" ({missing} runs without an estimate)" if missing else "")
    if not any(seconds) and is_for_gpu and (on_gpu := costs.estimate_on_gpu(todo)) is not None:
        time = f"about {duration(on_gpu)} on one H200, from step times measured there"
    if any(plan.config.dataset != OWN and plan.run_id in left for plan in plans):
        time += "; before that, each data set is prepared once, with its judge or critic: about a minute"
    with_models = [path.parent for run_id in known if (path := store.folder(run_id) / "model.safetensors").is_file()]
    folders, runs = with_models[:50], sum(work == "run" for work in left.values())
    size = sum(map(upkeep.size, folders)) / len(folders) * runs / 1e6 if folders else None
    disk = "unknown" if size is None else f"{size:,.0f} MB"
    say(f"{len(by_id)} runs, {len(left)} to do; time with {workers} at a time: {time}; disk: {disk}")


def _expected(
    configs: Sequence[RunConfig], known: Iterable[Record], *, is_on_cpu: bool
) -> tuple[Sequence[float | None], str]:
    """(seconds of each run, what they are estimated from if not from runs of this store)."""
    if (seconds := costs.estimate(configs, known)) is not None:
        return seconds, ""
    if not is_on_cpu:
        return [None] * len(configs), ""
    there = costs.estimate_elsewhere(configs)
    scaled = sum(s is not None and not m for s, m in zip(there.seconds, there.is_measured, strict=True))
    how = f", scaled for {scaled} of {len(configs)} runs" if scaled else ""
    return there.seconds, f"runs on {there.machine}{how}"
