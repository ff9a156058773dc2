"""The finding of a page in a sentence: which methods carry content from one modality to another, or fill in tables."""

from collections.abc import Sequence
from typing import NamedTuple

from polyvae import keys
from polyvae.keys import LEAVE_ONE_OUT
from polyvae.report.runs import Group, Series
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
MOST_NAMED = 4  # methods of a clause; of more, the best one and the reader's own
CONTENT = {"polymnist": "the digit", "translated_polymnist": "the digit", "repeated_polymnist": "the digit"}
CONTENT |= dict.fromkeys(("cub_captions", "toy_captions"), "what captions name")
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
    extents = [(series, _extent(series, measure)) for series in _ranked(group, measure.key)]
    clauses: list[str] = []
    for extent, forms in CLAUSES.items():
        if members := [series for series, found in extents if found == extent]:
            verb = forms[bool(clauses)][len(members) > 1].format(measure.content)
            clauses.append(f"{_names(members, measure.key)} {verb}")
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
    return "" if filled_in(group) else " ".join(filter(None, [_quality(group), seeds(group)]))


def _measure(group: Group) -> Measure | None:
    content = CONTENT.get(group.dataset, "the class")
    if _ranked(group, LEAVE_ONE_OUT):
        ceiling = 1.0 if group.ceiling is None else group.ceiling
        return Measure(LEAVE_ONE_OUT, group.value(keys.CHANCE) or 0.0, ceiling, content)
    if _ranked(group, keys.LABEL_FREE):
        return Measure(keys.LABEL_FREE, 0.0, 1.0, "content")
    return None


def _ranked(group: Group, key: str) -> list[Series]:
    """The series that stand for their method, best first."""
    scored = [series for series in group.by_method.values() if series.value(key) is not None]
    return sorted(scored, key=lambda series: -(series.value(key) or 0.0))


def _extent(series: Series, measure: Measure) -> str:
    """By the ends of the interval, where it is known: what is doubtful is said to be in part."""
    value = series.value(measure.key) or 0.0
    ends = [value if (end := series.value(key)) is None else end for key in keys.interval(measure.key)]
    low, high = ((end - measure.chance) / (measure.ceiling - measure.chance) for end in ends)
    return "wholly" if low >= CARRIES else "not" if high <= FAILS else "partly"


def _names(members: Sequence[Series], key: str) -> str:
    """Each with its value: the best, the reader's own, and how many others there are."""
    most = MOST_NAMED if len(members) <= MOST_NAMED else 1
    named = [series for i, series in enumerate(members) if i < most or series.is_own]
    others = [series.value(key) or 0.0 for series in members if series not in named]
    parts = [f"{series.look.name} ({share(series.value(key) or 0.0)})" for series in named]
    rest = [f"{count(len(others), 'other')} ({span(others, share)})"] if others else []
    return joined(parts + rest)


def _quality(group: Group) -> str:
    """Whether the most coherent method is also the one of the highest quality."""
    coherent = _ranked(group, LEAVE_ONE_OUT)
    if not group.compared or len(coherent) < 2:
        return ""
    key, first = group.compared.key(), coherent[0]
    scored = {s.method: distance for s in coherent if (distance := s.value(key)) is not None}
    if first.method not in scored:
        return ""
    best = min(scored, key=scored.__getitem__)
    found = f"samples of {group.compared.modality} (Fréchet distance {short(scored[best])}"
    if best == first.method:
        return f"{first.look.name} also has the best {found})."
    return (
        f"{group.by_method[best].look.name} has the best {found}; {first.look.name} has {short(scored[first.method])})."
    )
