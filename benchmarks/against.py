"""Does this checkout train slower on a CPU than another one? python benchmarks/against.py OTHER_CHECKOUT

CPU seconds of short runs (MoPoE, MMVAE, MVAE+; conv_half, three modalities, batch 64, 90 steps, one thread), in
alternation, this one over the other: median and range of the ratio over blocks.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

METHODS = ("mopoe", "mmvae", "mvae_plus")
BLOCKS = 5
WORKER = """
import sys, tempfile, time
from polyvae import RunConfig, run
base = RunConfig(dataset="polymnist", modalities=3, network="conv_half", latent_dim=96, batch_size=64, epochs=1,
                 train_size=64 * 90, test_size=20, metrics="none", threads=1)
for line in sys.stdin:
    started = time.process_time()
    with tempfile.TemporaryDirectory() as store:
        run(base.with_(method=line.strip()), store)
    print(time.process_time() - started, flush=True)
"""


def worker(checkout: Path) -> subprocess.Popen[str]:
    paths = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER]
    return subprocess.Popen(command, env=paths, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def seconds(process: subprocess.Popen[str], method: str) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    print(method, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    other, this = worker(parser.parse_args().other), worker(Path(__file__).parent.parent)
    for method in METHODS:
        seconds(other, method), seconds(this, method)  # the first ones load and make the data
        pairs = [(seconds(other, method), seconds(this, method)) for _ in range(BLOCKS)]
        ratios = [mine / theirs for theirs, mine in pairs]
        print(f"{method}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)
    for process in (other, this):
        process.kill()


if __name__ == "__main__":
    main()
