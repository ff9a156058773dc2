"""What the paper claims, and whether records bear it out: pure functions from records to verdicts.

Statistics: the unit is the seed; 95 % t intervals of (paired) means; equality by two one-sided tests with a stated
margin; Holm's correction over all claims that are tested. A claim of several parts holds if all of them do, and does
not hold if the opposite of one is shown (Bonferroni over its parts). A part without runs, or with one seed, leaves its
claim undecided and untested: it is no member of the family that Holm corrects for.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from polyvae.claims.measures import ABSENT, Fact, Part
from polyvae.claims.statistics import LEVEL, Test, holm
from polyvae.claims.table import CLAIMS, Claim

__all__ = ["CLAIMS", "Claim", "Fact", "Part", "Test", "Verdict", "judge"]

Outcome = Literal["holds", "does not hold", "not decided"]


class Verdict(NamedTuple):
    """How a claim fares. numbers: what was measured, a sentence a part; p: adjusted, None if a part is not tested."""

    claim: Claim
    outcome: Outcome
    numbers: list[str]
    p: float | None


def judge(records: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """A verdict on every claim, C1 to C18, from the records of a store, failed ones included."""
    known = list(records)
    measured = {claim.name: claim.measure(known) for claim in CLAIMS}
    tests = {name: [p.test for p in parts if isinstance(p, Part)] for name, parts in measured.items()}
    testable = {name: [t for t in found if t.seeds > 1] for name, found in tests.items()}
    adjusted = holm(
        {name: max(t.p for t in found) for name, found in testable.items() if found and found == tests[name]}
    )
    against = holm(
        {name: min(1.0, len(found) * min(t.p_against for t in found)) for name, found in testable.items() if found}
    )
    verdicts = []
    for claim in CLAIMS:
        parts = measured[claim.name]
        if all(part.text.endswith(ABSENT) for part in parts):
            verdicts.append(Verdict(claim, "not decided", [ABSENT], None))
            continue
        facts = [part.holds for part in parts if isinstance(part, Fact)]
        p = adjusted.get(claim.name)
        is_shown = not tests[claim.name] or (p is not None and p < LEVEL)
        outcome: Outcome = "not decided"
        if False in facts or against.get(claim.name, 1.0) < LEVEL:
            outcome = "does not hold"
        elif None not in facts and is_shown:
            outcome = "holds"
        verdicts.append(Verdict(claim, outcome, [part.text for part in parts], p))
    return verdicts
