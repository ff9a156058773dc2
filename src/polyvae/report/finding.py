"""The finding of a page in a sentence: which methods carry content from one modality to another, or fill in tables."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from polyvae import keys
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.report.runs import Group, Run, Series, mean
from polyvae.report.words import (
    count,
    filled_in,
    headline,
    joined,
    scores_of_tables,
    seeds,
    share,
    short,
    span,
)
from polyvae.runs import verdict

CARRIES, FAILS = 0.5, 0.1  # of the way from chance to the ceiling
READS = 0.1  # of a judge over chance; below it coherence says nothing
MOST_NAMED = 4  # methods of a clause; of more, the best one and the reader's own
CONTENT = {"polymnist": "the digit", "translated_polymnist": "the digit", "repeated_polymnist": "the digit"}
CONTENT |= dict.fromkeys(("cub", "toy_captions"), "what captions name")
# Of one method and of several; then the same in a sentence that has said what is carried.
CLAUSES = {
    "wholly": (("carries {} across modalities", "carry {} across modalities"),) * 2,
    "partly": (
        ("carries {} across modalities only in part", "carry {} across modalities only in part"),
        ("does so only in part", "do so only in part"),
    ),
    "not": (("does not carry {} across modalities", "do not carry {} across modalities"), ("does not", "do not")),
}


class Measure(NamedTuple):
    """A share that says whether content is carried over; at `chance` nothing is, at `ceiling` all."""

    key: str
    chance: float
    ceiling: float
    content: str


def finding(group: Group) -> str:
    """What the runs on a data set show; empty where nothing was measured that a sentence can be made of."""
    measure = _measure(group)
    if measure is None:
        return verdict.in_short(scores_of_tables(group), group.modalities)
    ranked = _ranked(group, measure.key)
    clauses: list[str] = []
    for extent, forms in CLAUSES.items():
        if members := [scored for scored in ranked if _extent(*scored, measure) == extent]:
            verb = forms[bool(clauses)][len(members) > 1].format(measure.content)
            clauses.append(f"{_names(members)} {verb}")
    return "; ".join(clauses)


def title(groups: Sequence[Group]) -> str:
    """The finding on the data set of most runs; without one, who was run on what."""
    first = max(groups, key=lambda group: len(group.runs))
    found = finding(first)
    if not found:
        return headline(groups)
    return found if len(groups) == 1 else f"{first.title}: {found}"


def beside(group: Group) -> str:
    """What the finding leaves open: quality, and how far the seeds go. The verdict on tables has said the latter."""
    if filled_in(group):
        return ""
    what = "Coherence and distance are" if group.compared else "Coherence is"
    betas = f"{what} each method's best over all betas." if _measure(group) and group.has_betas else ""
    return " ".join(filter(None, [betas, _quality(group), seeds(group)]))


def _measure(group: Group) -> Measure | None:
    content = CONTENT.get(group.dataset, "the class")
    chance, ceiling = group.value(keys.CHANCE) or 0.0, 1.0 if group.ceiling is None else group.ceiling
    if ceiling - chance >= READS and _ranked(group, LEAVE_ONE_OUT):
        return Measure(LEAVE_ONE_OUT, chance, ceiling, content)
    if _ranked(group, keys.LABEL_FREE):
        return Measure(keys.LABEL_FREE, 0.0, 1.0, "content")
    return None


def _ranked(group: Group, key: str) -> list[tuple[Series, float]]:
    """The series that stand for their methods with the value at the beta that is best for it, best first."""
    found = [(series, mean(_peak(series, key), key)) for series in group.by_method.values()]
    scored = [(series, value) for series, value in found if value is not None]
    return sorted(scored, key=lambda pair: -pair[1])


def _peak(series: Series, key: str) -> list[Run]:
    """The runs at the beta of the highest mean; a beta without the metric is below all others."""
    return max(series.by_beta.values(), key=lambda runs: -math.inf if (value := mean(runs, key)) is None else value)


def _extent(series: Series, value: float, measure: Measure) -> str:
    """By the ends of the interval, where it is known: what is doubtful is said to be in part."""
    runs = _peak(series, measure.key)
    ends = [value if (end := mean(runs, key)) is None else end for key in keys.interval(measure.key)]
    low, high = ((end - measure.chance) / (measure.ceiling - measure.chance) for end in ends)
    return "wholly" if low >= CARRIES else "not" if high <= FAILS else "partly"


def _names(members: Sequence[tuple[Series, float]]) -> str:
    """Each with its value: the best, the reader's own, and how many others there are."""
    most = MOST_NAMED if len(members) <= MOST_NAMED else 1
    parts = [f"{s.look.name} ({share(value)})" for i, (s, value) in enumerate(members) if i < most or s.is_own]
    others = [value for i, (s, value) in enumerate(members) if i >= most and not s.is_own]
    rest = [f"{count(len(others), 'other')} ({span(others, share)})"] if others else []
    return joined(parts + rest)


def _quality(group: Group) -> str:
    """Whether the most coherent method is also the one of the highest quality."""
    coherent = [series for series, _ in _ranked(group, LEAVE_ONE_OUT)]
    if not group.compared or len(coherent) < 2:
        return ""
    scored = [(distance, s) for s in coherent if (distance := s.value(group.compared.key())) is not None]
    own = next((distance for distance, series in scored if series is coherent[0]), None)
    if own is None:
        return ""
    distance, best = min(scored, key=lambda pair: pair[0])
    found = f"samples of {group.compared.modality} (Fréchet distance {short(distance)}"
    if best is coherent[0]:
        return f"{best.look.name} also has the best {found})."
    return f"{best.look.name} has the best {found}; {coherent[0].look.name} has {short(own)})."
