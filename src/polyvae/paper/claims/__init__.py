"""What the paper claims, and whether records bear it out: pure functions from records to verdicts.

Statistics: the unit is the seed; 95 % t intervals of (paired) means, wider where betas were chosen; equality by two
one-sided tests with a stated margin; Holm's correction over all claims that are tested. A claim of several parts holds
if all of them do, and does not hold if the opposite of one is shown (Bonferroni over its parts). A part without runs,
with one seed, or of models that have learned nothing, decides neither way and leaves its claim untested: it is not a
member of the family that Holm corrects for.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from polyvae.paper.claims.after import AFTER, LATER
from polyvae.paper.claims.measures import ABSENT, CLAIMS, Claim, Fact, Part
from polyvae.paper.claims.statistics import LEVEL, Test, holm
from polyvae.paper.names import DATASETS, METHODS
from polyvae.runs.record import Record

__all__ = ["AFTER", "CLAIMS", "LATER", "Claim", "Fact", "Part", "Test", "Verdict", "judge", "judge_later"]

AFTER_THE_PAPER = f"After the paper: the same, asked of {METHODS[LATER].full}"  # the title of what `judge_later` finds

Outcome = Literal["holds", "does not hold", "not decided"]


class Verdict(NamedTuple):
    """How a claim fares.

    numbers: what was measured, one sentence per part. p: adjusted, of what is said; None where it rests on no test.
    """

    claim: Claim
    outcome: Outcome
    numbers: list[str]
    p: float | None


def judge(records: Iterable[Record], claims: Sequence[Claim] = CLAIMS) -> list[Verdict]:
    """A verdict on every claim, from the records of a store, failed ones included.

    claims: one family, which Holm corrects for: the paper's own, C1 to C18, or `AFTER`.
    """
    known = list(records)
    measured = {claim.name: list(claim.measure(known)) for claim in claims}
    parts = {name: [p for p in own if isinstance(p, Part)] for name, own in measured.items()}
    tests = {name: [p.test for p in own if p.counts and p.test.seeds > 1] for name, own in parts.items()}
    whole = [
        name
        for name, own in tests.items()
        if own and len(own) == len(parts[name]) and not any(p.is_absent for p in measured[name])
    ]
    adjusted = holm({name: max(t.p for t in tests[name]) for name in whole})
    against = holm({name: min(1.0, len(own) * min(t.p_against for t in own)) for name, own in tests.items() if own})
    return [
        _verdict(claim, measured[claim.name], adjusted.get(claim.name), against.get(claim.name)) for claim in claims
    ]


def judge_later(records: Iterable[Record]) -> list[Verdict]:
    """A verdict on the claims of `AFTER`; [] where there are no runs of that method on the paper's data sets."""
    known = list(records)
    there = any(run.config.method == LATER and run.config.dataset in DATASETS for run in known)
    return judge(known, AFTER) if there else []


def _verdict(claim: Claim, parts: Sequence[Part | Fact], p: float | None, against: float | None) -> Verdict:
    numbers = [part.text for part in parts]
    if all(part.is_absent for part in parts):
        return Verdict(claim, "not decided", [ABSENT], None)
    facts = [part.holds for part in parts if isinstance(part, Fact)]
    is_counted = len(facts) == len(parts)
    if against is not None and against < LEVEL:
        return Verdict(claim, "does not hold", numbers, against)
    if False in facts:
        return Verdict(claim, "does not hold", numbers, None)
    if None not in facts and (is_counted or (p is not None and p < LEVEL)):
        return Verdict(claim, "holds", numbers, p)
    return Verdict(claim, "not decided", numbers, p)
