"""Diversity of conditional samples (the observation of figure 10 as a number): draws for one input should differ."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset, chosen_rows
from polyvae.judges.extractors import Extractor
from polyvae.metrics.coherence import check_labels
from polyvae.metrics.moments import finite
from polyvae.metrics.protocol import Draws, Subset, check_names, conditional_means, rows_with, scoring
from polyvae.metrics.readings import Readings
from polyvae.models.contract import Model

DRAWS = 10
INPUTS = 100


def mean_pairwise_distance(features: np.ndarray | Tensor) -> float:
    """Mean Euclidean distance between different rows of (row, dimension). Raises InputError for fewer than 2 rows."""
    return float(torch.nn.functional.pdist(torch.from_numpy(finite(features, "diversity"))).mean())


def diversity(
    model: Model,
    data: MultimodalDataset,
    extractor: Extractor,
    readings: Readings,
    *,
    seed: int = 0,
    batch_size: int = 500,
) -> dict[str, float]:
    """diversity/<extractor>/<given>/<target> for single given modalities and what the extractor reads; and /mean.

    Ten draws of the target for each of at most 100 test inputs: their mean pairwise feature distance, divided by that
    of real values of the input's class. 1 is as diverse as real data, 0 is one value for all draws. readings: what was
    read in the real data. Inputs of a class with a single real value, or with one value over and over, are left out.
    Raises InputError without labels.
    """
    labels, targets = check_labels(data, "diversity"), tuple(readings.real)
    check_names(model, data, readings.rows)
    scores: dict[str, float] = {}
    with scoring(model):
        for given, target in ((g, t) for g, t in permutations(model.names, 2) if t in targets):
            rows = _inputs(data, readings.rows, given, target, seed)
            real, drawn = (
                _spread_of_real(readings, labels, target),
                _draws(model, data, extractor, (given, target), rows, seed, batch_size),
            )
            known = [row for row in rows if int(labels[row]) in real]
            ratios = [mean_pairwise_distance(drawn[row]) / real[int(labels[row])] for row in known]
            if ratios:
                scores[f"{given}/{target}"] = float(np.mean(ratios))
    if scores:
        scores["mean"] = float(np.mean(list(scores.values())))
    return {f"diversity/{extractor.name}/{key}": value for key, value in scores.items()}


def _inputs(data: MultimodalDataset, rows: Sequence[int], given: str, target: str, seed: int) -> list[int]:
    able = rows_with(data, rows, (given,))
    return [able[i] for i in chosen_rows(len(able), INPUTS, seed)]


def _spread_of_real(readings: Readings, labels: np.ndarray, target: str) -> dict[int, float]:
    read = readings.real[target]
    by_class = {int(c): read.features[labels[read.rows] == c] for c in np.unique(labels)}
    spread = {c: mean_pairwise_distance(features[:500]) for c, features in by_class.items() if len(features) > 1}
    return {c: distance for c, distance in spread.items() if distance > 0}


def _draws(
    model: Model,
    data: MultimodalDataset,
    extractor: Extractor,
    pair: tuple[str, str],
    rows: Sequence[int],
    seed: int,
    batch_size: int,
) -> dict[int, np.ndarray]:
    """row -> features (draw, dimension)."""
    given, target = pair
    features_of: dict[int, list[np.ndarray]] = {row: [] for row in rows}
    for draw in range(DRAWS):
        wanted: dict[Subset, Subset] = {(given,): (target,)}
        for drawn in conditional_means(model, data, wanted, rows, Draws(seed, f"diversity/{draw}", batch_size)):
            features, _ = extractor.read(target, drawn.values)
            for row, of_row in zip(drawn.rows, features.cpu().numpy(), strict=True):
                features_of[row].append(of_row)
    return {row: np.stack(draws) for row, draws in features_of.items()}
