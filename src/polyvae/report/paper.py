"""The data behind the paper's figures: curves over beta or over the number of modalities."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from polyvae import keys
from polyvae.config import MODALITIES
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.paper.claims.evidence import Score, mean_below, score_of
from polyvae.paper.names import ALONE, DATASETS, OFFICIAL
from polyvae.report.runs import DATA_FIELDS, Group, Run

SWEPT = ("polymnist", "translated_polymnist", "cub")


class Point(NamedTuple):
    """Runs that differ in their seed alone: mean and standard deviation (NaN for one seed)."""

    x: float
    mean: float
    sd: float
    runs: tuple[Run, ...]


class Panel(NamedTuple):
    """One pair of axes, of the runs on one data set.

    curves, constants: method -> its points, its one point; chance: a level to compare with; is_share: from 0 to 1.
    """

    dataset: str
    title: str
    x: str
    y: str
    curves: dict[str, list[Point]]
    constants: dict[str, Point]
    is_log: bool
    chance: float | None = None
    is_share: bool = False


class PaperFigure(NamedTuple):
    """A figure of the paper, in rows of panels."""

    number: int
    title: str
    rows: list[list[Panel]]

    @property
    def name(self) -> str:
        return f"fig{self.number:02d}"


def paper_figures(groups: Sequence[Group]) -> list[PaperFigure]:
    """The figures of the paper that these runs fill, in its order; those without a curve of two points are left out.

    Figure 12 is about the methods of the published objective, all others are about the other methods.
    """
    swept = swept_groups(groups)
    plain = [group for group in swept if group.dataset == "polymnist"]
    growth = [panel for dataset in ("polymnist", "translated_polymnist") for panel in by_modalities(groups, dataset)]
    others = [
        PaperFigure(2, "Quality over beta", [[_quality(group) for group in swept]]),
        PaperFigure(3, "Quality by number of modalities", [growth]),
        PaperFigure(4, "Coherence over beta", [[_coherence(group) for group in swept]]),
        PaperFigure(6, "Linear probe over beta", [[_probe(group) for group in swept]]),
        PaperFigure(7, "Joint log-likelihood over beta", [[_likelihood(group) for group in swept]]),
        PaperFigure(8, "Quality of each modality over beta", [_each(group) for group in swept]),
        PaperFigure(11, "Quality by number of repeated modalities", [by_modalities(groups, "repeated_polymnist")]),
        PaperFigure(13, "MVAE with and without ELBO sub-sampling", [_subsampling(group) for group in plain]),
    ]
    official = PaperFigure(12, "The official MMVAE over beta", [_official(group) for group in plain])
    figures = sorted([*map(_without_official, others), official], key=lambda figure: figure.number)
    filled = [figure._replace(rows=[row for row in map(_with_curves, figure.rows) if row]) for figure in figures]
    return [figure for figure in filled if figure.rows]


def swept_groups(groups: Iterable[Group]) -> list[Group]:
    """For each data set of the paper the group with the most pairs of method and beta, if it has several betas."""
    best: dict[str, Group] = {}
    for group in groups:
        if group.dataset in SWEPT and _pairs(group) > max(len(group.series), _pairs(best.get(group.dataset))):
            best[group.dataset] = group
    return [best[dataset] for dataset in SWEPT if dataset in best]


def over_beta(group: Group, score: Score) -> dict[str, list[Point]]:
    """Method -> a point per beta."""
    curves = {
        method: [
            point
            for beta, runs in series.by_beta.items()
            if beta > 0 and (point := _point(beta, runs, score)) is not None
        ]
        for method, series in group.main.items()
    }
    return {method: points for method, points in curves.items() if points}


def by_modalities(groups: Iterable[Group], dataset: str) -> list[Panel]:
    """Quality against the number of modalities at one beta, a panel per background; the unimodal VAE is one constant.

    The mean over modalities where they are of one kind (figure 11), else the first modality (figure 3).
    """
    alike: dict[str, dict[int, Group]] = defaultdict(dict)
    for group in groups:
        config = group.runs[0].config
        if config.dataset == dataset:
            fields = [getattr(config, name) for name in DATA_FIELDS if name != "modalities"]
            alike[json.dumps(fields)][config.modalities or MODALITIES] = group
    several = [by_count for by_count in alike.values() if len(by_count) > 1]
    return [panel for by_count in several if (panel := _growth(by_count, dataset)) is not None]


def _growth(by_count: dict[int, Group], dataset: str) -> Panel | None:
    largest = by_count[max(by_count)]
    if largest.compared is None:
        return None
    betas = [run.config.beta for group in by_count.values() for run in group.runs if run.config.method != "unimodal"]
    shared = {beta: sum(any(r.config.beta == beta for r in g.runs) for g in by_count.values()) for beta in betas}
    beta = max(shared, key=lambda b: (shared[b], betas.count(b)))
    is_repeated = dataset == "repeated_polymnist"
    key = largest.compared.key()
    score = partial(mean_below, keys.stem(key)) if is_repeated else key
    curves: dict[str, list[Point]] = defaultdict(list)
    for count, group in sorted(by_count.items()):
        for method, series in group.main.items():
            if method != "unimodal" and (point := _point(count, series.by_beta.get(beta, []), score)) is not None:
                curves[method].append(point)
    alone = largest.main.get("unimodal")
    constant = _point(0, alone.by_beta.get(beta, []), score) if alone else None
    name = f"one picture ({largest.runs[0].config.background or 0})" if is_repeated else DATASETS[dataset].full
    what = "mean over modalities" if is_repeated else largest.compared.modality
    y = f"Fréchet distance, {what}"
    constants = {} if constant is None else {"unimodal": constant}
    return Panel(dataset, f"{name}, β {beta:g}", "number of modalities", y, dict(curves), constants, is_log=False)


def _quality(group: Group, modality: str | None = None) -> Panel:
    """Of the modality that is compared, unless said otherwise."""
    if group.compared is None:
        return _panel(group, "Fréchet distance", "")
    seen = group.compared if modality is None else group.compared._replace(modality=modality)
    return _panel(group, f"Fréchet distance of {seen.modality}", seen.key())


def _each(group: Group) -> list[Panel]:
    panels = {name: _quality(group, name) for name in group.modalities}
    return [panel._replace(title=f"{panel.title}, {name}") for name, panel in panels.items()]


def _coherence(group: Group) -> Panel:
    panel = _panel(group, "leave-one-out coherence", LEAVE_ONE_OUT)
    return panel._replace(chance=group.value(keys.CHANCE), is_share=True)


def _probe(group: Group) -> Panel:
    return _panel(group, "accuracy of a linear probe", keys.LINEAR_PROBE, but=["unimodal"])._replace(is_share=True)


def _likelihood(group: Group) -> Panel:
    return _panel(group, "joint log-likelihood (nats)", keys.LOG_LIKELIHOOD, but=ALONE)


def _subsampling(group: Group) -> list[Panel]:
    pair = ("mvae", "mvae_plus")
    panels = [_of(panel, pair) for panel in (_quality(group), _coherence(group), _likelihood(group))]
    return [panel for panel in panels if len(panel.curves) == len(pair)]


def _official(group: Group) -> list[Panel]:
    return [_of(panel, OFFICIAL) for panel in (_quality(group), _coherence(group), _likelihood(group), _probe(group))]


def _without_official(figure: PaperFigure) -> PaperFigure:
    rows = [
        [_of(panel, [method for method in panel.curves if method not in OFFICIAL]) for panel in row]
        for row in figure.rows
    ]
    return figure._replace(rows=rows)


def _of(panel: Panel, methods: Iterable[str]) -> Panel:
    """The panel with the curves of these methods alone."""
    return panel._replace(curves={method: points for method, points in panel.curves.items() if method in methods})


def _panel(group: Group, y: str, key: str, but: Iterable[str] = ()) -> Panel:
    """A metric over beta, of all methods but some."""
    curves = {method: points for method, points in over_beta(group, key).items() if method not in but}
    return Panel(group.dataset, DATASETS[group.dataset].full, "β", y, curves, {}, is_log=True)


def _pairs(group: Group | None) -> int:
    return sum(len(series.by_beta) for series in group.series) if group else 0


def _with_curves(row: list[Panel]) -> list[Panel]:
    return [panel for panel in row if any(len(points) > 1 for points in panel.curves.values())]


def _point(x: float, runs: Iterable[Run], score: Score) -> Point | None:
    scored = [(run, value) for run in runs if (value := score_of(run, score)) is not None]
    if not scored:
        return None
    values = np.array([value for _, value in scored])
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return Point(float(x), float(values.mean()), sd, tuple(run for run, _ in scored))
