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
from pathlib import Path

import torch

HERE = Path(__file__).parent
PEER = HERE.parent / "bench" / "multivae-venv"
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


def compare_steps(method: str, threads: int, has_peer: bool) -> None:
    print(f"\n{method} training step: conv, 5 modalities, latent 512, batch 256, float32, fused Adam")
    arguments = (method, 5, 512, 256, threads)
    ours = worker(sys.executable, "ours.py", *arguments)
    if not has_peer:
        print("  polyvae ", spread([block(ours) for _ in range(BLOCKS)], "ms"))
        ours.communicate()
        return
    theirs = worker(PEER / "bin" / "python", "peer.py", *arguments)
    pairs = [(block(ours), block(theirs)) for _ in range(BLOCKS)]
    for process in (ours, theirs):
        process.communicate()
    print("  polyvae ", spread([a for a, _ in pairs], "ms"))
    print("  MultiVae", spread([b for _, b in pairs], "ms"))
    print("  ratio   ", spread([a / b for a, b in pairs], ""), "goal: at most 0.6")


def compare_importance(threads: int, has_peer: bool, rows: int = 64, samples: int = 30) -> None:
    """The published MMVAE objective; `systematic` takes the K samples of a row from one modality, not from all five."""
    print(f"\nmmvae_official training step: conv, 5 modalities, latent 512, batch {rows}, K = {samples}")
    arguments = ("mmvae_official", 5, 512, rows, threads, samples)
    sides = {f"polyvae, {way}": (sys.executable, "ours.py", *arguments, way) for way in ("exact", "systematic")}
    sides |= {"MultiVae": (PEER / "bin" / "python", "peer.py", *arguments)} if has_peer else {}
    processes = {name: worker(*command) for name, command in sides.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(3):
        for name, process in processes.items():
            times[name].append(block(process, 1))
    memory = {name: float(process.communicate()[0]) for name, process in processes.items()}
    for name in sides:
        print(f"  {name:20} {spread(times[name], 'ms')}, {memory[name]:,.0f} MiB")
        if has_peer and name != "MultiVae":
            ratios = [a / b for a, b in zip(times[name], times["MultiVae"], strict=True)]
            shared = memory[name] / memory["MultiVae"]
            print(f"    ratio to MultiVae  {spread(ratios, '')}, memory {shared:.2g} (goals: at most 0.5 each)")


def scale_modalities(threads: int) -> None:
    print("\nMoPoE training step with systematic allocation, conv, latent 64, batch 64")
    counts = (4, 8, 12, 16)
    processes = {m: worker(sys.executable, "ours.py", "mopoe", m, 64, 64, threads) for m in counts}
    times = {m: [] for m in counts}
    for _ in range(BLOCKS):
        for m in counts:
            times[m].append(block(processes[m]))
    memory = {m: float(process.communicate()[0]) for m, process in processes.items()}
    for m in counts:
        print(f"  M = {m:2} ({2**m - 1:6,} subsets): {spread(times[m], 'ms')}, {memory[m]:.0f} MiB")
    ratios = [b / a for a, b in zip(times[4], times[12], strict=True)]
    print("  M = 12 / M = 4: time", spread(ratios, ""), f"memory {memory[12] / memory[4]:.3g}", "goal: at most 3.3")


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
    chosen = parser.parse_args()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    today = datetime.date.today()
    print(f"{today}, {cpu}, {chosen.threads} threads, torch {torch.__version__}, Python {platform.python_version()}")
    print(f"load average before: {os.getloadavg()[0]:.1f} (numbers from a busy machine do not hold)")
    measure_data(chosen.data_dir, chosen.threads)
    has_peer = install_peer()
    if has_peer:
        print("\nPeer: MultiVae 1.0.3 with a stand-in for torchvision, which a training step does not use")
    for method in ("mopoe", "mvae"):
        compare_steps(method, chosen.threads, has_peer)
    compare_importance(chosen.threads, has_peer)
    scale_modalities(chosen.threads)
    sys.stdout.flush()
    compare_evaluation(chosen.data_dir, chosen.threads, has_peer)


if __name__ == "__main__":
    main()
