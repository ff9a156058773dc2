"""The data behind each figure, as pure functions of the records."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from polyvae import keys
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.report.runs import Group, Run, Series

MOST_IN_HEATMAP = 6
REFERENCE = 2000.0  # distance on judge features of the reference point of hypervolumes, at coherence 0
CURVES = {
    "distortion": "distortion per modality (nats)",
    "rate": "rate (nats)",
    "loss": "loss per modality (nats)",
}


class Point(NamedTuple):
    distance: float
    coherence: float
    beta: float
    run: Run


class Trade(NamedTuple):
    """Quality against coherence: points of each series, distances of series without a coherence, limits."""

    points: dict[str, list[Point]]
    lines: dict[str, float]
    floor: float | None
    ceiling: float | None


def trade_off(group: Group) -> Trade | None:
    """The opening figure's data; None when no run has both numbers."""
    if group.compared is None:
        return None
    key = group.compared.key()
    points = {
        s.label: [
            Point(run.metrics[key], run.metrics[LEAVE_ONE_OUT], run.config.beta, run)
            for run in s.runs
            if key in run.metrics and LEAVE_ONE_OUT in run.metrics
        ]
        for s in group.in_plane
    }
    points = {label: found for label, found in points.items() if found}
    lines = {s.label: v for s in group.in_plane if s.label not in points and (v := s.value(key)) is not None}
    return Trade(points, lines, group.floor, group.ceiling) if points else None


def means(points: Iterable[Point]) -> list[tuple[float, float]]:
    """(distance, coherence) of each beta, mean over seeds, in order of beta."""
    found = list(points)
    betas = sorted({point.beta for point in found})
    groups = [[point[:2] for point in found if point.beta == beta] for beta in betas]
    return [(float(d), float(c)) for d, c in (np.mean(group, axis=0) for group in groups)]


def front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The Pareto front: the points that no other one beats in both, in order of distance."""
    kept: list[tuple[float, float]] = []
    for distance, coherence in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not kept or coherence > kept[-1][1]:
            kept.append((distance, coherence))
    return kept


def hypervolume(points: Iterable[tuple[float, float]], reference: float = REFERENCE) -> float:
    """Share of the rectangle from (0, 1) to the reference point (`reference`, 0) that the points dominate: 0 to 1."""
    kept = [point for point in front(points) if point[0] < reference]
    ends = [distance for distance, _ in kept][1:] + [reference] * bool(kept)
    area = sum((end - distance) * coherence for (distance, coherence), end in zip(kept, ends, strict=True))
    return area / reference


def by_inputs(group: Group) -> dict[str, list[tuple[int, float]]]:
    """Coherence by the number of given modalities, at each series' best beta; only series with two or more numbers."""
    curves = {}
    for series in group.series:
        values = [(k, series.value(keys.of(keys.BY_INPUTS, k))) for k in range(1, len(group.modalities) + 1)]
        found = [(k, value) for k, value in values if value is not None]
        if len(found) > 1:
            curves[series.label] = found
    return curves


def probe(group: Group) -> dict[str, list[tuple[int, float]]]:
    """Accuracy of the linear probe by number of labelled examples, at each series' best beta."""
    stem = keys.PROBE_BY_EXAMPLES
    counts = {int(count) for run in group.runs for count in keys.below(stem, run.metrics)}
    curves = {}
    for series in group.series:
        values = {n: series.value(keys.of(stem, n)) for n in counts} | {500: series.value(keys.LINEAR_PROBE)}
        curve = sorted((n, value) for n, value in values.items() if value is not None)
        if len(curve) > 1:
            curves[series.label] = curve
    return curves


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
    """Per series what every run reached that has a floor.

    Distortion and floor are divided by the number of modalities, so that runs of one modality share the axis.
    """
    curves = {}
    for series in group.series:
        reached = [_floored(run) for run in series.runs if {keys.RATE, keys.DISTORTION, keys.FLOOR} <= set(run.metrics)]
        if reached:
            curves[series.label] = reached
    return curves


def _floored(run: Run) -> Floored:
    distortion, floor = (run.metrics[key] / len(run.modalities) for key in (keys.DISTORTION, keys.FLOOR))
    return Floored(run.config.beta, run.metrics[keys.RATE], distortion, floor)


def training_curves(group: Group, quantity: str, part: str = "train") -> dict[str, list[list[float]]]:
    """Per series one curve (a value an epoch) for each seed at the best beta; `part` is train or validation.

    Distortion and loss are divided by the number of modalities, so that the unimodal runs share the axis.
    """
    curves = {}
    for series in group.series:
        found = [_curve(run, quantity, part) for run in series.best]
        if any(found):
            curves[series.label] = [curve for curve in found if curve]
    return curves


def _curve(run: Run, quantity: str, part: str) -> list[float]:
    lines = run.history if part == "train" else [line.get("validation", {}) for line in run.history]
    share = 1 if quantity == "rate" else max(1, len(run.modalities))
    if len(lines) < 2:
        return []  # a single point is no curve
    return [line[quantity] / share for line in lines if quantity in line]
