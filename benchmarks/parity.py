"""Does a model trained in bf16 differ from one trained in fp32? python benchmarks/parity.py [--store DIR]

Three methods and five seeds of each precision, everything else equal: PolyMNIST with three modalities from the embedded
digits, `conv_half`, a short training. Prints for every metric the means, the standard deviation over seeds, and the
mean difference over seeds (bf16 - fp32) with its 95 % t interval. The store keeps finished runs: the command goes on.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import scipy.stats

import polyvae as pv
from polyvae.paper.experiments.quick import COMMON

METHODS, SEEDS = ("mvae", "mmvae", "mopoe"), range(5)
CONFIG = COMMON.with_(  # the setting of `quick`, smaller
    train_size=4096,
    test_size=300,
    latent_dim=32,
    epochs=4,
    metrics="bound,coherence,frechet,log_likelihood",
    importance_samples=4,
    threads=1,
)
METRICS = {
    "loss": "bound/loss",
    "coherence, rest given": "coherence/leave_one_out",
    "coherence, joint": "coherence/joint",
    "Fréchet, prior samples": "frechet/digits/unconditional",
    "Fréchet, given": "frechet/digits/conditional",
    "log-likelihood": "log_likelihood/joint",
}


def value(metrics: dict[str, float], start: str) -> float:
    """The metric of this name, or the mean over what lies below it."""
    if start in metrics:
        return metrics[start]
    return float(np.mean([v for key, v in metrics.items() if key.startswith(f"{start}/")]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("runs/parity"))
    chosen = parser.parse_args()
    scores: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed in SEEDS:
        for method in METHODS:
            for precision in ("fp32", "bf16"):
                started = time.monotonic()
                result = pv.run(CONFIG.with_(method=method, precision=precision, seed=seed), chosen.store)
                scores.setdefault((method, precision), []).append(result.metrics)
                print(f"{method} {precision} seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
    print("\nmethod | metric | fp32 | bf16 | sd over seeds | difference with 95 % interval")
    for method in METHODS:
        for name, key in METRICS.items():
            a, b = (np.array([value(m, key) for m in scores[method, p]]) for p in ("fp32", "bf16"))
            half = scipy.stats.t.ppf(0.975, len(a) - 1) * (b - a).std(ddof=1) / len(a) ** 0.5
            print(
                f"{method} | {name} | {a.mean():.3f} | {b.mean():.3f} | {a.std(ddof=1):.3f} | "
                f"{(b - a).mean():+.3f} +- {half:.3f}"
            )


if __name__ == "__main__":
    main()
