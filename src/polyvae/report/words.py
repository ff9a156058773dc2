"""The summary in words, computed from the records, and the number formats of all parts."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from polyvae import keys
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.report.runs import Group, Series
from polyvae.report.style import METHODS
from polyvae.runs.record import duration
from polyvae.runs.verdict import verdict

ENOUGH_SEEDS = 5


def short(value: float) -> str:
    """Three significant digits, never in powers of ten above 1: 0.0312, 4.56, 45.6, 1,234."""
    if value == 0 or not 1e-4 <= abs(value) < 1000:
        return f"{value:,.0f}" if value == 0 or abs(value) >= 1000 else f"{value:.1e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def share(value: float) -> str:
    return f"{value:.2f}"


def joined(items: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def span(values: Iterable[float], text: Callable[[float], str] = lambda v: f"{v:,}") -> str:
    low, high = text(min(values := list(values))), text(max(values))
    return low if low == high else f"{low} to {high}"


def headline(groups: Sequence[Group]) -> str:
    methods = list(dict.fromkeys(s.look.name for group in groups for s in group.series))
    titles = list(dict.fromkeys(group.title.split(",")[0] for group in groups))
    who = joined(methods) if len(methods) <= 4 else count(len(methods), "method")
    return f"{who} on {joined(titles) if len(titles) <= 3 else count(len(titles), 'data set')}"


def what_was_run(group: Group) -> str:
    """One sentence: data, sizes, steps, methods, betas, scales, seeds, time."""
    runs = group.runs
    counts = {
        "training": [run.resolved.train_rows for run in runs if run.resolved.train_rows is not None],
        "test": [run.resolved.test_rows for run in runs if run.resolved.test_rows is not None],
    }
    rows = [f"{span(known)} {noun} rows" for noun, known in counts.items() if known]
    steps = [run.resolved.steps for run in runs if run.resolved.steps is not None]
    betas = sorted({run.config.beta for run in runs})
    scales = sorted({run.likelihood_scale for run in runs} - {""})
    seeds = {run.config.seed for run in runs}
    parts = [
        joined(rows) if rows else "",
        f"{span(steps)} optimiser steps per run" if steps else "",
        f"beta {joined(f'{beta:g}' for beta in betas)}",
        f"likelihood scale b {joined(scales)}" if len(scales) == 1 else "",
        count(len(seeds), "seed"),
    ]
    seconds = sum(run.seconds.get("train", 0) for run in runs)
    methods = joined(dict.fromkeys(s.look.name for s in group.series))
    time = f" Training took {duration(seconds)} in all." if seconds else ""
    return f"{count(len(runs), 'finished run')} of {methods}: {'; '.join(filter(None, parts))}.{time}"


def weights(group: Group) -> str:
    """Beta and the likelihood scale b, which are meaningful only together."""
    scales = sorted({run.likelihood_scale for run in group.runs} - {""})
    betas = span((run.config.beta for run in group.runs), lambda beta: f"{beta:g}")
    return f"β {betas}" + (f", likelihood scale b {joined(scales)}" if scales else "")


def findings(group: Group) -> dict[str, str]:
    """The results in one or two sentences each: quality, coherence, the paper's ordering, what to beware of."""
    sentences = {
        "Quality": _quality(group),
        "Coherence": _coherence(group),
        "The paper": ordering(group),
        "Imputation": _imputation(group),
        "Label-free": _label_free(group),
        "Beware": beware(group),
    }
    if not any(sentences.values()):
        sentences = {"Distortion": _bound(group)}
    return {name: text for name, text in sentences.items() if text}


class Ordering(NamedTuple):
    """An order that the paper finds (Daunhawer et al., 2022, section 5): some methods are ahead of others."""

    what: str
    ahead: tuple[str, ...]
    behind: tuple[str, ...]
    is_lower_better: bool
    text: Callable[[float], str]

    def shows(self, values: Mapping[str, float]) -> bool | None:
        """Whether each method that should be ahead beats each of the others; None if either side has no run."""
        sign = -1 if self.is_lower_better else 1
        front, back = ([sign * values[m] for m in side if m in values] for side in (self.ahead, self.behind))
        return min(front) > max(back) if front and back else None

    def clause(self, values: Mapping[str, float]) -> str:
        """values: method -> value, best first."""
        shows = self.shows(values)
        sides = ([METHODS[m].name for m in side if shows is None or m in values] for side in (self.ahead, self.behind))
        expected = " ahead of ".join(map(joined, sides))
        if shows is None:
            return f"{self.what} cannot be checked, since {expected} needs runs on both sides"
        members = {m: v for m, v in values.items() if m in (*self.ahead, *self.behind)}
        ranked = ", ".join(f"{METHODS[m].name} {self.text(v)}" for m, v in members.items())
        found = f"has {expected} ({ranked})" if shows else f"should have {expected}, but the order is {ranked}"
        return f"{self.what} {found}"


QUALITY = Ordering("quality", ("unimodal", "mvae"), ("mmvae", "mopoe"), True, short)
COHERENCE = Ordering("coherence", ("mmvae", "mopoe"), ("mvae",), False, share)


def ordering(group: Group) -> str:
    """Whether the orderings of the paper show at each method's best beta."""
    values = {QUALITY: best_by_method(group, group.compared.key(), lowest=True) if group.compared else {}}
    if group.dataset == "polymnist":  # on the other data sets, the paper finds no coherent method
        values[COHERENCE] = best_by_method(group, LEAVE_ONE_OUT, lowest=False)
    shows = {order: order.shows(of_methods) for order, of_methods in values.items()}
    decided = set(shows.values()) - {None}
    if not decided:
        return ""
    if decided == {True}:
        both = list(shows.values()) == [True, True]
        lead = "The runs show the paper's ordering" + ("" if both else ", as far as it can be checked")
    elif decided == {False}:
        lead = "The runs do not show the paper's ordering"
    else:
        lead = f"The runs show the paper's ordering only in {next(order.what for order in shows if shows[order])}"
    clauses = "; ".join(order.clause(of_methods) for order, of_methods in values.items())
    overlap = " However, the 95 % intervals of coherence overlap." if shows.get(COHERENCE) and _overlaps(group) else ""
    return f"{lead}: {clauses}.{overlap}"


def best_by_method(group: Group, key: str, *, lowest: bool) -> dict[str, float]:
    """The value of each method at its best beta, best first, without side experiments."""
    values = {method: value for method, series in group.main.items() if (value := series.value(key)) is not None}
    return dict(sorted(values.items(), key=lambda item: item[1], reverse=not lowest))


def _overlaps(group: Group) -> bool:
    """Whether the interval of a method that should be ahead overlaps that of a method that should be behind."""
    low, high = (
        [end for s in group.main.values() if s.method in side and (end := s.value(key)) is not None]
        for side, key in zip((COHERENCE.ahead, COHERENCE.behind), keys.interval(LEAVE_ONE_OUT), strict=True)
    )
    return bool(low and high) and min(low) <= max(high)


def _quality(group: Group) -> str:
    if not group.compared or not (ranked := _ranked(group, group.compared.key(), lowest=True)):
        return ""
    at = ", each method at its best beta" if group.has_betas else ""
    text = f"Fréchet distance on {group.compared.modality} (lower is better{at}): {_ends(ranked, short)}."
    return text + (f" Between two sets of real data it is {short(group.floor)}." if group.floor is not None else "")


def _coherence(group: Group) -> str:
    if not (ranked := _ranked(group, LEAVE_ONE_OUT, lowest=False)):
        return ""
    at = ", at the beta of the lowest distance" if group.compared and group.has_betas else ""
    text = f"Leave-one-out (higher is better{at}): {_ends(ranked, share)}."
    judge = f" The judge is right on {share(group.ceiling)} of real data." if group.ceiling is not None else ""
    return text + judge


def _label_free(group: Group) -> str:
    if not (ranked := _ranked(group, keys.LABEL_FREE, lowest=False)):
        return ""
    return f"Without labels, from 0 (shuffled pairs) to 1 (real pairs): {_ends(ranked, share)}."


def beware(group: Group) -> str:
    """Doubts about the data, and runs whose joint coherence cannot be trusted."""
    said = dict.fromkeys(
        f"{name.partition('/')[2]}: {text}"
        for run in group.runs
        for name, text in run.doubts.items()
        if name.startswith(f"{keys.DATA}/")
    )
    return " ".join(filter(None, [*said, _collapsed(group)]))


def _collapsed(group: Group) -> str:
    """Runs whose samples look collapsed."""
    doubtful = [run for run in group.runs if keys.JOINT_COHERENCE in run.notes]
    if not doubtful:
        return ""
    why = doubtful[0].notes[keys.JOINT_COHERENCE]
    who = joined(
        series.label for series in group.series if any(keys.JOINT_COHERENCE in run.notes for run in series.runs)
    )
    return f"Joint coherence of {who} ({count(len(doubtful), 'run')}) is {why}."


def _bound(group: Group) -> str:
    values = [(series.label, series.value(keys.DISTORTION)) for series in group.series]
    scored = [f"{label} {short(value)}" for label, value in values if value is not None]
    if not scored:
        return "No metric was measured."
    return f"On the test rows, in nats: {joined(scored)}. Quality and coherence were not measured."


def filled_in(group: Group) -> str:
    """Whether models fill in tables better than simpler methods, and whether intervals are right."""
    seeds_of = (len({run.config.seed for run in series.best}) for series in group.series)
    return " ".join(verdict(scores_of_tables(group), group.modalities, max(seeds_of)))


def scores_of_tables(group: Group) -> dict[str, dict[str, float]]:
    """Of each series what it scored in filling in tables, means over seeds."""
    known = {key for run in group.runs for key in run.metrics if key.startswith("imputation/")}
    return {s.label: {key: value for key in known if (value := s.value(key)) is not None} for s in group.series}


def fillings(group: Group) -> dict[keys.Filling, str]:
    """What runs of the group filled in from what, in the order of the data; and the latter in words."""
    found = keys.fillings(key for run in group.runs for key in run.metrics)
    return {
        filling: "all others" if filling.is_from_all_others(group.modalities) else joined(filling.given.split("+"))
        for target in group.modalities
        for filling in found
        if filling.target == target
    }


def _imputation(group: Group) -> str:
    """How much better than the mean each table is filled in, and the coverage of intervals."""
    sentences = []
    for filling, source in fillings(group).items():
        ranked = _ranked(group, filling.key(), lowest=True)
        plain = group.value(keys.imputation_by("mean", filling.target))
        if ranked and plain is not None:
            said = f"{_ends(ranked, share)}; the column mean has {share(plain)}"
            sentences.append(f"{filling.target} from {source}: {said}")
    if not sentences:
        return ""
    coverages = [filling.key("coverage") for filling in fillings(group)]
    held = [value for series in group.series for key in coverages if (value := series.value(key)) is not None]
    doubt = f" 80 % intervals hold {span(held, share)} of the truth." if held else ""
    units = "in standard deviations (counts in counts, classes in probabilities)"
    return f"Root mean squared error on test rows, {units}. {'. '.join(sentences)}.{doubt}"


def _ranked(group: Group, key: str, *, lowest: bool) -> list[tuple[Series, float]]:
    scored = [(series, value) for series in group.series if (value := series.value(key)) is not None]
    return sorted(scored, key=lambda pair: pair[1], reverse=not lowest)


def _ends(ranked: list[tuple[Series, float]], text: Callable[[float], str]) -> str:
    """The best, the worst, and where the reader's own methods are between them."""
    (best, top), (worst, bottom) = ranked[0], ranked[-1]
    if len(ranked) == 1:
        return f"{best.label} has {text(top)}"
    places = [(place, *scored) for place, scored in enumerate(ranked, start=1)][1:-1]
    own = [f"{s.label} is number {place} of {len(ranked)} with {text(value)}" for place, s, value in places if s.is_own]
    first = ", ".join([f"{best.label} is best with {text(top)}", *own])
    return f"{first}, and {worst.label} is worst with {text(bottom)}"


def seeds(group: Group) -> str:
    """What the number of seeds allows to say of the series that stand for their methods."""
    counts = {s.look.name: len({run.config.seed for run in s.best}) for s in group.by_method.values()}
    fewest, most = min(counts.values()), max(counts.values())
    if len(counts) == 1:
        return "" if fewest > 1 else "There is one seed; another seed may give different numbers."
    if most == 1:
        return "One seed cannot decide a ranking: run more seeds before you quote an order."
    if fewest == 1:
        single = [label for label, number in counts.items() if number == 1]
        return f"{joined(single)} {'has' if len(single) == 1 else 'have'} one seed, which cannot decide a ranking."
    if fewest < ENOUGH_SEEDS:
        return f"Means are over {span(counts.values())} seeds; fewer than {ENOUGH_SEEDS} cannot decide a ranking."
    return f"Means are over {span(counts.values())} seeds; the ranking has not been tested."
