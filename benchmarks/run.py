"""`make bench`: speed and memory as ratios measured in one run; medians with their range, nothing asserted."""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = Path(__file__).parent
PEER = HERE.parent / "bench" / "multivae-venv"
STORED = HERE / "ratios.json"
BLOCKS, STEPS = 7, 3


def worker(python: str | Path, script: str, *arguments: str | int) -> subprocess.Popen:
    """A warmed-up worker process."""
    command = [str(python), str(HERE / script), *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline() if process.stdout else ""
    if line != "ready\n":
        raise RuntimeError(f"{script} did not start (exit status {process.wait()}; its own message is above)")
    return process


def block(process: subprocess.Popen, steps: int = STEPS) -> float:
    """Milliseconds a step over one block."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    return 1000 * float(process.stdout.readline())


def machine_name(threads: int) -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{cpu}, {threads} threads, torch {torch.__version__}, Python {platform.python_version()}"


def spread(values: list[float], unit: str) -> str:
    middle, low, high = (
        f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} {unit}".rstrip() + f" ({low} to {high})"


def install_peer() -> bool:
    """MultiVae in an environment of its own, with the same torch. False, with a word of why, if it cannot be had."""
    python, torch_version = PEER / "bin" / "python", torch.__version__.split("+")[0]
    ready = PEER / f".ready-torch-{torch_version}"
    if not ready.is_file():
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        try:
            venv.create(PEER, with_pip=True, clear=True)
            subprocess.run([*pip, f"torch=={torch_version}", "-r", str(HERE / "multivae-requirements.txt")], check=True)
            subprocess.run([*pip, "--no-deps", "multivae==1.0.3", "pythae==0.1.2"], check=True)
        except subprocess.CalledProcessError as error:
            print(f"MultiVae cannot be installed here ({error}); only polyvae is measured")
            return False
        ready.touch()
    return True


@dataclass(frozen=True)
class Comparison:
    """One training step of ours and of MultiVae. ours: name -> the flags that only our side has. official_style: also
    the loop of the public MoPoE code, on our networks."""

    title: str
    flags: tuple[str | int, ...]
    ours: dict[str, tuple[str | int, ...]]
    blocks: int = BLOCKS
    steps: int = STEPS
    official_style: bool = False


CONV = "conv, 5 modalities, latent 512, batch 256"
PRECISIONS = {"fp32": (), "bf16": ("--precision", "bf16")}
WAYS = {way: ("--allocation", way, "--warm-up", 10) for way in ("exact", "systematic")}  # until few samples count
COMPARISONS = {
    "mopoe": Comparison(f"MoPoE: {CONV}", ("mopoe",), PRECISIONS, official_style=True),
    "mvae": Comparison(f"MVAE: {CONV}", ("mvae",), PRECISIONS, official_style=True),
    "mmvae": Comparison(
        f"MMVAE: {CONV}; ours one ELBO a row, MultiVae importance weighted with K = 1",
        ("mmvae",),
        PRECISIONS,
        5,
        1,
        official_style=True,
    ),
    "mmvae_official": Comparison(
        "MMVAE as published: conv, 5 modalities, latent 512, batch 64, K = 30",
        ("mmvae_official", "--rows", 64, "--samples", 30, "--warm-up", 1),
        WAYS,
        3,
        1,
    ),
    "resnet": Comparison(
        "MVAE: the paper's ResNet, 1 modality, latent 512, batch 64",
        ("mvae", "--network", "resnet", "--modalities", 1, "--rows", 64),
        PRECISIONS,
        4,
        1,
    ),
    "mopoe_8": Comparison(
        "MoPoE: conv, 8 modalities (255 subsets), latent 512, batch 64; the first two steps",
        ("mopoe", "--modalities", 8, "--rows", 64, "--warm-up", 0),
        {"fp32": ()},
        2,
        1,
    ),
    **{
        f"quick_{method}": Comparison(
            f"{method} of the experiment `quick`, of which it takes 2,992 steps: conv_half, 3 modalities, batch 64",
            (method, "--network", "conv_half", "--modalities", 3, "--latent", 96, "--rows", 64),
            {"fp32": ()},
            steps=20,
            official_style=True,
        )
        for method in ("mvae", "mopoe", "mmvae")
    },
    **{
        method: Comparison(
            f"{title}: conv_half, 3 modalities, latent {latent}, batch 64",
            (method, "--network", "conv_half", "--modalities", 3, "--latent", latent, "--rows", 64),
            {"fp32": ()},
            steps=20,
        )
        for method, title, latent in (
            ("mvtcae", "MVTCAE", 96),
            ("mmvae_plus", "MMVAE+, K = 1, w of 32 dimensions", 32),
            ("jnf", "JNF, the second stage", 96),
        )
    },
}


def compare(name: str, threads: int, has_peer: bool) -> dict[str, float]:
    """Prints times, memory and ratios of a comparison; returns the ratios."""
    what = COMPARISONS[name]
    print(f"\n{what.title}", flush=True)
    shared = (*what.flags, "--threads", threads)
    sides = {f"polyvae, {way}": (sys.executable, "ours.py", *shared, *more) for way, more in what.ours.items()}
    sides |= {"official-style loop": (sys.executable, "official.py", *shared)} if what.official_style else {}
    sides |= {"MultiVae": (PEER / "bin" / "python", "peer.py", *shared)} if has_peer else {}
    processes = {side: worker(*command) for side, command in sides.items()}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(what.blocks):
        for side, process in processes.items():
            times[side].append(block(process, what.steps))
    memory = {side: float(process.communicate()[0]) for side, process in processes.items()}
    found = {}
    for side in sides:
        print(f"  {side:20} {spread(times[side], 'ms')}, {memory[side]:,.0f} MiB")
        if has_peer and side != "MultiVae":
            ratios = [a / b for a, b in zip(times[side], times["MultiVae"], strict=True)]
            found[f"{name}, {side.removeprefix('polyvae, ')}"] = statistics.median(ratios)
            print(f"    ratio to MultiVae  {spread(ratios, '')}, memory {memory[side] / memory['MultiVae']:.2g}")
    return found


def scale_modalities(threads: int) -> dict[str, float]:
    print("\nMoPoE training step with systematic allocation, conv, latent 64, batch 64", flush=True)
    counts = (4, 8, 12, 16, 32)
    sizes = ("--latent", 64, "--rows", 64, "--threads", threads)
    processes = {m: worker(sys.executable, "ours.py", "mopoe", "--modalities", m, *sizes) for m in counts}
    times = {m: [] for m in counts}
    for _ in range(BLOCKS):
        for m in counts:
            times[m].append(block(processes[m]))
    memory = {m: float(process.communicate()[0]) for m, process in processes.items()}
    found = {}
    for m in counts:
        print(f"  M = {m:2} ({2**m - 1:13,} subsets): {spread(times[m], 'ms')}, {memory[m]:.0f} MiB")
    for m in (12, 32):
        ratios = [b / a for a, b in zip(times[4], times[m], strict=True)]
        found[f"M = {m} / M = 4"] = statistics.median(ratios)
        print(
            f"  M = {m} / M = 4: time", spread(ratios, ""), f"memory {memory[m] / memory[4]:.3g}", f"linear: {m // 4}"
        )
    return found


def measure_data(data_dir: str | None, threads: int) -> None:
    print("\nPolyMNIST, 5 modalities" + ("" if data_dir else " (embedded digits: give --data-dir for all 70,000)"))
    with tempfile.TemporaryDirectory() as cache:
        for action, goal in (("build", "30 s, 2048 MiB"), ("reopen", "2 s; batch 5 ms")):
            command = [sys.executable, str(HERE / "data.py"), str(threads), *([data_dir] if data_dir else [])]
            done = subprocess.run(
                command, env={**os.environ, "POLYVAE_CACHE": cache}, check=True, stdout=subprocess.PIPE, text=True
            )
            found = json.loads(done.stdout)
            print(
                f"  {action} {found['tuples']:,} tuples: {found['seconds']:.2f} s, {found['mib']:.0f} MiB, "
                f"batch of 256 x 5: {spread(found['ms'], 'ms')}" + (f" (goal: {goal})" if data_dir else "")
            )


def compare_evaluation(data_dir: str | None, threads: int, has_peer: bool) -> None:
    print("\nCoherence of 31 subsets, MoPoE, conv, 5 modalities, latent 512: polyvae also reads moments of features")
    rows, pairs = 1000, []
    for _ in range(2 if has_peer else 1):
        ours = _seconds(sys.executable, "evaluation.py", "--rows", rows, "--threads", threads, "--pass-only")
        theirs = _seconds(PEER / "bin" / "python", "peer_evaluation.py", rows, threads) if has_peer else float("nan")
        pairs.append((ours, theirs))
    print(f"  polyvae  {spread([a for a, _ in pairs], 's')} for {rows:,} tuples")
    if has_peer:
        print(f"  MultiVae {spread([b for _, b in pairs], 's')}")
        print("  ratio   ", spread([a / b for a, b in pairs], ""))
    print("Everything a run scores by default:")
    sys.stdout.flush()
    data = ["--data-dir", data_dir] if data_dir else []
    command = [sys.executable, str(HERE / "evaluation.py"), "--threads", str(threads), *data]
    subprocess.run(command, check=True)


def _seconds(python: str | Path, script: str, *arguments: str | int) -> float:
    """The last line that a script prints."""
    command = [str(python), str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("POLYVAE_DATA"), help="folder with mnist/ (else embedded)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of every process")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    parser.add_argument("--save", action="store_true", help="keep the new ratios in ratios.json")
    chosen = parser.parse_args()
    machine = machine_name(chosen.threads)
    print(f"{datetime.date.today()}, {machine}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"load average before: {os.getloadavg()[0]:.1f} (numbers from a busy machine do not hold)")
    has_peer = install_peer()
    if has_peer:
        print("\nPeer: MultiVae 1.0.3 with a stand-in for torchvision, which a training step does not use")
    ratios: dict[str, float] = {}
    for part in chosen.only:
        if part in COMPARISONS:
            ratios |= compare(part, chosen.threads, has_peer)
        elif part == "scaling":
            ratios |= scale_modalities(chosen.threads)
        elif part == "data":
            measure_data(chosen.data_dir, chosen.threads)
        else:
            compare_evaluation(chosen.data_dir, chosen.threads, has_peer)
    against_stored(ratios, f"{datetime.date.today()}, {machine}", save=chosen.save)


def against_stored(ratios: dict[str, float], machine: str, *, save: bool) -> None:
    """Prints new ratios beside those of `ratios.json`; `save` puts the new ones there."""
    stored = json.loads(STORED.read_text()) if STORED.is_file() else {}
    print(f"\nRatios, and those stored in {STORED.name}:")
    for name, ratio in ratios.items():
        old = stored.get(name, {}).get("ratio")
        print(f"  {name:28} {ratio:.3g}" + (f", stored {old:.3g}: {ratio / old:.2f} of it" if old else ""))
    if save:
        stored |= {name: {"ratio": round(ratio, 4), "measured": machine} for name, ratio in ratios.items()}
        STORED.write_text(json.dumps(stored, indent=2) + "\n")


PARTS = ("data", *COMPARISONS, "scaling", "evaluation")


if __name__ == "__main__":
    main()
