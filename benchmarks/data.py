"""Worker: PolyMNIST, 5 modalities, both splits, built or (if the cache has it) reopened; prints JSON.

Arguments: threads; data directory (or nothing: the embedded digits).
Keys: tuples, seconds, mib (peak added), ms (each batch).
"""

import json
import resource
import sys
import time

import torch

from polyvae import datasets

data_dir = sys.argv[2] if len(sys.argv) > 2 else None
torch.set_num_threads(int(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
splits = [datasets.load("polymnist", split=split, data_dir=data_dir) for split in ("train", "test")]
seconds = time.perf_counter() - started
times = []
for _ in range(30):
    rows = torch.randint(len(splits[0]), (256,))
    started = time.perf_counter()
    splits[0].batch(rows)
    times.append(1000 * (time.perf_counter() - started))
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps({"tuples": sum(map(len, splits)), "seconds": seconds, "mib": peak, "ms": times}))
