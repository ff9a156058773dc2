"""The paper's figures, drawn: points are means over seeds, bands one standard deviation."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from polyvae.report.marks import Marks
from polyvae.report.paper import Panel, PaperFigure, Point
from polyvae.report.style import MUTED, PAPER, Look, canvas, drawing
from polyvae.report.words import short

WIDE = 10  # times: from this ratio on, positive values are on a logarithmic axis
SIZE = (3.7, 2.85)  # inches of a panel


def whole(figure: PaperFigure, looks: dict[str, Look]) -> Figure:
    """All panels in the paper's layout, with one legend: the file for papers and slides."""
    columns = max(len(row) for row in figure.rows)
    with drawing():
        drawn = Figure(figsize=(max(5.0, 2.9 * columns), 0.35 + 2.6 * len(figure.rows)))
        for i, row in enumerate(figure.rows):
            for j, panel in enumerate(row):
                axes = drawn.add_subplot(len(figure.rows), columns, i * columns + j + 1)
                _draw(axes, panel, looks, Marks())
        handles = {label: h for axes in drawn.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        drawn.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=6, handlelength=1.5)
    return drawn


def single(panel: Panel, looks: dict[str, Look], marks: Marks) -> Figure:
    """One panel, for the page."""
    with canvas(SIZE) as (figure, axes):
        _draw(axes, panel, looks, marks)
    return figure


def _draw(axes: Axes, panel: Panel, looks: dict[str, Look], marks: Marks) -> None:
    for method, look in looks.items():
        if points := panel.curves.get(method):
            _curve(axes, panel, points, method, look, marks)
        if constant := panel.constants.get(method):
            gid = marks.runs(constant.runs, f"{panel.y}: {_amount(constant)}")
            axes.axhline(constant.mean, color=look.colour, dashes=(5, 2), label=look.name, gid=gid)
            if constant.sd > 0:
                ends = (constant.mean - constant.sd, constant.mean + constant.sd)
                axes.axhspan(*ends, color=look.colour, alpha=0.15, linewidth=0)
    if panel.chance is not None:
        axes.axhline(panel.chance, color=MUTED, linewidth=1, dashes=(1, 2))
        where = ("axes fraction", "data")
        axes.annotate("chance", (1, panel.chance), (0, 3), where, "offset points", color=MUTED, ha="right")
    _axes(axes, panel)


def _curve(axes: Axes, panel: Panel, points: list[Point], method: str, look: Look, marks: Marks) -> None:
    x, mean = [p.x for p in points], [p.mean for p in points]
    low, high = [p.mean - p.sd for p in points], [p.mean + p.sd for p in points]
    if any(p.sd > 0 for p in points):
        axes.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0, gid=marks.line(method))
    axes.plot(x, mean, color=look.colour, gid=marks.line(method))
    for i, point in enumerate(points):
        gid = marks.runs(point.runs, f"{panel.y}: {_amount(point)}")
        name = look.name if i == 0 else None
        style: Any = {"color": look.colour, "markeredgecolor": PAPER, "markersize": 6.5, "label": name, "gid": gid}
        axes.plot(point.x, point.mean, look.marker, **style)


def _axes(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", fontsize=9)
    axes.set(xlabel=panel.x, ylabel=panel.y)
    axes.margins(x=0.07)
    shown = sorted({point.x for points in panel.curves.values() for point in points})
    if panel.is_log:
        axes.set_xscale("log")
        axes.set_xticks(shown, [f"{x:g}" for x in shown])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    values = [p.mean for points in (*panel.curves.values(), panel.constants.values()) for p in points]
    if panel.is_share:
        axes.set_ylim(0, 1.03)
    elif min(values) > 0 and max(values) > WIDE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _amount(point: Point) -> str:
    spread = f" ± {short(point.sd)}, {len(point.runs)} seeds" if len(point.runs) > 1 else ""
    return f"{short(point.mean)}{spread}"
