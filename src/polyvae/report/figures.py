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
CURVES = ("distortion", "rate", "loss")


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
    """A run's distortion of one modality, and its certified floor, in nats."""

    beta: float
    distortion: float
    floor: float


def floors(group: Group) -> dict[str, dict[str, list[Floored]]]:
    """modality -> series -> a point for each run that has the modality's floor.

    Modalities differ in their floors, so each stands against its own: runs of one modality against that one alone.
    """
    by_modality = {}
    for name in group.modalities:
        curves = {s.label: [point for run in s.runs if (point := _floored(run, name))] for s in group.swept}
        if reached := {label: points for label, points in curves.items() if points}:
            by_modality[name] = reached
    return by_modality


def _floored(run: Run, modality: str) -> Floored | None:
    log_likelihood, floor = (run.metrics.get(keys.of(stem, modality)) for stem in (keys.RECONSTRUCTION, keys.FLOOR))
    return None if log_likelihood is None or floor is None else Floored(run.config.beta, -log_likelihood, floor)


def training_curves(group: Group, quantity: str, part: str = "train") -> dict[str, list[list[float]]]:
    """Per series one curve (a value per epoch) for each seed at the best beta; `part` is train or validation.

    The distortion is of the modalities that all runs have. A loss is of whole runs: of those with all modalities.
    """
    curves = {s.label: [curve for run in s.best if (curve := _curve(group, run, quantity, part))] for s in group.series}
    return {label: of_seeds for label, of_seeds in curves.items() if of_seeds}


def of_what(group: Group, quantity: str) -> str:
    """What the curve of this quantity shows, for its axis."""
    names = _shared(group)
    whose = f" of {', '.join(names)}" if quantity == "distortion" and names != group.modalities else ""
    return f"{quantity}{whose} (nats)"


def _shared(group: Group) -> tuple[str, ...]:
    """The modalities that all runs have; all modalities, if there are none."""
    shared = tuple(name for name in group.modalities if all(name in run.modalities for run in group.runs))
    return shared or group.modalities


def _curve(group: Group, run: Run, quantity: str, part: str) -> list[float]:
    lines = run.history if part == "train" else [line.get("validation", {}) for line in run.history]
    needed = _shared(group) if quantity == "distortion" else group.modalities if quantity == "loss" else ()
    if len(lines) < 2 or not set(needed) <= set(run.modalities):
        return []  # a single point is not a curve
    if quantity != "distortion":
        return [line[quantity] for line in lines if line.get(quantity) is not None]
    parts = [[line.get("log_likelihood", {}).get(name) for name in needed] for line in lines]
    return [-sum(values) for values in parts if None not in values]
