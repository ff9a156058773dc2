"""Figures of tables: codes in a plane, cells filled in against the truth, and which modalities rows lack."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polyvae import escapes
from polyvae.report.drawing import OPACITY
from polyvae.report.runs import Series
from polyvae.report.style import INK, MUTED, PAPER, canvas
from polyvae.report.words import count, share
from polyvae.schema import CellFile, CodeFile, PatternFile, ViewsFile

SIZE = (3.9, 3.1)  # inches
MOST = 6  # series, and tables of each
CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7b818c", "#a6761d", "#444b57", "#c0b000")


def shown(series: Sequence[Series]) -> list[tuple[Series, ViewsFile]]:
    """The first run at the best beta of each of the first series that left something of tables."""
    first = [(member, member.best[0].views) for member in series]
    return [(member, views) for member, views in first if views is not None][:MOST]


def codes(points: Sequence[CodeFile], series: Series, names: Sequence[str] = ()) -> Figure:
    """On two principal components, coloured by class: ten colours, or shades of more. names: of classes, by number."""
    with canvas(SIZE) as (figure, axes):
        labels = sorted({label for point in points if (label := point["label"]) is not None})
        if 1 < len(labels) <= len(CLASSES):
            for label, colour in zip(labels, CLASSES, strict=False):
                name = escapes.label(names[label] if 0 <= label < len(names) else str(label))
                _dots(axes, [point for point in points if point["label"] == label], colour, label=name)
            figure.legend(loc="outside right upper", title="class", handletextpad=0.1)
        elif labels:
            x, y = _xy(points)
            axes.scatter(x, y, c=[point["label"] for point in points], s=9, cmap="viridis", linewidths=0)
        else:
            _dots(axes, points, series.look.colour)
        axes.set_title(f"codes of {series.label}", loc="left", fontsize=9, color=MUTED)
        axes.set(xlabel="first principal component", ylabel="second")
    return figure


def cells(found: Sequence[CellFile], target: str, series: Series) -> Figure:
    """The truth across, what was filled in upwards, with its interval."""
    truth, mean, low, high = (np.array([cell[key] for cell in found]) for key in ("truth", "mean", "low", "high"))
    with canvas(SIZE) as (figure, axes):
        axes.vlines(truth, low, high, color=series.look.colour, linewidth=0.8, alpha=0.3)
        axes.plot(truth, mean, "o", color=series.look.colour, markersize=3.5, markeredgewidth=0)
        ends = [min(truth.min(), mean.min()), max(truth.max(), mean.max())]
        axes.plot(ends, ends, color=MUTED, linewidth=1, dashes=(5, 2))
        held = share(float(np.mean((low <= truth) & (truth <= high))))
        axes.set_title(f"intervals hold {held} of {count(len(found), 'cell')}", loc="left", fontsize=9, color=MUTED)
        axes.set(xlabel=f"{target}, true (sd)", ylabel=f"filled in by {series.label} (sd)")
    return figure


def patterns(found: Sequence[PatternFile], modalities: Sequence[str]) -> Figure:
    """A line for each pattern: dark squares are modalities that its rows have, a number how many rows they are."""
    held = np.array([[name in pattern["present"] for name in modalities] for pattern in found], float)
    with canvas((1.6 + 0.5 * len(modalities), 0.9 + 0.28 * len(found))) as (figure, axes):
        axes.pcolormesh(held, cmap=OPACITY, vmin=0, vmax=1.4, edgecolor=PAPER, linewidth=2)
        axes.set_xticks(
            np.arange(len(modalities)) + 0.5, modalities, rotation=45 if max(map(len, modalities)) > 6 else 0
        )
        axes.set_yticks([])
        for line, pattern in enumerate(found):
            axes.text(len(modalities) + 0.15, line + 0.5, f"{pattern['rows']:,}", color=INK, va="center")
        axes.set_title("training rows that have these", loc="left", fontsize=9, color=MUTED)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    return figure


def _dots(axes: Axes, points: Sequence[CodeFile], colour: str, **named: Any) -> None:
    axes.plot(*_xy(points), "o", color=colour, markersize=3.5, alpha=0.7, markeredgewidth=0, **named)


def _xy(points: Sequence[CodeFile]) -> tuple[list[float], list[float]]:
    return [point["x"] for point in points], [point["y"] for point in points]
