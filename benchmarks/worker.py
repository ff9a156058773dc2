"""The talk between `run.py` and a worker process: a line in asks for a block of steps, a line out gives its seconds."""

import sys
import time
from collections.abc import Callable


def serve(step: Callable[[], None], warm_up: int = 2) -> None:
    """Warms up, says so, then for every number that comes in does that many steps and prints the seconds a step."""
    for _ in range(warm_up):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        count = int(line)
        started = time.perf_counter()
        for _ in range(count):
            step()
        print((time.perf_counter() - started) / count, flush=True)
