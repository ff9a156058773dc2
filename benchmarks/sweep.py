"""Sweeps and reports at scale: overhead of a sweep, planning, listing a store, writing a report.

python benchmarks/sweep.py [--runs N]     (about five minutes; prints the table of docs/performance.md)
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from polyvae import RunConfig, RunStore
from polyvae.report import write_report
from polyvae.runs import table as records
from polyvae.runs.plan import make_plan, make_plans
from polyvae.runs.run import run_one
from polyvae.sweeps.sweep import sweep

TINY = RunConfig(
    dataset="toy", modalities=2, train_size=64, test_size=20, batch_size=16, epochs=1, latent_dim=3, metrics="bound"
)
RECORDS = Path(__file__).parent.parent / "docs" / "results" / "records"
BLOCK = 200
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
    """A store of finished runs: published records, with the settings of a grid and an epoch curve each."""
    store, published = RunStore(folder), {}
    for record in RunStore(RECORDS).records():
        if record.is_done and (record.config.dataset, record.config.modalities) == ("polymnist", 3):
            published.setdefault(record.config.method, record)
    lines = [{"epoch": e, "step": e, "loss": 900 / (e + 1), "rate": 9.0, "distortion": 9.0} for e in range(20)]
    curve = "".join(json.dumps(line) + "\n" for line in lines)
    for i, config in enumerate(grid(count)):
        run_id = config.run_id()
        metrics = {key: value * (1 + i / count / 10) for key, value in published[config.method].metrics.items()}
        (store.begin(run_id, config) / "history.jsonl").write_text(curve)
        store.finish(replace(published[config.method], run_id=run_id, config=config, metrics=metrics))
    return store


def overhead(count: int, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds a tiny run, in blocks of 200: one after the other in this process, and by a sweep with its one worker."""
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
    parser.add_argument("--runs", type=int, default=600, help="tiny runs of the overhead")
    count = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = grid(10_000)
        make_plan(configs[0])  # the data are made once, ever
        tell("planning 10,000 configs", lambda: make_plans(configs))
        small = filled(folder / "small", 1000)
        tell("report of 1,000 runs", lambda: write_report(small, folder / "few"))
        store = filled(folder / "large", 10_000)
        tell("listing 10,000 run folders", lambda: records.table(store.records()))
        tell("report of 10,000 runs", lambda: write_report(store, folder / "many"))
        print(f"its page: {(folder / 'many' / 'index.html').stat().st_size / 1e6:.1f} MB")
        for what, found in zip(("one by one", "by a sweep"), overhead(count, folder), strict=True):
            print(f"a tiny run {what}: {median(found):.3f} s ({min(found):.3f} to {max(found):.3f})")
        for workers, took in shared_cores(folder).items():
            print(f"four trainings, {workers} at a time: {took:.0f} s")


if __name__ == "__main__":
    main()
