"""Draws coherence without labels against coherence by digits, one point a run, from the store of `label-free`.

polyvae sweep label-free --store runs/label-free --workers 2
python scripts/label_free_validation.py runs/label-free docs/images/label_free.png
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from polyvae import RunStore
from polyvae.report.style import METHODS, drawing

KEY = "leave_one_out"


def main(store: str, out: str) -> None:
    runs = [r for r in RunStore(store).records() if f"label_free/{KEY}" in r["metrics"]]
    left_out = [r["run_id"] for r in RunStore(store).records() if r not in runs]
    pairs = np.array([[r["metrics"][f"coherence/{KEY}"], r["metrics"][f"label_free/{KEY}"]] for r in runs])
    rho = spearmanr(*pairs.T).statistic
    rng = np.random.default_rng(0)
    resampled = [spearmanr(*pairs[rng.integers(0, len(pairs), len(pairs))].T).statistic for _ in range(2000)]
    low, high = np.quantile(resampled, (0.025, 0.975))
    print(f"{len(runs)} runs: Spearman {rho:.3f}, 95 % interval by bootstrap over runs {low:.3f} to {high:.3f}")
    print(f"without a score: {', '.join(left_out) or 'none'}")
    with drawing():
        figure = Figure(figsize=(5, 4))
        axes = figure.add_subplot()
        for method, look in METHODS.items():
            mine = np.array([r["config"]["method"] == method for r in runs])
            if mine.any():
                axes.scatter(*pairs[mine].T, color=look.colour, marker=look.marker, label=look.name, s=30)
        axes.plot([0.1, 1], [0, 1], color="#666d78", linewidth=0.8, dashes=(4, 3))
        axes.set_xlabel("leave-one-out coherence, by digits (chance .1)")
        axes.set_ylabel("label-free coherence (chance 0)")
        axes.set_title(f"{len(runs)} runs, Spearman {rho:.2f} ({low:.2f} to {high:.2f})", loc="left", fontsize=9)
        axes.legend()
        figure.savefig(Path(out), dpi=160, facecolor="white")


if __name__ == "__main__":
    main(*sys.argv[1:3])
