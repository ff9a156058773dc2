"""Figures of tables: codes in a plane, cells filled in against the truth, and which modalities rows lack."""

import importlib.util
import warnings
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
    """The first run at the best beta of each of the first series that kept views of tables."""
    first = [(member, member.best[0].views) for member in series]
    return [(member, views) for member, views in first if views is not None][:MOST]


def plane(points: Sequence[CodeFile]) -> tuple[np.ndarray, tuple[str, str]]:
    """The place (code, 2) of each code in a plane, and what the axes are.

    By UMAP (McInnes et al. 2018) at its defaults where umap-learn is installed and there are 50 codes or more of three
    components or more; else on the first two principal components.
    """
    on_components = np.array([[point["x"], point["y"], *point.get("further", ())] for point in points])
    if on_components.shape[0] < 50 or on_components.shape[1] < 3 or importlib.util.find_spec("umap") is None:
        return on_components[:, :2], ("first principal component", "second")
    umap = importlib.import_module("umap").UMAP(random_state=0, n_jobs=1)  # takes some seconds, as it compiles
    with warnings.catch_warnings(category=UserWarning, action="ignore"):  # such as of codes in separate groups
        return umap.fit_transform(on_components), ("UMAP 1", "UMAP 2")


def codes(
    places: np.ndarray,
    axes_names: tuple[str, str],
    series: Series,
    classes: Sequence[int | None],
    names: Sequence[str] = (),
    by: str = "class",
) -> Figure:
    """Places (code, 2), coloured by class: ten colours, or shades of more. names: of classes, by number."""
    with canvas(SIZE) as (figure, axes):
        known = sorted({each for each in classes if each is not None})
        if 1 < len(known) <= len(CLASSES):
            for each, colour in zip(known, CLASSES, strict=False):
                name = escapes.label(names[each] if 0 <= each < len(names) else str(each))
                _dots(axes, places[[of_row == each for of_row in classes]], colour, label=name)
            figure.legend(loc="outside right upper", title=escapes.label(by), handletextpad=0.1)
        elif known:
            axes.scatter(*places.T, c=np.array(classes, float), s=9, cmap="viridis", linewidths=0)
        else:
            _dots(axes, places, series.look.colour)
        axes.set_title(f"codes of {series.label}", loc="left", fontsize=9, color=MUTED)
        axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
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


def _dots(axes: Axes, places: np.ndarray, colour: str, **named: Any) -> None:
    axes.plot(*places.T, "o", color=colour, markersize=3.5, alpha=0.7, markeredgewidth=0, **named)
