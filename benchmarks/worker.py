"""What `run.py` and its worker processes share: the flags of a worker, and their talk: a line in asks for a block of
steps, a line out gives its seconds."""

import argparse
import sys
import time
from collections.abc import Callable


def flags(given: list[str] | None = None) -> argparse.Namespace:
    """One training step: the method, of which `peer.py` has some, and its sizes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method")
    for name, default in (("modalities", 5), ("latent", 512), ("rows", 256), ("threads", 1), ("samples", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--network", default="conv")
    parser.add_argument("--allocation", default="systematic")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--warm-up", type=int, default=2)
    return parser.parse_args(given)


def serve(step: Callable[[], None], warm_up: int) -> None:
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
