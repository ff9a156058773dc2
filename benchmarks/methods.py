"""Time and memory of a training step of every method of `polyvae sweep methods`: python benchmarks/methods.py

PolyMNIST's shape with three modalities, conv_half, batch 64, one thread. Each method takes turns with MVAE, so that a
ratio is one of neighbouring seconds; of a method with several stages the last is measured. The result is
docs/results/steps.json, which `scripts/methods_table.py` prints.
"""

import argparse
import datetime
import statistics
import sys
from pathlib import Path

from run import block, machine_name, spread, worker

from polyvae.files import write_json
from polyvae.paper.experiments import configs_of

KEPT = Path(__file__).parent.parent / "docs" / "results" / "steps.json"
ANCHOR, BLOCKS, STEPS = "mvae", 5, 10


def step_of(method: str, latent: int) -> list[str | int]:
    modalities = 1 if method == "unimodal" else 3
    shape = ("--network", "conv_half", "--modalities", modalities, "--latent", latent, "--rows", 64)
    return [sys.executable, "ours.py", method, *shape, "--threads", 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=KEPT)
    chosen = parser.parse_args()
    latents = {config.method: config.latent_dim for config in configs_of("methods", "cpu")}
    anchor = worker(*step_of(ANCHOR, latents[ANCHOR]))
    found = {}
    for method, latent in latents.items():
        process = worker(*step_of(method, latent))
        pairs = [(block(process, STEPS), block(anchor, STEPS)) for _ in range(BLOCKS)]
        ratios = [mine / theirs for mine, theirs in pairs]
        mib = float(process.communicate()[0])
        found[method] = {
            "ms": round(statistics.median(mine for mine, _ in pairs), 1),
            "ratio": [round(f(ratios), 3) for f in (statistics.median, min, max)],
            "mib": round(mib),
        }
        times = spread([mine for mine, _ in pairs], "ms")
        print(f"{method:24} {times}, of {ANCHOR}'s {spread(ratios, '')}, {mib:,.0f} MiB", flush=True)
    anchor.kill()
    measured = f"{datetime.date.today()}, {machine_name(1)}"
    write_json(chosen.out, {"measured": measured, "anchor": ANCHOR, "methods": found})


if __name__ == "__main__":
    main()
