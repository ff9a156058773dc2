"""The metrics table: one row a run, one column a number, the best of each column marked, gaps explained."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from polyvae.report.runs import Group, Run, Series, settings
from polyvae.report.style import DASH
from polyvae.report.words import LEAVE_ONE_OUT, duration, imputation_key, joined, short


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


OOD = "ood/unseen_backgrounds/leave_one_out"


class Cell(NamedTuple):
    text: str
    value: float | None
    title: str = ""
    is_best: bool = False
    extra: str = ""


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
    """The columns that at least one run fills, a row a run, and why cells are empty."""
    columns = [c for c in _columns(group) if any(c.value(run) is not None for run in group.runs)]
    return _table(group, columns)


def evaluation_table(group: Group) -> Table:
    """Samples, likelihood, representation: what a reader looks for after quality and coherence."""
    columns = [c for c in _evaluation(group) if any(c.value(run) is not None for run in group.runs)]
    return _table(group, columns)


def fitted_table(group: Group) -> Table:
    """What a prior fitted after training makes of joint samples, beside the model's own; no columns without one."""
    return _table(group, _fitted(group))


def other_metrics(group: Group) -> Table:
    """Every metric that the other tables leave out, under its key."""
    columns = (*_columns(group), *_evaluation(group), *_fitted(group))
    shown = {key for column in columns for key in column.keys}
    keys = dict.fromkeys(key for run in group.runs for key in run.metrics if key not in shown)
    return _table(group, [_plain(key, "", key) for key in sorted(keys)])


def reason(run: Run, key: str) -> str:
    """Why a metric is not there: the note on the key itself, or on the longest part of it."""
    parts = key.split("/")
    names = ("/".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((run.notes[name] for name in names if name in run.notes), "")


def _table(group: Group, columns: list[Column]) -> Table:
    best = {column.name: _best(column, group) for column in columns}
    rows = [
        Row(run, series, settings(run, group.varying), [_cell(c, run, best[c.name]) for c in columns])
        for series in group.series
        for run in series.runs
    ]
    return Table(columns, rows, _notes(columns, rows))


def _best(column: Column, group: Group) -> float | None:
    values = [value for run in group.runs if (value := column.value(run)) is not None]
    if column.better is None or len(values) < 2:
        return None
    return min(values) if column.better == "lower" else max(values)


def _cell(column: Column, run: Run, best: float | None) -> Cell:
    value = column.value(run)
    if value is None:
        why = next(filter(None, (reason(run, key) for key in column.keys)), column.why_not)
        return Cell(DASH, None, why)
    return Cell(column.text(value), value, is_best=value == best, extra=column.extra(run))


def _notes(columns: list[Column], rows: list[Row]) -> list[str]:
    """One sentence a reason: which columns of which methods it empties."""
    gaps: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for column, cell in zip(columns, row.cells, strict=True):
            if cell.value is None:
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
    for target in group.modalities:
        key, coverage = (imputation_key(group, target, score) for score in ("rmse", "coverage"))
        of_mean = f"imputation/mean/{target}/rmse"
        columns += [
            _plain(f"error {target}", f"{target} from all others, in standard deviations", key, "lower", 3),
            _plain(f"of the mean {target}", "error of filling in the mean", of_mean, None, 3),
            _plain(f"interval {target}", "truths inside the 80 % interval", coverage, None, 2),
        ]
    return columns


def _quality(group: Group) -> list[Column]:
    if not group.compared:
        return []
    extractor, modality = group.compared
    keys = tuple(f"frechet/{extractor}/unconditional/{name}" for name in group.modalities)
    columns = [_plain(f"Fréchet {modality}", f"distance of {modality} to real data", group.compared.key(), "lower")]
    if len(keys) > 1:
        why_not = "the run does not have all modalities"
        value = partial(_mean, keys=keys)
        columns.append(Column("Fréchet mean", "over all modalities", keys, value, better="lower", why_not=why_not))
    return [*columns, _plain(f"floor {modality}", "real data against real data", group.compared.key("floor"))]


def _coherence(group: Group) -> list[Column]:
    self_keys, ceilings = (
        tuple(f"coherence/{kind}/{name}" for name in group.modalities) for kind in ("self", "ceiling")
    )

    def interval(run: Run) -> str:
        ends = [run.metrics.get(LEAVE_ONE_OUT + end) for end in ("_low", "_high")]
        return "" if None in ends else "[{:.3f}, {:.3f}]".format(*ends)

    return [
        _plain("joint", "modalities of a draw that agree", "coherence/joint", "higher", 3),
        _plain("kappa", "joint coherence corrected for chance", "coherence/joint_kappa", "higher", 3),
        Column(
            "leave-one-out",
            "one modality given all others, with its 95 % interval",
            (LEAVE_ONE_OUT, LEAVE_ONE_OUT + "_low", LEAVE_ONE_OUT + "_high"),
            lambda run: run.metrics.get(LEAVE_ONE_OUT),
            "{:.3f}".format,
            "higher",
            interval,
        ),
        Column(
            "self",
            "mean over modalities",
            self_keys,
            lambda run: _mean(run, self_keys, True),
            "{:.3f}".format,
            "higher",
        ),
        Column("ceiling", "the judge on real data", ceilings, lambda run: _mean(run, ceilings, True), "{:.3f}".format),
    ]


def _evaluation(group: Group) -> list[Column]:
    free = "label_free/against_real"
    columns = [
        _plain("label-free", "coherence without labels: 0 like shuffled pairs, 1 like real ones", free, "higher", 3),
        _plain("diversity", "spread of samples for one input; real images: 1", _diversity(group), "higher", 2),
        *_captions(group),
        _plain("probe", "class read from joint posterior means", "linear_probe/joint", "higher", 3),
        _plain("log-likelihood", "nats, importance samples from the posterior", "log_likelihood/joint", decimals=1),
        _plain("blind", "the same from draws that have not seen the row", "log_likelihood/unconditional", decimals=1),
        _plain("ood", "leave-one-out coherence on unseen backgrounds", OOD, "higher", 3),
    ]
    if not group.compared:
        return columns
    extractor, modality = group.compared
    kinds = {"precision": "samples that look real", "recall": "real images that are covered"}
    kinds |= {"density": "how deep samples lie among real images", "coverage": "real images with a sample near"}
    found = [
        _plain(f"{kind} {modality}", text, f"{kind}/{extractor}/unconditional/{modality}", "higher", 3)
        for kind, text in kinds.items()
    ]
    effnet = f"frechet/effnet/unconditional/{modality}"
    more = [_plain(f"EfficientNet {modality}", "Fréchet distance of ImageNet features", effnet, "lower")]
    more += [_plain(f"KID {modality}", "kernel distance", f"kid/{extractor}/unconditional/{modality}", "lower")]
    return [*found, *columns, *more]


def _fitted(group: Group) -> list[Column]:
    kinds = sorted({key.split("/")[1] for run in group.runs for key in run.metrics if key.startswith("prior/")})
    scores = {"joint": "coherence/joint", "kappa": "coherence/joint_kappa"}
    if group.compared:
        scores[f"Fréchet {group.compared.modality}"] = group.compared.key()
    columns = []
    for kind, start in {"own": "", **{kind: f"prior/{kind}/" for kind in kinds}}.items() if kinds else ():
        for name, key in scores.items():
            better = "lower" if name.startswith("Fréchet") else "higher"
            text = f"samples of the {kind} prior"
            columns.append(_plain(f"{kind}: {name}", text, start + key, better, None if better == "lower" else 3))
    return columns


def _diversity(group: Group) -> str:
    """The key of the mean, by whichever extractor it was measured."""
    keys = {key for run in group.runs for key in run.metrics if key.startswith("diversity/") and key.endswith("/mean")}
    return min(keys, default="diversity/digits/mean")


def _captions(group: Group) -> list[Column]:
    """Quality of text: how surprising real captions are given the others, and what word order samples have."""
    texts = [name for name in group.modalities if group.value(f"captions/length/real/{name}") is not None]
    columns = []
    for name in texts:
        given = "+".join(other for other in group.modalities if other != name)
        keys = (f"perplexity/{given}/{name}", *(f"{k}/unconditional/{name}" for k in ("real_3grams", "distinct_2")))
        columns += [
            _plain(f"perplexity {name}", "a word of real text, given the others", f"captions/{keys[0]}", "lower"),
            _plain(f"3-grams {name}", "share of samples' 3-grams in real text", f"captions/{keys[1]}", "higher", 3),
            _plain(f"distinct {name}", "share of different 2-grams in samples", f"captions/{keys[2]}", decimals=3),
        ]
    return columns


def _bound() -> list[Column]:
    # Without a best: the sums run over the modalities of each run and depend on the likelihood scale.
    return [
        _plain(
            "distortion",
            "nats, on the test rows, summed over the modalities of the run",
            "bound/distortion",
            decimals=1,
        ),
        _plain("rate", "nats, on the test rows", "bound/rate", decimals=2),
        _plain("loss", "distortion + beta * rate, nats, on the test rows", "bound/loss", decimals=1),
        Column("training", "seconds spent on training", (), lambda run: run.seconds.get("train"), duration),
    ]


def _mean(run: Run, keys: tuple[str, ...], is_partial_fine: bool = False) -> float | None:
    """The mean of these metrics; None unless all are there (or some, where the rest has no meaning for the run)."""
    values = [run.metrics[key] for key in keys if key in run.metrics]
    return sum(values) / len(values) if values and (is_partial_fine or len(values) == len(keys)) else None
