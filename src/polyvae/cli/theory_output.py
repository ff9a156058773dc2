"""What `polyvae theory` prints and writes of its results: tables, sentences, JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from polyvae.audits.audit import Audit
from polyvae.audits.entropy_bounds import Interval
from polyvae.audits.estimate import Estimate
from polyvae.theory import Line


def reasons(estimate: Estimate) -> str:
    """Which ends rest on what, a line a reason."""
    users: dict[str, list[str]] = {}
    for what, intervals in (("", estimate.delta), (" (features alone)", estimate.factorised)):
        for method, (lower, upper) in intervals.items():
            users.setdefault(f"lower ends: {lower.reason}", []).append(method + what)
            users.setdefault(f"upper ends: {upper.reason}", []).append(method + what)
    lines = [f"  - {reason}: {', '.join(methods)}" for reason, methods in sorted(users.items())]
    return "".join(f"{line}\n" for line in [*lines, *(f"  - {why}" for why in filter(None, [estimate.refuted]))])


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    def both(intervals: Mapping[str, Interval]) -> dict[str, Any]:
        return {k: {"lower": v.lower._asdict(), "upper": v.upper._asdict()} for k, v in intervals.items()}

    parts = {"delta": both(estimate.delta), "factorised": both(estimate.factorised)}
    parts["hidden"] = {method: both(intervals) for method, intervals in estimate.hidden.items()}
    return {
        "rows": estimate.rows,
        "models": estimate.models,
        "taken_as": dict(estimate.described),
        "advice": estimate.advice,
    } | parts


def lines_table(audit: Audit) -> Table:
    table = table_of("line", "certain for S", "value", "bound", "slack", "error")
    for line in audit.lines:
        numbers = (line.value, line.bound, line.slack, line.error)
        table.add_row(str(line.number), line.statement, *map(nats, numbers))
    return table


def subsets_table(audit: Audit) -> Table:
    table = table_of("encoded", "weight", "distortion", "rate", "H(rest | it)", "least slack of a line")
    for part in audit.by_subset:
        least = min(part.lines, key=lambda line: line.slack)
        numbers = (part.measured.distortion, part.measured.rate, part.missing)
        table.add_row(
            "+".join(part.given),
            f"{part.weight:.3f}",
            *map(nats, numbers),
            f"{nats(least.slack)} (line {least.number})",
        )
    return table


def audit_words(audit: Audit) -> str:
    exactly = "exactly" if audit.is_exact else "at most"
    verdict = "holds" if audit.eq4_slack >= 0 else "does not hold"
    return (
        f"{audit.run_id}: {audit.rows:,} rows of the law ({audit.law}).\n"
        f"E log p(x) = {nats(audit.log_evidence)} {exactly}; L_S = {nats(audit.objective)}; distortion "
        f"{nats(audit.measured.distortion)}; rate {nats(audit.measured.rate)}; Delta = {nats(audit.delta)}.\n"
        f"The paper's eq. 4, E log p(x) >= L_S + Delta, {verdict} here by {nats(abs(audit.eq4_slack))}. All in nats."
    )


def audit_json(audit: Audit) -> dict[str, Any]:
    def json_of(lines: Iterable[Line]) -> list[dict[str, Any]]:
        return [line._asdict() | {"slack": line.slack} for line in lines]

    return {
        "run_id": audit.run_id,
        "law": audit.law,
        "rows": audit.rows,
        "beta": audit.beta,
        "log_evidence": audit.log_evidence,
        "delta": audit.delta,
        "measured": audit.measured._asdict(),
        "lines": json_of(audit.lines),
        "subsets": [
            {
                "given": list(part.given),
                "weight": part.weight,
                "measured": part.measured._asdict(),
                "missing": part.missing,
                "lines": json_of(part.lines),
            }
            for part in audit.by_subset
        ],
    }


def table_of(*headings: str) -> Table:
    table = Table(box=None, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    return table


def nats(value: float) -> str:
    return f"{value:,.3f}"
