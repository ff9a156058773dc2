"""Where the runs of a sweep are carried out. An executor is handed a function; it knows nothing of models.

An executor is called with (function, tasks, resources, on_poll). It calls `function` on every task and yields
(task, exit status): what `function` returned, or a negative number when its process died. Tasks are pulled as workers
become free, so that their iterable may end early. `on_poll` is called twice a second with the running tasks. Closing
the generator stops the running ones. A task may run more than once: the store makes sure that a run is recorded once.
`in_turns` stands beside the table: what it calls returns a generator of steps, and all tasks are in this process.
"""

from collections.abc import Callable, Mapping
from typing import Any

from polyvae.sweeps.executors.in_turns import in_turns
from polyvae.sweeps.executors.local import local
from polyvae.sweeps.executors.on_ray import on_ray
from polyvae.sweeps.executors.on_slurm import on_slurm
from polyvae.sweeps.executors.resources import POLL_SECONDS, Resources, Results

__all__ = ["EXECUTORS", "POLL_SECONDS", "Executor", "Resources", "in_turns"]

Executor = Callable[..., Results[Any]]
EXECUTORS: Mapping[str, Executor] = {"local": local, "ray": on_ray, "slurm": on_slurm}
