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

LABELLED = "coherence/leave_one_out"
SCORES = {
    "label_free/against_real": "1 = real pairs",
    "label_free/leave_one_out": "1 = the model's reconstructions",
}


def correlation(pairs: np.ndarray) -> str:
    """Spearman's rank correlation, with a 95 % interval by bootstrap over runs."""
    rng = np.random.default_rng(0)
    resampled = [spearmanr(*pairs[rng.integers(0, len(pairs), len(pairs))].T).statistic for _ in range(2000)]
    low, high = np.quantile(resampled, (0.025, 0.975))
    return f"{len(pairs)} runs, Spearman {spearmanr(*pairs.T).statistic:.2f} ({low:.2f} to {high:.2f})"


def main(store: str, out: str) -> None:
    records = RunStore(store).records()
    with drawing():
        figure = Figure(figsize=(8.4, 3.8))
        for axes, (key, meaning) in zip(figure.subplots(1, 2), SCORES.items(), strict=True):
            runs = [record for record in records if key in record.metrics]
            pairs = np.array([[run.metrics[LABELLED], run.metrics[key]] for run in runs])
            print(f"{key}: {correlation(pairs)}")
            for method, look in METHODS.items():
                mine = np.array([run.config.method == method for run in runs])
                if mine.any():
                    axes.scatter(*pairs[mine].T, color=look.colour, marker=look.marker, label=look.name, s=24)
            axes.plot([0.1, 1], [0, 1], color="#666d78", linewidth=0.8, dashes=(4, 3))
            axes.set_xlabel("leave-one-out coherence, by digits (chance .1)")
            axes.set_ylabel(f"label-free (0 = shuffled, {meaning})", fontsize=8)
            axes.set_title(correlation(pairs), loc="left", fontsize=8)
        axes.legend(fontsize=7)
        figure.savefig(Path(out), dpi=150, facecolor="white")


if __name__ == "__main__":
    main(*sys.argv[1:3])
