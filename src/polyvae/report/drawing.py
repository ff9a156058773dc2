"""The figures, drawn from the data that `figures` returns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from polyvae.report.figures import Floored, Point, Trade, front, means, of_what, training_curves
from polyvae.report.labels import place
from polyvae.report.marks import Marks
from polyvae.report.runs import Group, Series
from polyvae.report.style import DASH, INK, MUTED, PAPER, Look, canvas, drawing
from polyvae.report.words import short, weights

LARGE, SMALL = (5.6, 4.3), (3.9, 3.1)  # inches; about the width on the page, so that text keeps its size
CROWDED = 20  # points from which on markers are small
MARK, FAR = 7, 9  # pixels from a mark to the next name that may be, and from which on a line leads to it
# One hue over whatever is behind it, so that the squares suit light and dark pages.
OPACITY = ListedColormap([(0.0, 0.447, 0.698, 0.04 + 0.96 * i / 255) for i in range(256)])
OFFSET: Any = {"textcoords": "offset points"}


class Label(NamedTuple):
    """Text at a point. lead: the colour of the line to the point if there is no room beside it; else it is dropped."""

    text: str
    at: tuple[float, float]
    colour: str
    lead: str = ""


def trade_off(data: Trade, group: Group, marks: Marks) -> Figure:
    with canvas(LARGE) as (figure, axes):
        series = {s.label: s for s in group.series}
        names = _short_names([series[label] for label in (*data.points, *data.lines)])
        distances = [p.distance for points in data.points.values() for p in points] + list(data.lines.values())
        if is_log := min(distances) > 0 and max(distances) > 10 * min(distances):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.12)
        for label, points in data.points.items():
            _points(axes, points, series[label], marks, size=6 if len(distances) > CROWDED else 9)
        _front(axes, data)
        for label, distance in data.lines.items():
            gid = marks.line(series[label].method)
            axes.axvline(distance, color=series[label].look.colour, dashes=(5, 2), gid=gid)
            _beside(axes, distance, f"{names[label]} {short(distance)}")
        _limits(axes, group, is_log)
        if not is_log:
            axes.set_xlim(0, 1.18 * max(distances))
        axes.set_ylim(0, 1.06)
        extractor, modality = group.compared or ("", "")
        axes.set_xlabel(f"Fréchet distance of {modality} ({extractor} features), lower is better")
        axes.set_ylabel("leave-one-out coherence, higher is better")
        axes.set_title(weights(group), loc="left", fontsize=9, color=MUTED)
        _good_corner(axes)
        _names(figure, axes, data.points, series, names)
    return figure


def probe(curves: dict[str, list[tuple[int, float]]], group: Group) -> Figure:
    with canvas(SMALL) as (figure, axes):
        _marked_lines(axes, curves, group)
        axes.set_xscale("log")
        counts = sorted({count for curve in curves.values() for count, _ in curve})
        axes.set_xticks(counts, [f"{count:,}" for count in counts], rotation=45)
        axes.minorticks_off()
        axes.set(ylim=(0, 1.06), xlabel="labelled examples", ylabel="accuracy of a linear probe")
        axes.legend()
    return figure


def by_inputs(curves: dict[str, list[tuple[int, float]]], group: Group) -> Figure:
    with canvas(SMALL) as (figure, axes):
        _marked_lines(axes, curves, group)
        if group.ceiling is not None:
            axes.axhline(group.ceiling, color=MUTED, linewidth=1, dashes=(1, 2), label="judge's ceiling")
        axes.set(ylim=(0, 1.06), xlabel="number of given modalities", ylabel="coherence of the others")
        _finish(figure, axes)
    return figure


def pairs(matrix: np.ndarray, series: Series, modalities: Sequence[str]) -> Figure:
    size = 0.8 + 0.42 * len(modalities)
    with canvas((size + 0.1, size)) as (figure, axes):
        axes.pcolormesh(matrix, cmap=OPACITY, vmin=0, vmax=1, edgecolor=PAPER, linewidth=2)
        for (row, column), value in np.ndenumerate(matrix):
            text, colour = (DASH, INK) if np.isnan(value) else (f"{value:.2f}", "white" if value > 0.55 else INK)
            axes.text(column + 0.5, row + 0.5, text, color=colour, ha="center", va="center")
        ticks = np.arange(len(modalities)) + 0.5
        axes.set_xticks(ticks, modalities)
        axes.set_yticks(ticks, modalities)
        axes.set(xlabel="target", ylabel="given", title=series.label, aspect="equal")
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    return figure


def floors(data: dict[str, dict[str, list[Floored]]], group: Group) -> Figure:
    """The distortion of each modality, by beta, and the bound below it in the same colour."""
    with drawing():
        figure = Figure(figsize=((len(data) + 1) * SMALL[0] / 2, SMALL[1]))
        panels = figure.subplots(1, len(data), squeeze=False)[0]
        named: dict[str, Any] = {}
        for axes, (modality, curves) in zip(panels, data.items(), strict=True):
            for series in group.swept:
                if runs := sorted(curves.get(series.label, [])):
                    look = series.look
                    axes.axhline(runs[0].floor, color=look.colour, linewidth=1, dashes=(5, 2))
                    line = [(run.beta, run.distortion) for run in runs]
                    _line(axes, line, look, label=series.label, marker=look.marker)
            named |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
            betas = sorted({run.beta for runs in curves.values() for run in runs})
            axes.set_xscale("log")
            axes.set(xlabel="β", title=modality)
            axes.set_xticks(betas, [f"{beta:g}" for beta in betas])
            axes.minorticks_off()
        panels[0].set_ylabel("distortion (nats)")
        figure.legend(
            list(named.values()), list(named), loc="outside upper left", ncols=2, handlelength=1.3, columnspacing=1.2
        )
    return figure


def training(group: Group, quantity: str) -> Figure:
    with canvas(SMALL) as (figure, axes):
        looks = {s.label: s.look for s in group.series}
        train, validation = (training_curves(group, quantity, part) for part in ("train", "validation"))
        for shown, style in ((train, "-"), (validation, "--")):
            for label, curves in shown.items():
                for i, curve in enumerate(curves):
                    name = label if shown is train and i == 0 else None
                    _line(axes, list(enumerate(curve, start=1)), looks[label], label=name, linestyle=style)
        _cut_start(axes, [curve for curves in train.values() for curve in curves])
        axes.set(xlabel="epoch", ylabel=of_what(group, quantity))
        _finish(figure, axes)
    return figure


def _points(axes: Axes, points: list[Point], series: Series, marks: Marks, size: float) -> None:
    look, curve = series.look, np.array(means(points))
    axes.plot(curve[:, 0], curve[:, 1], color=look.colour, linewidth=1.2, alpha=0.7, gid=marks.line(series.method))
    for point in points:
        gid = marks.runs([point.run], f"distance {short(point.distance)}, coherence {point.coherence:.3f}")
        style: Any = {"color": look.colour, "markersize": size, "markeredgecolor": PAPER, "gid": gid}
        axes.plot(point.distance, point.coherence, look.marker, **style)


def _front(axes: Axes, data: Trade) -> None:
    """The Pareto front of all methods' means: a stepped line behind the points."""
    points = front([mean for curve in data.points.values() for mean in means(curve)])
    if len(points) > 1:
        x, y = zip(*points, strict=True)
        axes.step(x, y, where="post", color=MUTED, linewidth=5, alpha=0.22, zorder=0.5, solid_capstyle="round")


def _short_names(series: Sequence[Series]) -> dict[str, str]:
    """Label -> the name of the method, where no other series has it."""
    times = Counter(s.look.name for s in series)
    return {s.label: s.look.name if times[s.look.name] == 1 else s.label for s in series}


def _names(
    figure: Figure,
    axes: Axes,
    points: dict[str, list[Point]],
    series: Mapping[str, Series],
    names: Mapping[str, str],
) -> None:
    """Each series' name beside its point of the lowest distance; a thin line leads to it where there is no room.

    Then the first and last beta of each curve at its ends, where there is room.
    """
    of_series, betas = [], []
    for label, members in points.items():
        nearest = min(members, key=lambda point: point[:3])[:2]
        of_series.append(Label(names[label], nearest, INK, series[label].look.colour))
        values, curve = sorted({point.beta for point in members}), means(members)
        betas += [Label(f"β {values[i]:g}", curve[i], MUTED) for i in (0, -1) if len(values) > 1]
    marks = [point[:2] for members in points.values() for point in members]
    for labels in filter(None, (of_series, betas)):
        _write(figure, axes, labels, marks)


def _write(figure: Figure, axes: Axes, labels: Sequence[Label], marks: Sequence[tuple[float, float]]) -> None:
    """Writes labels where they hide neither these marks nor other text."""
    probes = [axes.annotate(label.text, (0, 0), in_layout=False) for label in labels]
    figure.draw_without_rendering()  # settles where the axes and the texts are
    sizes = np.array([text.get_window_extent().size for text in probes])
    for text in probes:
        text.remove()
    taken = [(*(mark - MARK), *(mark + MARK)) for mark in axes.transData.transform(marks)]
    taken += [tuple(Text.get_window_extent(text).extents) for text in axes.texts]
    points = axes.transData.transform([label.at for label in labels])
    corners = place(points, sizes, taken, axes.get_window_extent().extents)
    ends = np.clip(points, corners, corners + sizes)  # of the lines
    gaps, shifts = np.linalg.norm(points - ends, axis=1), (corners - points) * 72 / figure.dpi
    for i, label in enumerate(labels):
        lead: Any = {"arrowstyle": "-", "color": label.lead, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 3}
        lead["relpos"] = tuple((ends[i] - corners[i]) / sizes[i])
        if gaps[i] <= FAR or label.lead:
            arrow = lead if gaps[i] > FAR else None
            axes.annotate(
                label.text, label.at, shifts[i], color=label.colour, in_layout=False, arrowprops=arrow, **OFFSET
            )


def _marked_lines(axes: Axes, curves: dict[str, list[tuple[int, float]]], group: Group) -> None:
    for series in group.series:
        if curve := curves.get(series.label):
            _line(axes, curve, series.look, label=series.label, marker=series.look.marker)


def _limits(axes: Axes, group: Group, is_log: bool) -> None:
    """The floor of real data and the ceiling of the judge."""
    thin: Any = {"color": MUTED, "linewidth": 1, "dashes": (1, 2)}
    if group.floor is not None and (group.floor > 0 or not is_log):
        axes.axvline(group.floor, **thin)
        _beside(axes, group.floor, f"real data {short(group.floor)}")
    if group.ceiling is not None:
        axes.axhline(group.ceiling, **thin)
        text, at = f"judge's ceiling {group.ceiling:.2f}", (1, group.ceiling)
        axes.annotate(text, at, (0, 3), ("axes fraction", "data"), color=MUTED, ha="right", **OFFSET)


def _beside(axes: Axes, x: float, text: str) -> None:
    axes.annotate(text, (x, 0), (3, 6), ("data", "axes fraction"), rotation=90, color=MUTED, fontsize=8, **OFFSET)


def _good_corner(axes: Axes) -> None:
    arrow = {"arrowstyle": "->", "color": MUTED}
    where: Any = {"xycoords": "axes fraction", "textcoords": "axes fraction"}
    axes.annotate("better", (0.015, 0.985), (0.12, 0.87), color=MUTED, style="italic", arrowprops=arrow, **where)


def _line(axes: Axes, points: Sequence[tuple[float, float]], look: Look, **kwargs: Any) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=look.colour, markersize=6, markeredgecolor=PAPER, **kwargs)


def _cut_start(axes: Axes, curves: list[list[float]]) -> None:
    """Lets the steep first tenth of training leave the frame, so that the rest can be told apart."""
    rest = [value for curve in curves for value in curve[len(curve) // 10 :]]
    margin = 0.06 * (max(rest) - min(rest)) or 1.0
    axes.set_ylim(min(rest) - margin, max(rest) + margin)


def _finish(figure: Figure, axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper left", ncols=3, handlelength=1.3, columnspacing=1.2)
