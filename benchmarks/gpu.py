"""What polyvae costs on a GPU, in at most three minutes: `python benchmarks/gpu.py [--out gpu.json]`.

Milliseconds a training step, alone and eight runs at once; kernels and waits of a step; seconds of a judge and of an
evaluation; beside them MultiVae's step, where that is installed. Each step is the one that `polyvae run` takes: its
loop, its CUDA graph, its data on the device. Numbers are medians with their range over blocks. Parts that no longer fit
the time are left out by name.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from run import block, worker
from torch.profiler import ProfilerActivity, profile

from polyvae import RunConfig
from polyvae.runs.evaluation import evaluation_of, score
from polyvae.runs.plan import Plan, make_plan
from polyvae.runs.stages import stages_of
from polyvae.training import loop
from polyvae.training.graph import WAITS, Replayed
from polyvae.training.loop import steps

MINUTES = 3.0
WARM_UP = 10  # steps: the first three are not captured
METHODS = ("mopoe", "mvae", "mmvae", "mvae_plus")
PEERS = ("mopoe", "mvae", "mmvae")  # what MultiVae has of them


@dataclass(frozen=True)
class Shape:
    """Sizes of a training step; rows: of the data. target: milliseconds alone, and of each of eight at once."""

    name: str
    network: str
    modalities: int
    latent_dim: int
    batch_size: int
    target: tuple[float, float]

    def config(self, method: str, device: str, **others: Any) -> RunConfig:
        return RunConfig(
            dataset="polymnist", modalities=self.modalities, network=self.network, latent_dim=self.latent_dim,
            batch_size=self.batch_size, method=method, device=device, epochs=10_000, metrics="none", **others,
        )  # fmt: skip


CONV = Shape("conv, 5 modalities, latent 512, batch 256", "conv", 5, 512, 256, (4.5, 1.8))
HALF = Shape("conv_half, 3 modalities, latent 96, batch 64", "conv_half", 3, 96, 64, (1.7, 0.42))
RESNET = Shape("resnet, 5 modalities, latent 512, batch 256", "resnet", 5, 512, 256, (22.0, 22.0))
TINY = Shape("mlp, 2 modalities, latent 4, batch 8", "mlp", 2, 4, 8, (1.0, 1.0))  # to try this file without a GPU


def training(plan: Plan, folder: Path) -> Generator[None, None, Any]:
    """The run's own training, a step each time."""
    model = plan.build()
    return steps(model, stages_of(plan, model), plan.rows_at, None, plan.config, folder, checkpoint_seconds=1e9)


def stop(run: Generator[None]) -> None:
    """Ends a training without the checkpoint that closing it leaves."""
    with suppress(KeyboardInterrupt):
        run.throw(KeyboardInterrupt)


def finished(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(runs: Sequence[Generator[None]], device: torch.device, blocks: int, count: int) -> list[float]:
    """Of a step of each run, when all take turns."""
    times = []
    for steps_of_block in [WARM_UP, *[count] * blocks]:
        finished(device)
        started = time.perf_counter()
        for _ in range(steps_of_block):
            for run in runs:
                next(run)
        finished(device)
        times.append(1000 * (time.perf_counter() - started) / steps_of_block / len(runs))
    return times[1:]


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


class Watched(Replayed):
    """Says once why steps are not captured: their times are those of kernels launched one by one."""

    said: ClassVar[set[str]] = set()

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        values = super().__call__(rows)
        if self.reason and self.reason not in self.said:
            self.said.add(self.reason)
            print(f"not captured: {self.reason}", flush=True)
        return values


class Report:
    """Prints results as they come, and writes them to `out`; leaves out what no longer fits the time."""

    def __init__(self, minutes: float, out: Path, machine: dict[str, str]) -> None:
        self.deadline = time.monotonic() + 60 * minutes
        self.out, self.machine = out, machine
        self.results: dict[str, Any] = {}

    def part(self, name: str, measure: Callable[[], dict[str, float]], unit: str = "ms") -> None:
        if time.monotonic() > self.deadline:
            print(f"{name}: left out, time is up", flush=True)
            return
        Watched.said.clear()
        try:
            self.results[name] = measure()
        except Exception as error:  # noqa: BLE001 a part that fails takes no other with it
            print(f"{name}: failed, {type(error).__name__}: {error}".splitlines()[0], flush=True)
            return
        numbers = " ".join(f"{key} {value:.4g}" for key, value in self.results[name].items())
        print(f"{name} ({unit}): {numbers}", flush=True)
        self.out.write_text(json.dumps({"machine": self.machine, "results": self.results}, indent=1))


def step_times(shape: Shape, method: str, device: torch.device, at_once: int, precision: str) -> dict[str, float]:
    """Several runs differ in their seed alone."""
    with tempfile.TemporaryDirectory() as folder:
        plans = [make_plan(shape.config(method, str(device), seed=i, precision=precision)) for i in range(at_once)]
        runs = [training(plan, Path(folder) / str(i)) for i, plan in enumerate(plans)]
        times = summary(milliseconds(runs, device, blocks=5, count=30))
        for run in runs:
            stop(run)
    return times | {"target": shape.target[at_once > 1]}


def kernels_and_waits(shape: Shape, method: str, device: torch.device) -> dict[str, float]:
    """Of one step that is not captured: how many kernels Python launches, how often it waits for the device."""
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(shape.config(method, str(device)))
        run = training(plan, Path(folder))
        next(run)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            next(run)
            torch.cuda.set_sync_debug_mode("default")
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            next(run)
        stop(run)
    waits = [warning for warning in warned if WAITS in str(warning.message)]
    for place in {f"{warning.filename}:{warning.lineno}" for warning in waits}:
        print(f"waits at {place}", flush=True)
    launched = sum(event.count for event in seen.key_averages() if "LaunchKernel" in event.key)
    return {"kernels": launched, "waits": len(waits)}


def scoring(shape: Shape, device: torch.device, sizes: dict[str, int]) -> dict[str, float]:
    """Seconds of making the judge and the critic (0 where they are cached), and of scoring an untrained model."""
    config = shape.config("mopoe", str(device), **sizes).with_(epochs=1, metrics="default")
    plan = make_plan(config)
    started = time.perf_counter()
    evaluation = evaluation_of(plan)
    made = time.perf_counter()
    score(plan, plan.build().eval(), evaluation, lambda text: None)
    finished(device)
    return {"judge": made - started, "evaluation": time.perf_counter() - made}


def peer(shape: Shape, method: str, device: torch.device) -> dict[str, float]:
    sizes = ("--modalities", shape.modalities, "--latent", shape.latent_dim, "--rows", shape.batch_size)
    flags = (method, *sizes, "--network", shape.network, "--device", str(device), "--warm-up", WARM_UP)
    process = worker(sys.executable, "peer.py", *flags)
    try:
        return summary([block(process, 10) for _ in range(3)])
    finally:
        process.kill()


def measure_all(report: Report, conv: Shape, half: Shape, resnet: Shape, device: torch.device) -> None:
    is_real = device.type == "cuda"
    for method in METHODS:
        for precision in ("fp32", "bf16"):
            for at_once in (1, 8):
                report.part(
                    f"{method}, {conv.name}, {precision}, {at_once} at once",
                    lambda m=method, n=at_once, p=precision: step_times(conv, m, device, n, p),
                )
    for at_once in (1, 8, 24):
        report.part(
            f"mopoe, {half.name}, {at_once} at once", lambda n=at_once: step_times(half, "mopoe", device, n, "fp32")
        )
    report.part(f"mopoe, {resnet.name}, bf16", lambda: step_times(resnet, "mopoe", device, 1, "bf16"))
    sizes = {"test_size": 4_000} if is_real else {"train_size": 200, "test_size": 60}
    report.part(f"scoring, {half.name}", lambda: scoring(half, device, sizes), "s")
    if importlib.util.find_spec("multivae"):
        for method in PEERS:
            report.part(f"MultiVae {method}, {conv.name}", lambda m=method: peer(conv, m, device))
    for method in METHODS if is_real else ():  # last: the profiler may disturb graphs that are captured after it
        report.part(f"{method}, one step", lambda m=method: kernels_and_waits(conv, m, device), "count")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="where the numbers go, as JSON")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--device", default="cuda", help="cpu tries this file with tiny sizes; its times mean nothing")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU here: this measures training and evaluation on CUDA; see docs/performance.md")
    is_real = device.type == "cuda"
    conv, half, resnet = (CONV, HALF, RESNET) if is_real else (TINY, TINY, TINY)
    machine = {
        "device": torch.cuda.get_device_name(device) if is_real else platform.processor(),
        "torch": torch.__version__,
    }
    report = Report(chosen.minutes, chosen.out, machine)
    loop.Replayed = Watched
    measure_all(report, conv, half, resnet, device)
    print(f"wrote {chosen.out}")


if __name__ == "__main__":
    main()
