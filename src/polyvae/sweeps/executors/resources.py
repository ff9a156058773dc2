"""What every executor is told, how often it looks, and what it yields."""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from polyvae.errors import InputError

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

    def __post_init__(self) -> None:
        """Raises InputError, naming the flag."""
        for name, holds, wording in (
            ("workers", self.workers >= 1, "at least 1"),
            ("cpus", 0 < self.cpus < math.inf, "a finite number above 0"),
            ("gpus", 0 <= self.gpus < math.inf, "a finite number, at least 0"),
            ("minutes", self.minutes is None or self.minutes >= 1, "at least 1"),
        ):
            if not holds:
                raise InputError(f"--{name} is {getattr(self, name)}; it must be {wording}")
