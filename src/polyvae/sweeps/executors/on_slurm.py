"""Slurm, by submitit: each run is a job. Needs the extra [slurm]."""

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from polyvae.errors import InputError
from polyvae.sweeps.executors.resources import DIED, POLL_SECONDS, Function, Poll, Resources, Results, Task


def on_slurm(
    function: Function[Task], tasks: Iterable[Task], resources: Resources, on_poll: Poll[Task]
) -> Results[Task]:
    """Calls `function` on every task in a Slurm job of its own, `workers` in the queue at a time.

    Nodes must see the store under the same path. Raises InputError when submitit is not installed or there is no Slurm.
    """
    submit = _queue(resources).submit
    waiting, running = iter(tasks), []
    try:
        while True:
            # one by one, so that those that were submitted are known when one cannot be
            running.extend((submit(function, task), task) for task in islice(waiting, resources.workers - len(running)))
            if not running:
                return
            time.sleep(POLL_SECONDS)
            on_poll([task for _, task in running])
            ended = [pair for pair in running if pair[0].done()]
            running = [pair for pair in running if pair not in ended]
            for job, task in ended:
                yield task, _status(job)
    finally:
        for job, _ in running:
            job.cancel()


def _status(job: Any) -> int:
    """What the function returned; jobs that ended without a result died, those with an exception end with 1."""
    try:
        error = job.exception()
    except OSError:
        return DIED
    if error is None:
        return int(job.result())
    return 1 if type(error).__name__ == "FailedJobError" else DIED


def _queue(resources: Resources) -> Any:
    try:
        import submitit
    except ImportError:
        raise InputError("--executor slurm needs submitit: pip install 'polyvae[slurm]'") from None
    try:
        queue = submitit.AutoExecutor(folder=resources.folder / ".slurm", cluster=resources.cluster)
    except RuntimeError as error:
        raise InputError(f"--executor slurm: {error}; use local or ray here") from error
    asked = {"slurm_partition": resources.partition, "timeout_min": resources.minutes}
    queue.update_parameters(
        name="polyvae",
        cpus_per_task=max(1, round(resources.cpus)),
        gpus_per_node=round(resources.gpus),
        **{key: value for key, value in asked.items() if value is not None},
    )
    return queue
