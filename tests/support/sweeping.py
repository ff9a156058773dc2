"""Tiny sweeps in processes of their own, what their stores must agree in, and how to kill a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polyvae import RunConfig, RunStore, files

TINY = RunConfig(
    dataset="toy", modalities=2, train_size=64, test_size=20, batch_size=16, epochs=4, latent_dim=3, metrics="bound"
)  # fmt: skip
CONFIGS = [TINY.with_(method=method, seed=seed) for method in ("mopoe", "mvae_plus") for seed in (0, 1)]
DRIVER = """
import sys
from pathlib import Path
from polyvae import RunConfig, RunStore
from polyvae.sweeps.sweep import Watcher, sweep
begin = RunStore.begin
def logged(self, run_id, config):  # workers import this script too
    with (self.root.parent / "begun").open("a") as file:
        print(run_id, file=file)
    return begin(self, run_id, config)
RunStore.begin = logged
if __name__ == "__main__":
    import json, signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup make test &` passes it on ignored
    configs = [RunConfig.from_dict(c) for c in json.loads(sys.argv[2])]
    watcher = Watcher(on_record=lambda record: print(record.run_id, flush=True))
    sweep(configs, RunStore(sys.argv[1]), workers=int(sys.argv[3]), watcher=watcher)
"""


def identity(store: RunStore) -> dict:
    """All that must agree between two stores: config, metrics, weights, history without seconds."""
    found = {}
    for record in store.records():
        run_id = record.run_id
        history = [{k: v for k, v in line.items() if k != "seconds"} for line in store.history(run_id)]
        weights = files.sha256(store.folder(run_id) / "model.safetensors")
        found[run_id] = (record.status, record.config, record.metrics, weights, history)
    return found


def driver(store: Path, configs, workers: int = 2) -> subprocess.Popen:
    script = store.parent / "driver.py"
    script.write_text(DRIVER)
    told = json.dumps([config.to_dict() for config in configs])
    return subprocess.Popen(
        [sys.executable, str(script), str(store), told, str(workers)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def workers_of(store: RunStore) -> list[int]:
    """Processes that hold the lock of a run."""
    inodes = {str(path.stat().st_ino) for path in (store.root / ".locks").glob("*")}
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return [int(line[4]) for line in lines if len(line) > 5 and line[5].rsplit(":", 1)[-1] in inodes]


def kill_one(store: RunStore, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        busy = [pid for pid in workers_of(store) if list(store.root.glob("*/history.jsonl"))]
        if busy:
            os.kill(busy[0], signal.SIGKILL)
            return
        time.sleep(0.02)
    pytest.fail("no worker came up to be killed")
