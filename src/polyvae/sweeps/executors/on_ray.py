"""Ray: one machine or a cluster, with fractions of CPUs and GPUs for each run. Needs the extra [ray]."""

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Any

from polyvae.errors import InputError
from polyvae.sweeps.executors.resources import DIED, POLL_SECONDS, Function, Poll, Resources, Results, Task

OBJECTS = 100 * 2**20  # bytes of Ray's object store: tasks are small and results are exit statuses


def on_ray(function: Function[Task], tasks: Iterable[Task], resources: Resources, on_poll: Poll[Task]) -> Results[Task]:
    """Calls `function` on every task in a Ray worker of its own (see the package for the contract).

    A worker that dies is not restarted by Ray: the sweep does that, as it does for local processes.
    Raises InputError when Ray is not installed or there is no cluster at the address.
    """
    ray = _started(resources)
    remote: Any = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=0, max_calls=1)(function)
    waiting, running = iter(tasks), {}
    try:
        while True:
            for task in islice(waiting, resources.workers - len(running)):
                running[remote.remote(task)] = task
            if not running:
                return
            done, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            on_poll(list(running.values()))
            for reference in done:
                yield running.pop(reference), _status(ray, reference)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _status(ray: Any, reference: Any) -> int:
    try:
        return int(ray.get(reference))
    except ray.exceptions.RayTaskError:  # the function itself raised; a process would end with 1
        return 1
    except ray.exceptions.RayError:  # killed, out of memory, or its node is gone
        return DIED


def _started(resources: Resources) -> Any:
    try:
        import ray
    except ImportError:
        raise InputError("--executor ray needs Ray: pip install 'polyvae[ray]'") from None
    where: dict[str, Any] = {"address": resources.address}
    if resources.address is None:
        count = max(1, round(resources.workers * resources.cpus))
        where = {"address": "local", "num_cpus": count, "object_store_memory": OBJECTS}
    try:
        ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--address {resources.address}: {reason}; leave it out to use this machine") from error
    return ray
