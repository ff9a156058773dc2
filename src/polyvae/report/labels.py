"""Where names go in a crowded figure: each as near to its point as the others let it."""

from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np

Box = tuple[float, float, float, float]  # left, low, right, high

# From a point to the nearest edge of its label, in pixels, near ones first; at each, to the right first.
RADII = (7, 13, 20, 30, 42, 58, 78, 104, 140)
ANGLES = tuple(turn * pi / 8 for turn in (0, 8, 4, -4, 1, -1, 7, -7, 2, -2, 6, -6, 3, -3, 5, -5))
HIDDEN = 40.0  # times worse to hide a pixel of something than to be a pixel further away
STEPS = np.linspace(0, 1, 9)[:, None]  # along the line from a point to its label


def place(points: np.ndarray, sizes: np.ndarray, taken: Sequence[Box], frame: Box) -> np.ndarray:
    """The lower left corners (label, 2) of labels for `points` (label, 2) of these `sizes` (label, 2).

    taken: what no label should hide, such as marks. frame: the box to stay in.
    The most crowded points choose first; each takes the place that hides least, and of those the nearest. The line to a
    label hides what it crosses, but for the marks.
    """
    inside, marks = np.array(frame, float), np.array(taken, float).reshape(-1, 4)
    labels, lines = np.empty((0, 4)), np.empty((0, 4))
    corners = np.zeros_like(points)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for i in np.argsort(np.sort(distances, axis=1)[:, 1:4].sum(1), kind="stable"):
        options = [(_corner(points[i], sizes[i], radius, angle), radius) for radius in RADII for angle in ANGLES]
        boxes = [np.concatenate([corner, corner + sizes[i]]) for corner, _ in options]
        everything = np.concatenate([marks, labels, lines])
        costs = [
            radius + HIDDEN * (_outside(box, inside) + _hidden(box, everything) + _crossed(points[i], box, labels))
            for box, (_, radius) in zip(boxes, options, strict=True)
        ]
        best = int(np.argmin(costs))
        corners[i] = options[best][0]
        along = _line(points[i], boxes[best])
        labels = np.concatenate([labels, boxes[best][None]])
        lines = np.concatenate([lines, np.hstack([along - 1, along + 1])])
    return corners


def _corner(point: np.ndarray, size: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """Of the label whose nearest edge is `radius` from the point in this direction."""
    way = np.array([cos(angle), sin(angle)])
    centre = point + radius * way + size / 2 * np.clip(way * 1.5, -1, 1)
    return centre - size / 2


def _outside(box: np.ndarray, frame: np.ndarray) -> float:
    """Pixels by which a box leaves the frame."""
    return float(np.clip([*(frame[:2] - box[:2]), *(box[2:] - frame[2:])], 0, None).sum())


def _hidden(box: np.ndarray, others: np.ndarray) -> float:
    """Pixels of a line of text that other boxes share with this one."""
    shared = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None)
    return float(shared.prod(1).sum() / (box[3] - box[1]))


def _crossed(point: np.ndarray, box: np.ndarray, labels: np.ndarray) -> float:
    """Over how many steps of the line from a point to its box other labels lie."""
    along = _line(point, box)[:, None]
    return float(((labels[:, :2] < along) & (along < labels[:, 2:])).all(-1).sum())


def _line(point: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Points (step, 2) on the way from a point to the nearest one of a box."""
    return point + STEPS * (np.clip(point, box[:2], box[2:]) - point)
