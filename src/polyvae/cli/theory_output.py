"""What `polyvae theory` prints and writes of its results: tables, sentences, JSON."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from polyvae import theory as exact
from polyvae.audits.audit import Audit
from polyvae.audits.entropy_bounds import Interval
from polyvae.audits.estimate import Estimate


def reasons(found: Estimate) -> str:
    """Which ends rest on what, a line a reason."""
    users: dict[str, list[str]] = {}
    for what, intervals in (("", found.delta), (" (features alone)", found.factorised)):
        for method, (lower, upper) in intervals.items():
            users.setdefault(f"lower ends: {lower.reason}", []).append(method + what)
            users.setdefault(f"upper ends: {upper.reason}", []).append(method + what)
    lines = [f"  - {reason}: {', '.join(methods)}" for reason, methods in sorted(users.items())]
    return "".join(f"{line}\n" for line in [*lines, *(f"  - {why}" for why in filter(None, [found.refuted]))])


def estimate_json(found: Estimate) -> dict[str, Any]:
    def both(intervals: Mapping[str, Interval]) -> dict[str, Any]:
        return {k: {"lower": v.lower._asdict(), "upper": v.upper._asdict()} for k, v in intervals.items()}

    parts = {"delta": both(found.delta), "factorised": both(found.factorised)}
    parts["hidden"] = {method: both(of) for method, of in found.hidden.items()}
    return {
        "rows": found.rows,
        "models": found.models,
        "taken_as": dict(found.described),
        "advice": found.advice,
    } | parts


def lines_table(found: Audit) -> Table:
    table = table_of("line", "certain for S", "value", "bound", "slack", "error")
    for line in found.lines:
        numbers = (line.value, line.bound, line.slack, line.error)
        table.add_row(str(line.number), line.statement, *map(nats, numbers))
    return table


def subsets_table(found: Audit) -> Table:
    table = table_of("encoded", "weight", "distortion", "rate", "H(rest | it)", "least slack of a line")
    for part in found.by_subset:
        least = min(part.lines, key=lambda line: line.slack)
        numbers = (part.measured.distortion, part.measured.rate, part.missing)
        table.add_row(
            "+".join(part.given),
            f"{part.weight:.3f}",
            *map(nats, numbers),
            f"{nats(least.slack)} (line {least.number})",
        )
    return table


def audit_words(found: Audit) -> str:
    exactly = "exactly" if found.is_exact else "at most"
    verdict = "holds" if found.eq4_slack >= 0 else "does not hold"
    return (
        f"{found.run_id}: {found.rows:,} rows of the law ({found.law}).\n"
        f"E log p(x) = {nats(found.log_evidence)} {exactly}; L_S = {nats(found.objective)}; distortion "
        f"{nats(found.measured.distortion)}; rate {nats(found.measured.rate)}; Delta = {nats(found.delta)}.\n"
        f"The paper's eq. 4, E log p(x) >= L_S + Delta, {verdict} here by {nats(abs(found.eq4_slack))}. All in nats."
    )


def audit_json(found: Audit) -> dict[str, Any]:
    def line(one: exact.Line) -> dict[str, Any]:
        return one._asdict() | {"slack": one.slack}

    return {
        "run_id": found.run_id,
        "law": found.law,
        "rows": found.rows,
        "beta": found.beta,
        "log_evidence": found.log_evidence,
        "delta": found.delta,
        "measured": found.measured._asdict(),
        "lines": [line(one) for one in found.lines],
        "subsets": [
            {
                "given": list(part.given),
                "weight": part.weight,
                "measured": part.measured._asdict(),
                "missing": part.missing,
                "lines": [line(one) for one in part.lines],
            }
            for part in found.by_subset
        ],
    }


def table_of(*headings: str) -> Table:
    table = Table(box=None, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    return table


def nats(value: float) -> str:
    return f"{value:,.3f}"
