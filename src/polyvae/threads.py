"""CPU threads: how many a command computes on, by default and for a while."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar("Result")

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of containers on Linux: microseconds of all cores per period, or max


def cores(quota: Path = QUOTA) -> int:
    """CPU cores that this process may use: by its affinity, and by the quota of its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share, period = quota.read_text().split() if quota.is_file() else ("max", "1")
    return allowed if share == "max" else max(1, min(allowed, int(share) // int(period)))


CORES = cores()
THREADS = min(CORES, torch.get_num_threads())  # by default; torch obeys OMP_NUM_THREADS


@contextmanager
def on_threads(count: int) -> Generator[None]:
    """Runs the block on `count` CPU threads, which fix the rounding of sums: what is trained inside does not depend on
    the caller's number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def steps_on_threads(count: int, taken: Generator[None, None, Result]) -> Generator[None, None, Result]:
    """Takes the steps of a generator on `count` threads each; between them, others may use other numbers."""
    try:
        while True:
            with on_threads(count):
                try:
                    next(taken)
                except StopIteration as end:
                    return end.value
            yield
    finally:
        with on_threads(count):
            taken.close()
