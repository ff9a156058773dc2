"""Processes of this machine: one per task, so that one that dies takes no other with it."""

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterable
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from polyvae.sweeps.executors.resources import POLL_SECONDS, Function, Poll, Resources, Results, Task

SLOW = ("torch._dynamo",)  # which the first step of an optimiser imports, for a second and a half


def local(function: Function[Task], tasks: Iterable[Task], resources: Resources, on_poll: Poll[Task]) -> Results[Task]:
    """Calls `function` on every task in a process of its own; yields (task, exit status), negative for a signal.

    A fresh process per task leaves no memory behind; a fork server that has imported what this process has of polyvae
    makes them cheap.
    """
    context = multiprocessing.get_context("forkserver")
    ours = [name for name in sys.modules if name.split(".")[0] == "polyvae"]
    context.set_forkserver_preload([*ours, *SLOW])
    waiting = iter(tasks)
    running: list[tuple[BaseProcess, Task]] = []
    try:
        while True:
            for task in islice(waiting, resources.workers - len(running)):
                process = context.Process(target=_call, args=(function, task))
                process.start()
                running.append((process, task))
            if not running:
                return
            wait([process.sentinel for process, _ in running], timeout=POLL_SECONDS)
            on_poll([task for _, task in running])
            ended = [pair for pair in running if not pair[0].is_alive()]
            running = [pair for pair in running if pair[0].is_alive()]
            for process, task in ended:
                process.join()
                yield task, process.exitcode or 0
    finally:
        _stop([process for process, _ in running])


def _call(function: Function[Task], task: Task) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and stops us
    raise SystemExit(function(task))


def _stop(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + 5
    for process in processes:
        process.join(max(0.1, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
