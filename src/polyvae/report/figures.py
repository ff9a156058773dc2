"""The data behind each figure, as pure functions of the records."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from polyvae import keys
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.report.runs import Group, Run, Series

MOST_IN_HEATMAP = 6
REFERENCE = 2000.0  # distance on judge features of the reference point of hypervolumes, at coherence 0
CURVES = {"distortion": "distortion per modality (nats)", "rate": "rate (nats)", "loss": "loss per modality (nats)"}


class Point(NamedTuple):
    distance: float
    coherence: float
    beta: float
    run: Run


class Trade(NamedTuple):
    """Quality against coherence: points of each series, and distances of series without a coherence."""

    points: dict[str, list[Point]]
    lines: dict[str, float]


def trade_off(group: Group) -> Trade | None:
    """The opening figure's data; None when no run has both numbers."""
    if group.compared is None:
        return None
    key, points = group.compared.key(), {}
    for series in group.in_plane:
        if scored := [r for r in series.runs if {key, LEAVE_ONE_OUT} <= set(r.metrics)]:
            points[series.label] = [Point(r.metrics[key], r.metrics[LEAVE_ONE_OUT], r.config.beta, r) for r in scored]
    lines = {s.label: v for s in group.in_plane if s.label not in points and (v := s.value(key)) is not None}
    return Trade(points, lines) if points else None


def means(points: Iterable[Point]) -> list[tuple[float, float]]:
    """(distance, coherence) of each beta, mean over seeds, in order of beta."""
    members = list(points)
    betas = sorted({point.beta for point in members})
    groups = [[point[:2] for point in members if point.beta == beta] for beta in betas]
    return [(float(d), float(c)) for d, c in (np.mean(group, axis=0) for group in groups)]


def front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The Pareto front: the points that no other one beats in both, in order of distance."""
    best: list[tuple[float, float]] = []
    for distance, coherence in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not best or coherence > best[-1][1]:
            best.append((distance, coherence))
    return best


def hypervolume(points: Iterable[tuple[float, float]], reference: float = REFERENCE) -> float:
    """Share of the rectangle from (0, 1) to the reference point (`reference`, 0) that the points dominate: 0 to 1."""
    steps = [point for point in front(points) if point[0] < reference]
    corners = pairwise([*steps, (reference, 0.0)])
    area = sum((end - distance) * coherence for (distance, coherence), (end, _) in corners)
    return area / reference


def by_inputs(group: Group) -> dict[str, list[tuple[int, float]]]:
    """Coherence by the number of given modalities, as `_curves`."""
    return _curves(group, {k: keys.of(keys.BY_INPUTS, k) for k in range(1, len(group.modalities) + 1)})


def probe(group: Group) -> dict[str, list[tuple[int, float]]]:
    """Accuracy of the linear probe by number of labelled examples, as `_curves`."""
    stem = keys.PROBE_BY_EXAMPLES
    counts = {int(count) for run in group.runs for count in keys.below(stem, run.metrics) if count.isdecimal()}
    return _curves(group, {count: keys.of(stem, count) for count in counts} | {500: keys.LINEAR_PROBE})


def _curves(group: Group, metrics: Mapping[int, str]) -> dict[str, list[tuple[int, float]]]:
    """Per series the values of these metrics (x -> key) at its best beta; only series with two or more of them."""
    curves = {
        s.label: [(x, value) for x, key in sorted(metrics.items()) if (value := s.value(key)) is not None]
        for s in group.series
    }
    return {label: curve for label, curve in curves.items() if len(curve) > 1}


def pairs(series: Series, modalities: Sequence[str]) -> np.ndarray | None:
    """Coherence given (row) -> target (column) for single inputs, self coherence on the diagonal, NaN where missing.

    None when there are more than six modalities or no pair was scored.
    """
    if not 2 <= len(modalities) <= MOST_IN_HEATMAP:
        return None
    values = [[series.value(keys.coherence([g], t)) for t in modalities] for g in modalities]
    matrix = np.array(values, dtype=float)
    if np.isnan(matrix).all():
        return None
    np.fill_diagonal(matrix, np.array([series.value(keys.of(keys.SELF_COHERENCE, m)) for m in modalities], dtype=float))
    return matrix


class Floored(NamedTuple):
    """A run in the rate-distortion plane, with the certified floor of its distortion, all in nats."""

    beta: float
    rate: float
    distortion: float
    floor: float


def floors(group: Group) -> dict[str, list[Floored]]:
    """Per series what those runs reached that have a floor.

    Distortion and floor are divided by the number of modalities, so that runs of one modality share the axis.
    """
    needed = {keys.RATE, keys.DISTORTION, keys.FLOOR}
    curves = {s.label: [_floored(run) for run in s.runs if needed <= set(run.metrics)] for s in group.series}
    return {label: reached for label, reached in curves.items() if reached}


def _floored(run: Run) -> Floored:
    distortion, floor = (run.metrics[key] / len(run.modalities) for key in (keys.DISTORTION, keys.FLOOR))
    return Floored(run.config.beta, run.metrics[keys.RATE], distortion, floor)


def training_curves(group: Group, quantity: str, part: str = "train") -> dict[str, list[list[float]]]:
    """Per series one curve (a value per epoch) for each seed at the best beta; `part` is train or validation.

    Distortion and loss are divided by the number of modalities, so that the unimodal runs share the axis.
    """
    curves = {s.label: [curve for run in s.best if (curve := _curve(run, quantity, part))] for s in group.series}
    return {label: of_seeds for label, of_seeds in curves.items() if of_seeds}


def _curve(run: Run, quantity: str, part: str) -> list[float]:
    lines = run.history if part == "train" else [line.get("validation", {}) for line in run.history]
    share = 1 if quantity == "rate" else max(1, len(run.modalities))
    if len(lines) < 2:
        return []  # a single point is no curve
    return [line[quantity] / share for line in lines if line.get(quantity) is not None]
