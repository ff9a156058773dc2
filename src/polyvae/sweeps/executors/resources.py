"""What every executor is told, how often it looks, and what it yields."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Task = TypeVar("Task")
POLL_SECONDS = 0.5
DIED = -9  # exit status of a task whose worker was lost, whatever killed it
Function = Callable[[Task], int]
Poll = Callable[[list[Task]], None]
Results = Generator[tuple[Task, int]]


@dataclass(frozen=True)
class Resources:
    """workers: runs at a time. cpus, gpus: of one run (Ray takes fractions, so that runs share a GPU).

    address: of a Ray cluster (None: this machine). partition, minutes: of Slurm jobs, None for its defaults.
    cluster: where submitit sends jobs: slurm, or local processes. folder: for an executor's own files.
    """

    workers: int = 1
    cpus: float = 1
    gpus: float = 0
    address: str | None = None
    partition: str | None = None
    minutes: int | None = None
    cluster: str = "slurm"
    folder: Path = Path()
