"""A whole view of a table filled in from the others, with 0, 25 and 50 % of the training views missing.

    python benchmarks/imputation.py uci_mfeat.npz

The file holds UCI Multiple Features: six real views of 2,000 numerals. Each view of 400 complete test rows is predicted
from the other five, by MVAE and MoPoE-VAE (best weights, calibrated intervals), by the baselines of the metric (mean of
the training rows, ridge, nearest neighbours), and by scikit-learn's IterativeImputer (20 nearest features, 5 rounds).
Errors are in standard deviations of the training rows, means over views.
"""

import argparse
import math
import tempfile
import time
from dataclasses import replace

import numpy as np
import torch
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

import polyvae as pv
from polyvae.keys import BASELINES, all_but
from polyvae.metrics.baselines import baselines

TEST = 400
CONFIG = pv.RunConfig(
    latent_dim=32,
    epochs=60,
    batch_size=128,
    learning_rate=1e-3,
    schedule="cosine",
    test_size=1,
    metrics="none",
    threads=1,
)


def masked(data: pv.MultimodalDataset, missing: float, seed: int) -> pv.MultimodalDataset:
    """The same rows with a share of their views absent; one view at least is kept."""
    rng = np.random.default_rng(seed)
    present = rng.random(data.present.shape) >= missing
    present[np.arange(len(data)), rng.integers(0, present.shape[1], len(data))] = True
    return replace(data, present=torch.from_numpy(present))


def by_model(method: str, train: pv.MultimodalDataset, test: pv.MultimodalDataset, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as store:
        result = pv.run(CONFIG.with_(method=method, seed=seed), store, data=train)
        model, calibration = result.load(), pv.load_calibration(result.folder)
    found = pv.metrics.imputation(model, test, train, calibration=calibration)
    own = {key: value for key, value in found.items() if key.split("/")[1] not in BASELINES}
    return {kind: float(np.mean([value for key, value in own.items() if key.endswith(kind)])) for kind in KINDS}


def by_baselines(train: pv.MultimodalDataset, test: pv.MultimodalDataset) -> dict[str, float]:
    """RMSE of each, mean over the views."""
    batch, names = test.batch(slice(None)), test.names
    found = [baselines(train, batch, all_but(target, names), target) for target in names]
    errors = [
        {name: math.sqrt((filled - batch.values[target]).square().mean()) for name, filled in of_target.items()}
        for target, of_target in zip(names, found, strict=True)
    ]
    return {name: float(np.mean([of_target[name] for of_target in errors])) for name in errors[0]}


KINDS = ("rmse", "nll", "coverage")


def by_scikit_learn(train: pv.MultimodalDataset, test: pv.MultimodalDataset) -> float:
    """RMSE of IterativeImputer, each view of the test rows absent in turn."""

    def table(data: pv.MultimodalDataset, absent: str | None = None) -> np.ndarray:
        batch = data.batch(slice(None))
        columns = []
        for index, (name, values) in enumerate(batch.values.items()):
            seen = batch.present[:, index, None] & (name != absent)
            columns.append(torch.where(seen, values, torch.nan).numpy())
        return np.concatenate(columns, 1)

    imputer = IterativeImputer(max_iter=5, n_nearest_features=20, random_state=0, tol=0).fit(table(train))
    errors, start = [], 0
    truth = table(test)
    for modality in test.modalities:
        end = start + modality.shape[0]
        filled = imputer.transform(table(test, modality.name))
        errors.append(math.sqrt(np.square(filled[:, start:end] - truth[:, start:end]).mean()))
        start = end
    return float(np.mean(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--seeds", type=int, default=2)
    chosen = parser.parse_args()
    arrays = dict(np.load(chosen.file).items())
    train, test = (pv.datasets.load("arrays", data=arrays, split=split, test_size=TEST) for split in ("train", "test"))
    torch.set_num_threads(1)  # the networks are too small for more
    print("missing | method | rmse | nll a feature | coverage of the 80 % interval")
    for missing in (0.0, 0.25, 0.5):
        started = time.perf_counter()
        with_gaps = [masked(train, missing, seed) for seed in range(chosen.seeds)]
        scores = [by_baselines(data, test) for data in with_gaps]
        for name in scores[0]:
            print(f"{missing:.0%} | {name} | {np.mean([score[name] for score in scores]):.3f} | |", flush=True)
        for method in ("mvae", "mopoe"):
            scores = [by_model(method, data, test, seed) for seed, data in enumerate(with_gaps)]
            columns = {kind: [score[kind] for score in scores] for kind in KINDS}
            cells = [f"{np.mean(column):.3f} +- {np.std(column, ddof=1):.3f}" for column in columns.values()]
            print(f"{missing:.0%} | {method} | {' | '.join(cells)}", flush=True)
        print(f"{missing:.0%} | IterativeImputer | {by_scikit_learn(with_gaps[0], test):.3f} | |", flush=True)
        print(f"{time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
