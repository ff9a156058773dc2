"""Diversity of conditional samples (the observation of figure 10 as a number): draws for one input should differ."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pdist

from polyvae.judges.extractors import Extractor
from polyvae.metrics.coherence import check_labels
from polyvae.metrics.moments import finite
from polyvae.metrics.pairs import Subset
from polyvae.metrics.protocol import Trial, scoring
from polyvae.metrics.readings import Read, Readings
from polyvae.models.contract import Model

DRAWS = 10
INPUTS = 100
MOST_REAL = 500  # of a class


def mean_pairwise_distance(features: np.ndarray | Tensor) -> float:
    """Mean Euclidean distance between different rows of (row, dimension). Raises InputError for fewer than 2 rows."""
    return float(pdist(finite(features, "diversity")).mean())


def diversity(readings: Readings) -> dict[str, float]:
    """diversity/<extractor>/<given>/<target> for single given modalities and what the extractor reads; and /mean.

    Ten draws of the target for each of at most 100 test inputs: their mean pairwise feature distance, divided by that
    of real values of the input's class. 1 is as diverse as real data, 0 is one value for all draws. Inputs of a class
    with a single real value, or with one value over and over, are left out.
    Raises InputError without labels.
    """
    trial, extractor = readings.trial, readings.extractor
    labels = check_labels(trial.data, "diversity")
    scores: dict[str, float] = {}
    with scoring(trial.model):
        real = {target: _spread_of_real(read, labels) for target, read in readings.real.items()}
        for given in trial.model.names:
            inputs = trial.having((given,), INPUTS)
            if not inputs.rows:
                continue
            targets = tuple(target for target in real if target != given)
            for target, distances in _spread_of_draws(inputs, extractor, given, targets).items():
                ratios = distances / np.array([real[target].get(int(labels[row]), np.nan) for row in inputs.rows])
                if not np.isnan(ratios).all():
                    scores[f"{given}/{target}"] = float(np.nanmean(ratios))
    if scores:
        scores["mean"] = float(np.mean(list(scores.values())))
    return {f"diversity/{extractor.name}/{key}": value for key, value in scores.items()}


def _spread_of_real(read: Read, labels: np.ndarray) -> dict[int, float]:
    """class -> mean pairwise distance of its real values, where it is above 0."""
    of_class = {int(c): np.flatnonzero(labels[read.rows] == c)[:MOST_REAL] for c in np.unique(labels)}
    spread = {c: mean_pairwise_distance(read.features[rows]) for c, rows in of_class.items() if len(rows) > 1}
    return {c: distance for c, distance in spread.items() if distance > 0}


def _spread_of_draws(trial: Trial[Model], extractor: Extractor, given: str, targets: Subset) -> dict[str, np.ndarray]:
    """target -> mean pairwise distance of the draws for each row of the trial, all of which have `given`: (row,)."""
    features: dict[str, list[Tensor]] = {target: [] for target in targets}
    for drawn in trial.conditional_means("diversity", {(given,): targets}, draws=DRAWS):
        features[drawn.target].append(extractor.read(drawn.target, drawn.values)[0])
    first, second = torch.triu_indices(DRAWS, DRAWS, 1)
    spread = {}
    for target, parts in features.items():
        batches = [torch.stack(parts[start : start + DRAWS]).double() for start in range(0, len(parts), DRAWS)]
        distances = [(draws[first] - draws[second]).norm(dim=-1).mean(0) for draws in batches]
        spread[target] = torch.cat(distances).cpu().numpy()
    return spread
