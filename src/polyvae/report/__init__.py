"""The report: records in, one self-contained HTML page and its figures out."""

import json
import shlex
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from polyvae import files
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.paper.claims import judge
from polyvae.report import drawing, figures, grids, panels, paper, style, table, words
from polyvae.report.glossary import glossary
from polyvae.report.marks import Marks
from polyvae.report.overview import table_1
from polyvae.report.reading import TITLES, read_runs
from polyvae.report.runs import Group, Run, Series, changed
from polyvae.runs.store import RunStore


class Chart(NamedTuple):
    """A drawn figure: inline SVG, what it shows in words, and the data set that it is hidden with."""

    svg: Markup
    alt: str
    dataset: str = ""


def write_report(store: RunStore, out: Path | str) -> Path:
    """Writes `index.html` and `figures/*.svg|png` below `out` from the records of `store`; returns the page.

    The page is one file that loads nothing. Raises InputError when no run is finished or a file is damaged.
    """
    folder = Path(out)
    groups, failed = read_runs(store)
    swept = [group.name for group in paper.swept_groups(groups)]
    groups = sorted(groups, key=lambda group: (group.name not in swept, group.title))
    kinds = [grids.kinds(group) for group in groups]
    pictures = grids.embed(chain(*kinds))
    marks = Marks()
    sections = [_section(group, found, folder / "figures", marks) for group, found in zip(groups, kinds, strict=True)]
    opening = [found for name in swept for found in sections if found.group.name == name and found.trade]
    done = [run for group in groups for run in group.runs]
    page = _environment().get_template("page.html.j2").render(
        sections=sections,
        opening=opening,
        table_1=table_1([section.group for section in opening]),
        paper=_paper(groups, folder / "figures", marks),
        verdicts=judge(store.records()) if swept else [],
        choices=choices(done),
        looks=style.looks(run.config.method for run in done),
        marks=marks.known,
        failed=failed,
        pictures=pictures,
        left_out=sum(len(kind.grids) for kind in chain(*kinds)) - len(pictures),
        headline=words.headline(groups),
        commands=[(run.run_id, command(run)) for run in done],
        environments=environments(done),
        store=store.root,
        glossary=glossary(key for run in done for key in run.metrics),
        unbounded=unbounded(groups),
        marker_path=style.marker_path,
        dash=style.DASH,
    )  # fmt: skip
    path = folder / "index.html"
    files.write_text(path, page)
    return path


def command(run: Run) -> str:
    """The shell command that repeats a run: its data set, its method and every field that is not at its default."""
    values = {"dataset": run.config.dataset, "method": run.config.method} | changed(run.config)
    flags = (f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in values.items())
    return f"polyvae run {' '.join(flags)}"


def unbounded(groups: Iterable[Group]) -> list[str]:
    """Methods whose objective is no lower bound on the log-likelihood."""
    series = (series for group in groups for series in group.series)
    return sorted({s.look.name for s in series if s.runs[0].resolved.get("is_bound") is False})


def choices(runs: Iterable[Run]) -> dict[str, dict[str, str]]:
    """What the page can be filtered by: kind -> value -> label."""
    found = list(runs)
    names = {method: look.name for method, look in style.looks(run.config.method for run in found).items()}
    betas = {f"{beta:g}": f"{beta:g}" for beta in sorted({run.config.beta for run in found})}
    data = {config.dataset: TITLES.get(config.dataset, config.dataset) for config in (run.config for run in found)}
    return {"dataset": data, "method": names, "beta": betas}


def environments(runs: Iterable[Run]) -> list[tuple[dict[str, Any], int]]:
    """The distinct environments, each with the number of its runs."""
    counts: dict[str, int] = {}
    for run in runs:
        key = json.dumps(run.environment, sort_keys=True)
        counts[key] = counts.get(key, 0) + 1
    return [(json.loads(key), number) for key, number in counts.items()]


class Section(NamedTuple):
    """What the page says about one data set."""

    group: Group
    dataset: str
    facts: str
    findings: dict[str, str]
    trade: Chart | None
    score: list[tuple[Series, float | None, float | None, float | None]]
    kinds: list[grids.Kind]
    table: table.Table
    evaluation: table.Table
    fitted: table.Table
    others: table.Table
    probe: Chart | None
    by_inputs: Chart | None
    pairs: list[Chart]
    floors: Chart | None
    training: list[Chart]


def _section(group: Group, kinds: list[grids.Kind], folder: Path, marks: Marks) -> Section:
    return Section(
        group=group,
        dataset=group.runs[0].config.dataset,
        facts=words.what_was_run(group),
        findings=words.findings(group),
        trade=_trade(group, folder, marks),
        score=_score(group),
        kinds=kinds,
        table=table.metrics_table(group),
        evaluation=table.evaluation_table(group),
        fitted=table.fitted_table(group),
        others=table.other_metrics(group),
        probe=_probe(group, folder),
        by_inputs=_by_inputs(group, folder),
        pairs=_pairs(group, folder),
        floors=_floors(group, folder),
        training=_training(group, folder),
    )


def _chart(figure: Figure, folder: Path, name: str, alt: str) -> Chart:
    return Chart(Markup(style.save(figure, folder, name)), alt)  # matplotlib escapes every label


def _score(group: Group) -> list[tuple[Series, float | None, float | None, float | None]]:
    """Series, distance and coherence at its best beta, hypervolume over all betas (on judge features only)."""
    quality, data = group.compared.key() if group.compared else "", figures.trade_off(group)
    volumes = {}
    if data is not None and group.compared is not None and group.compared.extractor == "digits":
        volumes = {label: figures.hypervolume(figures.means(points)) for label, points in data.points.items()}
    return [(s, s.value(quality), s.value(LEAVE_ONE_OUT), volumes.get(s.label)) for s in group.in_plane]


class PaperCharts(NamedTuple):
    """A figure of the paper on the page: its panels, and the file that holds them all."""

    figure: paper.PaperFigure
    charts: list[Chart]


def _paper(groups: Iterable[Group], folder: Path, marks: Marks) -> list[PaperCharts]:
    every = list(groups)
    looks = style.looks(run.config.method for group in every for run in group.runs)
    found = []
    for figure in paper.paper_figures(every):
        style.save(panels.whole(figure, looks), folder, figure.name)
        charts = []
        for i, panel in enumerate(panel for row in figure.rows for panel in row):
            svg = style.embedded(panels.single(panel, looks, marks), f"{figure.name}-{i}")
            charts.append(Chart(Markup(svg), f"{panel.y} against {panel.x}, {panel.title}", panel.dataset))
        found.append(PaperCharts(figure, charts))
    return found


def _trade(group: Group, folder: Path, marks: Marks) -> Chart | None:
    if (data := figures.trade_off(group)) is None:
        return None
    alt = "Fréchet distance against leave-one-out coherence, one point a run"
    return _chart(drawing.trade_off(data, group, marks), folder, f"trade-off-{group.name}", alt)


def _by_inputs(group: Group, folder: Path) -> Chart | None:
    if not (curves := figures.by_inputs(group)):
        return None
    figure = drawing.by_inputs(curves, group)
    return _chart(figure, folder, f"by-inputs-{group.name}", "Coherence by number of given modalities")


def _probe(group: Group, folder: Path) -> Chart | None:
    if not (curves := figures.probe(group)):
        return None
    figure = drawing.probe(curves, group)
    return _chart(figure, folder, f"probe-{group.name}", "Accuracy of a linear probe by number of labelled examples")


def _floors(group: Group, folder: Path) -> Chart | None:
    if not (curves := figures.floors(group)):
        return None
    figure = drawing.floors(curves, group)
    return _chart(figure, folder, f"floors-{group.name}", "Measured distortion by beta above its certified floor")


def _pairs(group: Group, folder: Path) -> list[Chart]:
    charts = []
    for i, series in enumerate(group.series):
        if (matrix := figures.pairs(series, group.modalities)) is not None:
            figure = drawing.pairs(matrix, series, group.modalities)
            alt = f"Coherence of {series.label} for each pair of given and target modality"
            charts.append(_chart(figure, folder, f"pairs-{group.name}-{i}", alt))
    return charts


def _training(group: Group, folder: Path) -> list[Chart]:
    return [
        _chart(drawing.training(group, quantity), folder, f"{quantity}-{group.name}", f"{label} by epoch")
        for quantity, label in figures.CURVES.items()
        if figures.training_curves(group, quantity)
    ]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(short=words.short, joined=words.joined, count=words.count, failure=words.failure)
    return environment
