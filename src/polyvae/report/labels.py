"""Where names go in a crowded figure: each as near to its point as the others let it."""

from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np

Box = tuple[float, float, float, float]  # left, low, right, high

# From a point to the nearest edge of its label, in pixels, near ones first; at each, to the right first.
RADII = (7, 13, 20, 30, 42, 58, 78, 104, 140)
ANGLES = tuple(turn * pi / 8 for turn in (0, 8, 4, -4, 1, -1, 7, -7, 2, -2, 6, -6, 3, -3, 5, -5))
HIDDEN = 40.0  # times worse to hide a pixel of something than to be a pixel further away


def place(points: np.ndarray, sizes: np.ndarray, taken: Sequence[Box], frame: Box) -> np.ndarray:
    """The lower left corners (label, 2) of labels for `points` (label, 2) of these `sizes` (label, 2).

    taken: what no label should hide, such as marks. frame: the box to stay in.
    The most crowded points choose first; each takes the place that hides least, and of those the nearest.
    """
    boxes, inside = [np.array(box, float) for box in taken], np.array(frame, float)
    corners = np.zeros_like(points)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for i in np.argsort(np.sort(distances, axis=1)[:, 1:4].sum(1), kind="stable"):
        choices = [_corner(points[i], sizes[i], radius, angle) for radius in RADII for angle in ANGLES]
        radii = np.repeat(RADII, len(ANGLES))
        costs = [_cost(corner, sizes[i], boxes, inside) + r for corner, r in zip(choices, radii, strict=True)]
        corners[i] = choices[int(np.argmin(costs))]
        boxes.append(np.concatenate([corners[i], corners[i] + sizes[i]]))
    return corners


def _corner(point: np.ndarray, size: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """Of the label whose nearest edge is `radius` from the point in this direction."""
    way = np.array([cos(angle), sin(angle)])
    centre = point + radius * way + size / 2 * np.clip(way * 1.5, -1, 1)
    return centre - size / 2


def _cost(corner: np.ndarray, size: np.ndarray, boxes: Sequence[np.ndarray], frame: np.ndarray) -> float:
    """How much a label hides, and how much of it is outside the frame, in widths of a line."""
    here = np.concatenate([corner, corner + size])
    outside = np.clip([*(frame[:2] - here[:2]), *(here[2:] - frame[2:])], 0, None).sum()
    if not boxes:
        return HIDDEN * float(outside)
    others = np.stack(boxes)
    across = np.clip(np.minimum(here[2], others[:, 2]) - np.maximum(here[0], others[:, 0]), 0, None)
    down = np.clip(np.minimum(here[3], others[:, 3]) - np.maximum(here[1], others[:, 1]), 0, None)
    return HIDDEN * float(outside + (across * down).sum() / size[1])
