"""How close is a training step to the peaks of the machine? python benchmarks/roofline.py [--figure FILE.png]

Peaks of the machine (matrix product, 3x3 convolution, memory), then for every phase of a step of `conv` (5 modalities,
batch 256, latent 512, MoPoE) and `resnet` (1 modality, batch 128): time, operations (torch.utils.flop_counter), bytes
that its operators read and write, and the share of the peak that binds it: arithmetic or memory, whichever is nearer.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from polyvae import Modality, MultimodalDataset, MultimodalVAE, gaussian, likelihoods, networks, noise, subsets
from polyvae.objectives import systematic_quantiles

PHASES = ("data", "encode", "fuse", "decode", "likelihood", "backward", "optimiser")


def best_of(function: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of some calls."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def peaks() -> dict[str, float]:
    """GFLOP/s of products and convolutions, GB/s of memory."""
    found = {}
    for name, dtype, side, rows in (("fp32", torch.float32, 2048, 64), ("bf16", torch.bfloat16, 512, 4)):
        a, b = torch.rand(2, side, side).to(dtype)
        found[f"{name} matmul"] = 2 * side**3 / best_of(lambda a=a, b=b: a @ b) / 1e9
        layer = nn.Conv2d(128, 128, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
        images = torch.rand(rows, 128, 28, 28).to(dtype).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            operations = 2 * rows * 28 * 28 * 9 * 128 * 128
            found[f"{name} conv 3x3"] = operations / best_of(lambda x=images, f=layer: f(x)) / 1e9
    source = torch.rand(1 << 26)
    target = torch.empty_like(source)
    found["memory"] = 2 * source.nbytes / best_of(lambda: target.copy_(source)) / 1e9
    return found


class Traffic(TorchDispatchMode):
    """Bytes of the inputs and outputs of every operator that is not a view; what is changed in place counts twice."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        schema = func._schema
        if any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns):
            return out
        for argument, value in zip(schema.arguments, args, strict=False):
            changed = argument.alias_info is not None and argument.alias_info.is_write
            self.bytes += _size(value) * (1 + changed)
        if not any(r.alias_info is not None for r in schema.returns):
            self.bytes += _size(out)
        return out


def _size(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    return sum(map(_size, value)) if isinstance(value, (list, tuple)) else 0


@dataclass
class Meter:
    """What the phases of steps took. `counting`: operations and bytes instead of seconds."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PHASES})
    operations: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, float] = field(default_factory=dict)
    counting: bool = False

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if self.counting:
            with FlopCounterMode(display=False) as flops, Traffic() as traffic:
                yield
            self.operations[name], self.bytes[name] = flops.get_total_flops(), traffic.bytes
            return
        started = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - started)


def measured(network: str, modalities: int, rows: int, latent: int, steps: int, precision: str) -> Meter:
    """Steps of MoPoE, systematic allocation, the phases of `objectives.elbo` and `train` one by one."""
    torch.manual_seed(0)
    specs = tuple(Modality(f"m{i}", (3, 28, 28), likelihoods.Laplace(0.75)) for i in range(modalities))
    images = {m.name: torch.randint(256, (4 * rows, 3, 28, 28), dtype=torch.uint8) for m in specs}
    data = MultimodalDataset("random", specs, images, torch.ones(4 * rows, modalities, dtype=torch.bool))
    built = {m.name: networks.build(network, m, latent) for m in specs}
    model = MultimodalVAE(specs, built, subsets.mopoe(data.names), latent)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
    meter, generator = Meter(), torch.Generator().manual_seed(0)

    def step() -> None:
        with meter.phase("data"):
            batch = data.batch(torch.randperm(len(data), generator=generator)[:rows])
        draw = model.mixture.pick(systematic_quantiles(rows, generator, batch.present.device), batch.present)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            with meter.phase("encode"):
                experts = model.encode(batch, draw.given)
            with meter.phase("fuse"):
                posterior = gaussian.product_of_experts(experts, draw.given, draw.prior_expert)
                z = posterior.rsample(noise.normal(generator, rows, latent, posterior.mean))
                kl = gaussian.kl_to_prior(posterior)
            with meter.phase("decode"):
                decoded = model.decode(z)
            with meter.phase("likelihood"):
                scores = torch.stack([decoded[name].log_prob(batch.values[name]) for name in model.names], -1)
                loss = kl.mean() - scores.sum(-1).mean()
        with meter.phase("backward"):
            loss.backward()
        with meter.phase("optimiser"):
            optimiser.step()
            optimiser.zero_grad()

    for _ in range(2):
        step()
    meter.counting = True
    step()
    meter.counting = False
    meter.seconds = {name: [] for name in PHASES}
    for _ in range(steps):
        step()
    return meter


@dataclass(frozen=True)
class Row:
    """A phase: milliseconds, GFLOP/s, operations a byte, the share of the peak that binds it."""

    phase: str
    ms: float
    rate: float
    intensity: float
    share: float
    bound: str


def rows_of(meter: Meter, peak: float, memory: float) -> list[Row]:
    rows = []
    for name in PHASES:
        seconds = statistics.median(meter.seconds[name])
        rate, traffic = meter.operations[name] / seconds / 1e9, meter.bytes[name] / seconds / 1e9
        share, bound = max((rate / peak, "arithmetic"), (traffic / memory, "memory"))
        rows.append(Row(name, 1000 * seconds, rate, meter.operations[name] / max(meter.bytes[name], 1), share, bound))
    return rows


def show(title: str, rows: list[Row], meter: Meter, peak: float) -> None:
    total = sum(row.ms for row in rows)
    operations = sum(meter.operations.values())
    print(f"\n{title}: {total:.0f} ms, {operations / 1e9:.1f} GFLOP")
    print(f"  whole step: {operations / total / 1e6:.0f} GFLOP/s, {operations / total / 1e6 / peak:.0%} of the peak")
    for row in rows:
        spread = f"{1000 * min(meter.seconds[row.phase]):.1f} to {1000 * max(meter.seconds[row.phase]):.1f}"
        print(
            f"  {row.phase:10} {row.ms:7.1f} ms ({spread}), {row.ms / total:4.0%} of the step, "
            f"{row.rate:5.0f} GFLOP/s, {row.share:4.0%} of the peak of {row.bound}"
        )


def draw(found: dict[str, float], steps: dict[str, list[Row]], peak: float, path: Path) -> None:
    """Left the roofline with the phases that multiply, right where the time of a step goes."""
    import matplotlib.pyplot as plt

    colours = dict(
        zip(PHASES, ("#9aa5b1", "#2a6fbb", "#7b5ea7", "#1b9e77", "#e6ab02", "#d1495b", "#6b4f3a"), strict=True)
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(1.1, 1), layout="constrained")
    ridge = peak / found["memory"]
    left.loglog([1, ridge, 1000], [found["memory"], peak, peak], color="#222222", lw=2)
    left.text(1.6, found["memory"] * 1.1, f"memory\n{found['memory']:.0f} GB/s", va="top", fontsize=9)
    left.text(900, peak * 1.07, f"arithmetic: {peak:.0f} GFLOP/s", ha="right", fontsize=9)
    for (title, rows), marker in zip(steps.items(), ("o", "s"), strict=True):
        for row in (row for row in rows if row.phase in ("encode", "decode", "backward")):
            left.plot(row.intensity, row.rate, marker, ms=9, color=colours[row.phase], mec="white", label=title)
    marks = [plt.Line2D([], [], marker=m, ls="", color="#555555", label=t) for t, m in zip(steps, "os", strict=True)]
    left.legend(handles=marks, loc="lower right", frameon=False, fontsize=9)
    left.set(xlabel="operations a byte", ylabel="GFLOP/s", xlim=(1, 1000), ylim=(20, peak * 1.5))
    left.set_yticks([20, 50, 100, 200], labels=["20", "50", "100", "200"])
    left.minorticks_off()
    for place, (title, rows) in enumerate(steps.items()):
        total, start = sum(row.ms for row in rows), 0.0
        for row in rows:
            width = row.ms / total
            right.barh(place, width, left=start, color=colours[row.phase], height=0.5, edgecolor="white")
            if width > 0.07:
                text = f"{row.phase}\n{row.share:.0%}"
                right.text(start + width / 2, place, text, ha="center", va="center", color="white", fontsize=8)
            start += width
        right.text(0, place + 0.31, f"{title}: {total:.0f} ms", fontsize=9, va="bottom")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour, label=name) for name, colour in colours.items()]
    right.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, -0.36), ncols=4, frameon=False, fontsize=8)
    right.set(
        yticks=[], xlabel="share of the step's time (label: share of the binding peak)", xlim=(0, 1), ylim=(-0.5, 1.75)
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--figure", type=Path, help="where to draw the roofline")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    found = peaks()
    for name, value in found.items():
        print(f"peak {name}: {value:,.0f} {'GB/s' if name == 'memory' else 'GFLOP/s'}")
    peak = max(found[f"{chosen.precision} conv 3x3"], found[f"{chosen.precision} matmul"])
    steps = {}
    for title, arguments in {
        "conv, 5 modalities, batch 256": ("conv", 5, 256, 512, 12),
        "resnet, 1 modality, batch 128": ("resnet", 1, 128, 512, 5),
    }.items():
        meter = measured(*arguments, chosen.precision)
        steps[title] = rows_of(meter, peak, found["memory"])
        show(title, steps[title], meter, peak)
    if chosen.figure:
        draw(found, steps, peak, chosen.figure)


if __name__ == "__main__":
    main()
