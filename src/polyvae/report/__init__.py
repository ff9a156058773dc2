"""The report: records in, one self-contained HTML page and its figures out."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from polyvae import escapes, files
from polyvae.errors import InputError
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.paper.claims import AFTER_THE_PAPER, judge, judge_later
from polyvae.report import drawing, draws, figures, finding, grids, panels, paper, style, table, views, words
from polyvae.report.album import Album
from polyvae.report.glossary import glossary
from polyvae.report.marks import Marks
from polyvae.report.overview import table_1
from polyvae.report.reading import TITLES, read_runs
from polyvae.report.runs import Group, Run, Series, condensed
from polyvae.runs.store import Damaged, RunStore
from polyvae.runs.table import table as of_records
from polyvae.runs.table import write

RUNS = "runs.csv"  # beside the page, where the page does not name every run


class Chart(NamedTuple):
    """A drawn figure: inline SVG, what it shows in words, and the data set that it is hidden with."""

    svg: Markup
    alt: str
    dataset: str = ""


def write_report(store: RunStore, out: Path | str, on_damage: Damaged = lambda damage: None) -> Path:
    """Writes `index.html` and `figures/*.svg|png` below `out` from the records of `store`; returns the page.

    The page is one file that loads nothing; only pictures beyond the first megabytes are loaded from `pictures/` beside
    it. Runs and pictures that cannot be read are named on it, and to `on_damage`.
    Raises InputError when no finished run can be read.
    """
    folder = Path(out)
    damages: list[InputError] = []
    groups, failed = read_runs(store, damages.append)
    swept = [group.name for group in paper.swept_groups(groups)]
    groups = sorted(groups, key=lambda group: (group.name not in swept, group.title))
    kinds = [grids.kinds(group) for group in groups]
    album = Album(folder, draws.ROOM)
    strips = [draws.strips(condensed(group), album, damages.append) for group in groups]
    pictures = grids.placed(chain(*kinds), Album(folder, grids.ROOM), damages.append)
    marks = Marks()
    sections = [
        _section(group, shown, strip, folder / "figures", marks)
        for group, shown, strip in zip(groups, kinds, strips, strict=True)
    ]
    opening = [s for name in swept for s in sections if s["group"].name == name and s["trade"]]
    done = [run for group in groups for run in group.runs]
    later = judge_later(ended := [*done, *failed])
    listed = [run for section in sections for run in section["group"].runs]
    if is_condensed := len(listed) < len(done):
        write(of_records(ended), folder / RUNS)
    page = _environment().get_template("page.html.j2").render(
        sections=sections,
        opening=opening,
        table_1=table_1([section["group"] for section in opening]),
        paper=_paper(groups, folder / "figures", marks),
        verdicts=judge(ended) if swept or later else [],
        later=later,
        after=AFTER_THE_PAPER,
        choices=choices(done),
        looks=style.looks(run.config.method for run in done),
        marks=marks.known,
        failed=failed,
        damages=damages,
        pictures=pictures,
        headline=finding.title(groups),
        filled_in={group.title: said for group in groups if (said := words.filled_in(group))},
        commands=[(run.run_id, run.config.command) for run in listed],
        is_condensed=is_condensed,
        all_runs=RUNS,
        environments=environments(done),
        store=store.root,
        glossary=glossary(key for run in done for key in run.metrics),
        unbounded=unbounded(groups),
        unfolded=draws.UNFOLDED,
        marker_path=style.marker_path,
        dash=style.DASH,
    )  # fmt: skip
    for damage in damages:
        on_damage(damage)
    path = folder / "index.html"
    files.write_text(path, escapes.xml(page))
    return path


def unbounded(groups: Iterable[Group]) -> list[str]:
    """Methods whose objective is not a lower bound on the log-likelihood."""
    series = (series for group in groups for series in group.series)
    return sorted({s.look.name for s in series if s.runs[0].resolved.is_bound is False})


def choices(runs: Iterable[Run]) -> dict[str, dict[str, str]]:
    """What the page can be filtered by: kind -> value -> label."""
    configs = [run.config for run in runs]
    names = {method: look.name for method, look in style.looks(config.method for config in configs).items()}
    betas = {f"{beta:g}": f"{beta:g}" for beta in sorted({config.beta for config in configs})}
    data = {config.dataset: TITLES.get(config.dataset, config.dataset) for config in configs}
    return {"dataset": data, "method": names, "beta": betas}


def environments(runs: Iterable[Run]) -> list[tuple[dict[str, Any], int]]:
    """The distinct environments, each with the number of its runs."""
    counts = Counter(json.dumps(run.environment, sort_keys=True) for run in runs)
    return [(json.loads(text), number) for text, number in counts.items()]


def _section(
    group: Group, kinds: Sequence[grids.Kind], strips: draws.Strips | None, folder: Path, marks: Marks
) -> dict[str, Any]:
    """What the page says about one data set. Its charts are saved in `folder`, too."""
    whole, group = group, condensed(group)

    def chart(name: str, data: Any, draw: Callable[[Any, Group], Figure], alt: str) -> Chart | None:
        """The drawing of data of the group; None where it has none."""
        return _chart(draw(data, group), folder, f"{name}-{group.name}", alt) if data else None

    trade, draw_trade = figures.trade_off(group), partial(drawing.trade_off, marks=marks)
    probe, by_inputs, floors = figures.probe(group), figures.by_inputs(group), figures.floors(group)
    return {
        "group": group,
        "dataset": group.dataset,
        "count": len(whole.runs),
        "finding": finding.finding(whole),
        "beside": finding.beside(whole),
        "strips": strips,
        "facts": words.what_was_run(whole),
        "findings": words.findings(whole),
        "trade": chart("trade-off", trade, draw_trade, "Fréchet distance against leave-one-out coherence, per run"),
        "score": _score(group, trade),
        "kinds": kinds,
        "views": _views(group, folder),
        "table": table.metrics_table(group),
        "evaluation": table.evaluation_table(group),
        "fitted": table.fitted_table(group),
        "others": table.other_metrics(group),
        "probe": chart("probe", probe, drawing.probe, "Accuracy of a linear probe by number of labelled examples"),
        "by_inputs": chart("by-inputs", by_inputs, drawing.by_inputs, "Coherence by number of given modalities"),
        "pairs": _pairs(group, folder),
        "floors": chart(
            "floors", floors, drawing.floors, "Measured distortion of each modality by beta, above its certified floor"
        ),
        "training": [
            _chart(drawing.training(group, quantity), folder, f"{quantity}-{group.name}", f"{quantity} by epoch")
            for quantity in figures.CURVES
            if figures.training_curves(group, quantity)
        ],
    }


def _chart(figure: Figure, folder: Path, name: str, alt: str) -> Chart:
    return Chart(Markup(style.save(figure, folder, name)), alt)  # matplotlib escapes every label


def _score(group: Group, trade: figures.Trade | None) -> list[tuple[Series, float | None, float | None, float | None]]:
    """Series, distance and coherence at its best beta, hypervolume over all betas (on judge features only)."""
    quality, volumes = group.compared.key() if group.compared else "", {}
    if trade is not None and group.compared is not None and group.compared.extractor == "digits":
        volumes = {label: figures.hypervolume(figures.means(points)) for label, points in trade.points.items()}
    return [(s, s.value(quality), s.value(LEAVE_ONE_OUT), volumes.get(s.label)) for s in group.in_plane]


def _pairs(group: Group, folder: Path) -> list[Chart]:
    charts = []
    for i, series in enumerate(group.series):
        if (matrix := figures.pairs(series, group.modalities)) is not None:
            alt = f"Coherence of {series.label} for each pair of given and target modality"
            figure = drawing.pairs(matrix, series, group.modalities)
            charts.append(_chart(figure, folder, f"pairs-{group.name}-{i}", alt))
    return charts


def _views(group: Group, folder: Path) -> list[list[Chart]]:
    """Tables: what rows lack; then a line for each series, with its codes and what it fills in."""
    shown = views.shown(group.series)
    lines: list[list[Chart]] = []
    if shown and (found := shown[0][1]["patterns"]):
        figure = views.patterns(found, group.modalities)
        lines.append([_chart(figure, folder, f"patterns-{group.name}", "How many training rows have which modalities")])
    for i, (series, of_run) in enumerate(shown):
        line = []
        if of_run["codes"]:
            points, place = of_run["codes"], views.plane(of_run["codes"])
            colours = [("class", [point["label"] for point in points], of_run.get("label_names", ()))]
            if (covariate := of_run.get("covariate")) is not None:
                colours.append((covariate, [point.get("level") for point in points], of_run.get("levels", ())))
            told = [colour for colour in colours if any(each is not None for each in colour[1])]
            for j, (by, classes, names) in enumerate(told or colours[:1]):
                figure = views.codes(*place, series, classes, names, by)
                alt = f"Codes of {series.label} in a plane, by {by}"
                line.append(_chart(figure, folder, f"codes-{group.name}-{i}-{j}", alt))
        for target, cells in [(name, cells) for name, cells in of_run["cells"].items() if cells][: views.MOST]:
            figure, alt = views.cells(cells, target, series), f"Cells of {target} that {series.label} filled in"
            line.append(_chart(figure, folder, f"cells-{group.name}-{i}-{escapes.file_name(target)}", alt))
        lines.append(line)
    return list(filter(None, lines))


def _paper(groups: Sequence[Group], folder: Path, marks: Marks) -> list[tuple[paper.PaperFigure, list[Chart]]]:
    """The figures of the paper with a chart per panel; each is saved as a whole in `folder`."""
    looks = style.looks(run.config.method for group in groups for run in group.runs)
    drawn = []
    for figure in paper.paper_figures(groups):
        style.save(panels.whole(figure, looks), folder, figure.name)
        charts = []
        for i, panel in enumerate(chain(*figure.rows)):
            svg = style.embedded(panels.single(panel, looks, marks), f"{figure.name}-{i}")
            charts.append(Chart(Markup(svg), f"{panel.y} against {panel.x}, {panel.title}", panel.dataset))
        drawn.append((figure, charts))
    return drawn


@cache
def _environment() -> jinja2.Environment:
    loader, undefined = jinja2.FileSystemLoader(Path(__file__).parent), jinja2.StrictUndefined
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=undefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(short=words.short, joined=words.joined, count=words.count)
    return environment
