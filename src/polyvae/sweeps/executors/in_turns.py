"""This process: tasks take turns, a step each, so that several of them fill one accelerator."""

import time
from collections.abc import Callable, Generator, Iterable
from itertools import islice

from polyvae.sweeps.executors.resources import POLL_SECONDS, Poll, Resources, Results, Task


def in_turns(
    steps: Callable[[Task], Generator[None, None, int]],
    tasks: Iterable[Task],
    resources: Resources,
    on_poll: Poll[Task],
) -> Results[Task]:
    """Calls `steps` on every task and takes a step of each in turn; yields (task, exit status).

    `steps` returns the exit status when it ends. Closing this closes those that are under way.
    """
    waiting, polled = iter(tasks), 0.0
    running: list[tuple[Task, Generator[None, None, int]]] = []
    try:
        while True:
            running += [(task, steps(task)) for task in islice(waiting, resources.workers - len(running))]
            if not running:
                return
            for task, taken in list(running):
                try:
                    next(taken)
                except StopIteration as end:
                    running.remove((task, taken))
                    yield task, end.value
            if time.monotonic() - polled >= POLL_SECONDS:
                on_poll([task for task, _ in running])
                polled = time.monotonic()
    finally:
        for _, taken in running:
            taken.close()
