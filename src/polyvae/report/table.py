"""The metrics table: a row per run, a column per number, the best of each column marked, gaps and doubts explained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

from polyvae import keys
from polyvae.keys import LEAVE_ONE_OUT, Seen
from polyvae.report.runs import Group, Run, Series, settings
from polyvae.report.style import DASH
from polyvae.report.words import fillings, joined, short
from polyvae.runs.record import duration


@dataclass(frozen=True)
class Column:
    """A number of a run; `keys` are the metrics it is made of, which name the reason when it is missing."""

    name: str
    help: str
    keys: tuple[str, ...]
    value: Callable[[Run], float | None]
    text: Callable[[float], str] = short
    better: Literal["lower", "higher"] | None = None
    extra: Callable[[Run], str] = lambda run: ""
    why_not: str = "not scored in this run"

    @property
    def arrow(self) -> str:
        return {"lower": "↓", "higher": "↑", None: ""}[self.better]


class Cell(NamedTuple):
    """title: why there is no value, or why it cannot be trusted. extra: such as an interval."""

    text: str
    value: float | None
    title: str = ""
    is_best: bool = False
    extra: str = ""

    @property
    def is_doubted(self) -> bool:
        return self.value is not None and bool(self.title)


class Row(NamedTuple):
    run: Run
    series: Series
    settings: str
    cells: list[Cell]


class Table(NamedTuple):
    columns: list[Column]
    rows: list[Row]
    notes: list[str]


def metrics_table(group: Group) -> Table:
    """The columns that at least one run fills, one row per run, and why cells are empty."""
    return _table(group, _filled(group, _columns(group)))


def evaluation_table(group: Group) -> Table:
    """Samples, likelihood, representation: what a reader looks for after quality and coherence."""
    return _table(group, _filled(group, _evaluation(group)))


def fitted_table(group: Group) -> Table:
    """What a prior fitted after training makes of joint samples, beside the model's own; no columns without one."""
    return _table(group, _fitted(group))


def other_metrics(group: Group) -> Table:
    """Every metric that the other tables leave out, under its key."""
    columns = (*_columns(group), *_evaluation(group), *_fitted(group))
    shown = {key for column in columns for key in column.keys}
    others = {key for run in group.runs for key in run.metrics} - shown
    return _table(group, [_plain(key, "", key) for key in sorted(others)])


def reason(run: Run, key: str) -> str:
    """Why a metric is not there: the note on the key itself, or on the longest part of it."""
    return next((run.notes[name] for name in keys.beginnings(key) if name in run.notes), "")


def _filled(group: Group, columns: list[Column]) -> list[Column]:
    return [column for column in columns if any(column.value(run) is not None for run in group.runs)]


def _table(group: Group, columns: list[Column]) -> Table:
    best = {column.name: _best(column, group) for column in columns}
    rows = [
        Row(run, series, settings(run, group.varying), [_cell(c, run, best[c.name]) for c in columns])
        for series in group.series
        for run in series.runs
    ]
    return Table(columns, rows, _notes(columns, rows))


def _best(column: Column, group: Group) -> float | None:
    """Of the values that can be trusted; None where there is no choice, or none is better than another."""
    values = [v for run in group.runs if (v := column.value(run)) is not None and not _doubt(column, run)]
    if column.better is None or len(values) < 2:
        return None
    return min(values) if column.better == "lower" else max(values)


def _cell(column: Column, run: Run, best: float | None) -> Cell:
    value = column.value(run)
    if value is None:
        why = next(filter(None, (reason(run, key) for key in column.keys)), column.why_not)
        return Cell(DASH, None, why)
    doubt = _doubt(column, run)
    return Cell(column.text(value), value, doubt, is_best=value == best and not doubt, extra=column.extra(run))


def _doubt(column: Column, run: Run) -> str:
    """Why a value cannot be trusted; empty where nothing is said against it."""
    return next((run.notes[key] for key in column.keys if key in run.notes and key in run.metrics), "")


def _notes(columns: list[Column], rows: list[Row]) -> list[str]:
    """One sentence per reason: of which methods it empties columns, or makes them doubtful."""
    gaps: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for column, cell in zip(columns, row.cells, strict=True):
            if cell.title:
                gaps.setdefault((cell.title, row.series.look.name), []).append(column.name)
    merged: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (why, method), names in gaps.items():
        merged.setdefault((why, tuple(dict.fromkeys(names))), []).append(method)
    return [f"{joined(methods)}, {joined(names)}: {why}." for (why, names), methods in merged.items()]


def _plain(
    name: str, text: str, key: str, better: Literal["lower", "higher"] | None = None, decimals: int | None = None
) -> Column:
    form = short if decimals is None else lambda value: f"{value:,.{decimals}f}"
    return Column(name, text, (key,), lambda run: run.metrics.get(key), form, better)


def _columns(group: Group) -> list[Column]:
    return [*_quality(group), *_coherence(group), *_imputation(group), *_bound()]


def _imputation(group: Group) -> list[Column]:
    columns = []
    for filling, source in fillings(group).items():
        target = filling.target
        name = target if filling.is_from_all_others(group.modalities) else f"{target} from {source}"
        text = f"{target} from {source}, in standard deviations (counts in counts, classes in probabilities)"
        plain = [
            _plain(f"by {name} {target}", "error of a simpler method", keys.imputation_by(name, target), decimals=3)
            for name in keys.BASELINES
        ]
        columns += [
            _plain(f"error {name}", text, filling.key(), "lower", 3),
            *plain,
            _plain(f"interval {name}", "truths inside the 80 % interval", filling.key("coverage"), decimals=2),
        ]
    return list({column.name: column for column in columns}.values())  # one of a simpler method, whatever is given


def _quality(group: Group) -> list[Column]:
    if not group.compared:
        return []
    extractor, modality = group.compared
    distances = tuple(Seen(extractor, name).key() for name in group.modalities)
    columns = [_plain(f"Fréchet {modality}", f"distance of {modality} to real data", group.compared.key(), "lower")]
    if len(distances) > 1:
        value, why_not = partial(_mean, metrics=distances), "the run does not have all modalities"
        columns.append(Column("Fréchet mean", "over all modalities", distances, value, better="lower", why_not=why_not))
    return [*columns, _plain(f"floor {modality}", "real data against real data", group.compared.key(kind="floor"))]


def _coherence(group: Group) -> list[Column]:
    self_keys, ceilings = (
        tuple(keys.of(stem, name) for name in group.modalities) for stem in (keys.SELF_COHERENCE, keys.CEILING)
    )
    own, ceiling = (partial(_mean, metrics=metrics, is_partial_fine=True) for metrics in (self_keys, ceilings))
    ends = keys.interval(LEAVE_ONE_OUT)

    def interval(run: Run) -> str:
        return "[{:.3f}, {:.3f}]".format(*(run.metrics[end] for end in ends)) if set(ends) <= set(run.metrics) else ""

    share = "{:.3f}".format
    one_out = _plain(
        "leave-one-out", "one modality given all others, with its 95 % interval", LEAVE_ONE_OUT, "higher", 3
    )
    return [
        _plain("joint", "modalities of a draw that agree", keys.JOINT_COHERENCE, "higher", 3),
        _plain("kappa", "joint coherence corrected for chance", keys.KAPPA, "higher", 3),
        replace(one_out, keys=(LEAVE_ONE_OUT, *ends), extra=interval),
        Column("self", "mean over modalities", self_keys, own, share, "higher"),
        Column("ceiling", "the judge on real data", ceilings, ceiling, share),
    ]


def _evaluation(group: Group) -> list[Column]:
    free = "coherence without labels: 0 like shuffled pairs, 1 like real ones"
    columns = [
        _plain("label-free", free, keys.LABEL_FREE, "higher", 3),
        _plain("diversity", "spread of samples for one input; real images: 1", _diversity(group), "higher", 2),
        *_captions(group),
        _plain("probe", "class read from joint posterior means", keys.LINEAR_PROBE, "higher", 3),
        _plain("log-likelihood", "nats, importance samples from the posterior", keys.LOG_LIKELIHOOD, decimals=1),
        _plain("blind", "the same from draws that have not seen the row", keys.BLIND, decimals=1),
        _plain("ood", "leave-one-out coherence on unseen backgrounds", keys.UNSEEN_BACKGROUNDS, "higher", 3),
    ]
    if not group.compared:
        return columns
    modality = group.compared.modality
    kinds = {"precision": "samples that look real", "recall": "real images that are covered"}
    kinds |= {"density": "how deep samples lie among real images", "coverage": "real images with a sample near"}
    manifold = [
        _plain(f"{kind} {modality}", text, group.compared.key(kind), "higher", 3) for kind, text in kinds.items()
    ]
    effnet = Seen("effnet", modality).key()
    return [
        *manifold,
        *columns,
        _plain(f"EfficientNet {modality}", "Fréchet distance of ImageNet features", effnet, "lower"),
        _plain(f"KID {modality}", "kernel distance", group.compared.key("kid"), "lower"),
    ]


def _fitted(group: Group) -> list[Column]:
    kinds = {key.split("/")[0] for run in group.runs for key in keys.below(keys.FITTED_PRIOR, run.metrics)}
    columns = []
    for kind in ("own", *sorted(kinds)) if kinds else ():
        start = () if kind == "own" else (keys.FITTED_PRIOR, kind)
        text = f"samples of the {kind} prior"
        columns += [
            _plain(f"{kind}: joint", text, keys.of(*start, keys.JOINT_COHERENCE), "higher", 3),
            _plain(f"{kind}: kappa", text, keys.of(*start, keys.KAPPA), "higher", 3),
        ]
        if group.compared:
            name = f"{kind}: Fréchet {group.compared.modality}"
            columns.append(_plain(name, text, keys.of(*start, group.compared.key()), "lower"))
    return columns


def _diversity(group: Group) -> str:
    """The key of the mean, by whichever extractor it was measured."""
    below = {key for run in group.runs for key in keys.below(keys.DIVERSITY, run.metrics)}
    return keys.of(keys.DIVERSITY, min((key for key in below if key.endswith("/mean")), default="digits/mean"))


def _captions(group: Group) -> list[Column]:
    """Quality of text: how surprising real captions are given the others, and what word order samples have."""
    columns = []
    for name in group.modalities:
        if group.value(keys.captions("length", "real", name)) is None:
            continue
        others = keys.joined(keys.all_but(name, group.modalities))
        perplexity = keys.captions("perplexity", others, name)
        trigrams, distinct = (keys.captions(score, "unconditional", name) for score in ("real_3grams", "distinct_2"))
        columns += [
            _plain(f"perplexity {name}", "a word of real text, given the others", perplexity, "lower"),
            _plain(f"3-grams {name}", "share of samples' 3-grams in real text", trigrams, "higher", 3),
            _plain(f"distinct {name}", "share of different 2-grams in samples", distinct, decimals=3),
        ]
    return columns


def _bound() -> list[Column]:
    # Without a best: the sums run over the modalities of each run and depend on the likelihood scale.
    return [
        _plain(
            "distortion", "nats, on the test rows, summed over the modalities of the run", keys.DISTORTION, decimals=1
        ),
        _plain("rate", "nats, on the test rows", keys.RATE, decimals=2),
        _plain("loss", "distortion + beta * rate, nats, on the test rows", keys.LOSS, decimals=1),
        Column("training", "seconds spent on training", (), lambda run: run.seconds.get("train"), duration),
    ]


def _mean(run: Run, metrics: tuple[str, ...], is_partial_fine: bool = False) -> float | None:
    """The mean of these metrics; None unless all are there (or some, where the rest has no meaning for the run)."""
    values = [run.metrics[key] for key in metrics if key in run.metrics]
    return sum(values) / len(values) if values and (is_partial_fine or len(values) == len(metrics)) else None
