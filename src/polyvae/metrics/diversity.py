"""Diversity of conditional samples (the observation of figure 10 as a number): draws for one input should differ."""

from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from polyvae.judges.extractors import Extractor
from polyvae.metrics.coherence import check_labels
from polyvae.metrics.moments import finite
from polyvae.metrics.protocol import Trial, scoring
from polyvae.metrics.readings import Read, Readings
from polyvae.models.contract import Model

DRAWS = 10
INPUTS = 100


def mean_pairwise_distance(features: np.ndarray | Tensor) -> float:
    """Mean Euclidean distance between different rows of (row, dimension). Raises InputError for fewer than 2 rows."""
    return float(torch.nn.functional.pdist(torch.from_numpy(finite(features, "diversity"))).mean())


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
        for given, target in permutations(trial.model.names, 2):
            if target not in readings.real:
                continue
            real = _spread_of_real(readings.real[target], labels)
            drawn = _draws(trial.having((given,), INPUTS), extractor, given, target)
            of_class = {row: real[c] for row in drawn if (c := int(labels[row])) in real}
            ratios = [mean_pairwise_distance(drawn[row]) / distance for row, distance in of_class.items()]
            if ratios:
                scores[f"{given}/{target}"] = float(np.mean(ratios))
    if scores:
        scores["mean"] = float(np.mean(list(scores.values())))
    return {f"diversity/{extractor.name}/{key}": value for key, value in scores.items()}


def _spread_of_real(read: Read, labels: np.ndarray) -> dict[int, float]:
    """class -> mean pairwise distance of its real values, where it is above 0."""
    by_class = {int(c): read.features[labels[read.rows] == c] for c in np.unique(labels)}
    spread = {c: mean_pairwise_distance(features[:500]) for c, features in by_class.items() if len(features) > 1}
    return {c: distance for c, distance in spread.items() if distance > 0}


def _draws(trial: Trial[Model], extractor: Extractor, given: str, target: str) -> dict[int, np.ndarray]:
    """row -> features (draw, dimension)."""
    features_of: dict[int, list[np.ndarray]] = {row: [] for row in trial.rows}
    for draw in range(DRAWS):
        for drawn in trial.conditional_means(f"diversity/{draw}", {(given,): (target,)}):
            features, _ = extractor.read(target, drawn.values)
            for row, of_row in zip(drawn.rows, features.cpu().numpy(), strict=True):
                features_of[row].append(of_row)
    return {row: np.stack(draws) for row, draws in features_of.items()}
