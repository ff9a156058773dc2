"""Where the runs of a sweep are carried out. An executor is handed a function; it knows nothing of models."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

Task = TypeVar("Task")
POLL_SECONDS = 0.5


def local(
    function: Callable[[Task], int],
    tasks: Sequence[Task],
    workers: int,
    on_poll: Callable[[list[Task]], None] = lambda running: None,
) -> Generator[tuple[Task, int]]:
    """Calls `function` on every task in a process of its own, `workers` at a time; yields (task, exit status).

    The exit status is what `function` returns, or negative: the signal that killed the process. A fresh process a
    task means that one that dies takes no other with it and leaves no memory behind; a fork server that has
    already imported polyvae makes them cheap. `on_poll` is called twice a second with the running tasks.
    Closing the generator stops the running processes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["polyvae.benchmark"])
    waiting = list(tasks)
    running: list[tuple[BaseProcess, Task]] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task = waiting.pop(0)
                process = context.Process(target=_call, args=(function, task))
                process.start()
                running.append((process, task))
            wait([process.sentinel for process, _ in running], timeout=POLL_SECONDS)
            on_poll([task for _, task in running])
            ended = [pair for pair in running if not pair[0].is_alive()]
            running = [pair for pair in running if pair[0].is_alive()]
            for process, task in ended:
                process.join()
                yield task, process.exitcode or 0
    finally:
        _stop([process for process, _ in running])


def _call(function: Callable[[Task], int], task: Task) -> None:
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
