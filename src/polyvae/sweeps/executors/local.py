"""Processes of this machine, each at one task at a time, so that one that dies takes no other task with it."""

import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import spawn
from multiprocessing.connection import Connection, wait

from polyvae.errors import RunError
from polyvae.sweeps.executors import worker
from polyvae.sweeps.executors.resources import DIED, POLL_SECONDS, Function, Poll, Resources, Results, Task

WORKING_SECONDS = 300.0  # of a worker, before the next task gets a new one: memory is given back, a start is 1 % of it


class _Worker:
    """A process that lives on between tasks, and no longer than this one."""

    def __init__(self, function: Function[Task]) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        with theirs, _deaf_to_ctrl_c():
            command = [sys.executable, "-P", worker.__file__, str(theirs.fileno())]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        self.started = time.monotonic()
        state = spawn.get_preparation_data(worker.NAME)
        del state["authkey"]  # of managers, which no task has
        self.tell(state)
        self.tell(function)

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.started < WORKING_SECONDS

    def tell(self, what: object) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: `status` says so
            self.connection.send(what)

    def status(self) -> tuple[int, bool]:
        """(exit status of the task, whether the worker lives on), once there is something to read."""
        try:
            return self.connection.recv(), True
        except (EOFError, ConnectionResetError):
            return self.process.wait() or DIED, False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()


def local(function: Function[Task], tasks: Iterable[Task], resources: Resources, on_poll: Poll[Task]) -> Results[Task]:
    """Calls `function` on every task in another process; yields (task, exit status), negative for a signal.

    A worker takes the next task as soon as it has ended one, with what it has imported and loaded, until it has worked
    for `WORKING_SECONDS`. All have ended when this ends; they also end when this process is killed.
    """
    if multiprocessing.current_process().name == worker.NAME:
        raise RunError(
            'a script that starts a sweep is imported by its workers: put the call under if __name__ == "__main__"'
        )
    waiting, polled = iter(tasks), time.monotonic()
    idle: list[_Worker] = []
    running: dict[Connection, tuple[_Worker, Task]] = {}
    try:
        while True:
            for task in islice(waiting, resources.workers - len(running)):
                member = idle.pop() if idle else _Worker(function)
                running[member.connection] = member, task
                member.tell(task)
            if not running:
                return
            ready = wait(list(running), timeout=POLL_SECONDS)
            if time.monotonic() - polled >= POLL_SECONDS:
                on_poll([task for _, task in running.values()])
                polled = time.monotonic()
            for connection in [c for c in running if c in ready]:
                member, task = running.pop(connection)
                status, is_alive = member.status()
                if is_alive and member.is_fresh:
                    idle.append(member)
                else:
                    member.stop()
                yield task, status
    finally:
        for member in (*idle, *(member for member, _ in running.values())):
            member.stop()


@contextmanager
def _deaf_to_ctrl_c() -> Generator[None]:
    """What is started inside never hears Ctrl-C: this process does, and stops it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
