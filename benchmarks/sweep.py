"""Sweeps and reports at scale: overhead of a sweep, planning, listing a store, writing a report.

python benchmarks/sweep.py [--runs N]     (about five minutes; prints the table of docs/performance.md)
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from polyvae import RunConfig, RunStore
from polyvae.report import write_report
from polyvae.runs import table as records
from polyvae.runs.plan import make_plan, make_plans
from polyvae.runs.record import Record, Resolved
from polyvae.runs.run import run_one
from polyvae.sweeps.sweep import sweep

TINY = RunConfig(
    dataset="toy", modalities=2, train_size=256, test_size=64, batch_size=16, epochs=10, latent_dim=3, metrics="bound"
)
BLOCK = 20
METHODS = ("mvae", "mvae_plus", "mmvae", "mopoe")


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def tell(what: str, action: Callable[[], object]) -> None:
    """Prints how long an action takes, and how much of that it computes (less on a busy machine)."""
    busy, took = time.process_time(), seconds(action)
    print(f"{what}: {took:.2f} s, {time.process_time() - busy:.2f} s of CPU", flush=True)


def grid(count: int, **fields: object) -> list[RunConfig]:
    """Configs that differ in method, beta and seed, as a sweep's do."""
    base = RunConfig(modalities=3, **fields)
    betas = (0.03, 0.3, 1.0, 3.0, 9.0)
    return [
        base.with_(method=METHODS[i % 4], beta=betas[i // 4 % 5], seed=i // 20, train_size=6000, test_size=1000)
        for i in range(count)
    ]


def filled(folder: Path, count: int) -> RunStore:
    """A store of finished runs with made-up metrics and an epoch curve each."""
    store = RunStore(folder)
    for config in grid(count):
        run_id = config.run_id()
        level = METHODS.index(config.method) + config.beta / 10 + config.seed / 1000
        metrics = {f"frechet/digits/unconditional/m{i}": 100 + 50 * level + i for i in range(3)}
        metrics |= {f"coherence/conditional/m{i}/m{j}": level / 6 for i in range(3) for j in range(3) if i != j}
        metrics |= {"coherence/leave_one_out": level / 6, "linear_probe/joint": 0.5, "log_likelihood/joint": -level}
        store.begin(run_id, config)
        lines = [{"epoch": e, "step": e, "loss": 900 / (e + 1), "rate": 9.0, "distortion": 9.0} for e in range(20)]
        (store.folder(run_id) / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        seconds, resolved = {"train": 60.0}, Resolved(modalities=("m0", "m1", "m2"))
        record = Record(
            run_id=run_id, config=config, status="done", metrics=metrics, seconds=seconds, resolved=resolved
        )
        store.finish(record)
    return store


def overhead(count: int, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds a tiny run, in blocks of 20: one after the other in this process, and by a sweep with one worker."""
    run_one(make_plan(TINY), RunStore(folder / "warm"))
    alone, swept = [], []
    for first in range(0, count, BLOCK):
        configs = [TINY.with_(seed=first + i, threads=1) for i in range(BLOCK)]
        plain, store = RunStore(folder / "plain"), RunStore(folder / "swept")
        alone.append(seconds(lambda c=configs, s=plain: [run_one(plan, s) for plan in make_plans(c)]) / BLOCK)
        swept.append(seconds(lambda c=configs, s=store: sweep(c, s)) / BLOCK)
    return alone, swept


def shared_cores(folder: Path) -> dict[int, float]:
    """Workers -> seconds of four short trainings of a real model; the workers share the cores."""
    base = RunConfig(modalities=3, network="conv_half", latent_dim=96, batch_size=64, train_size=6000, test_size=100)
    configs = [base.with_(seed=seed, epochs=2, metrics="none") for seed in range(4)]
    make_plans(configs)  # the data are made once, ever
    return {n: seconds(lambda n=n: sweep(configs, RunStore(folder / f"{n}"), workers=n)) for n in (1, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="tiny runs of the overhead")
    count = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = grid(10_000)
        make_plan(configs[0])  # the data are made once, ever
        tell("planning 10,000 configs", lambda: make_plans(configs))
        store = filled(folder / "listed", 10_000)
        tell("listing 10,000 run folders", lambda: records.table(store.records()))
        store = filled(folder / "reported", 1000)
        tell("report of 1,000 runs", lambda: write_report(store, folder / "report"))
        for what, found in zip(("one by one", "by a sweep"), overhead(count, folder), strict=True):
            print(f"a tiny run {what}: {median(found):.2f} s ({min(found):.2f} to {max(found):.2f})")
        for workers, took in shared_cores(folder).items():
            print(f"four trainings, {workers} at a time: {took:.0f} s")


if __name__ == "__main__":
    main()
