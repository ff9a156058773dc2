"""The command about the paper's theorem: Delta of a law, audits of runs, the best S, bounds from data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro
from rich.table import Table

from polyvae import archives, datasets, files, subsets
from polyvae import theory as exact
from polyvae.audits.audit import Audit, SubsetAudit
from polyvae.audits.audit import audit as audit_run
from polyvae.audits.entropy_bounds import Interval
from polyvae.audits.estimate import Estimate, estimate
from polyvae.audits.floors import add_floors
from polyvae.audits.laws import law_named
from polyvae.cli.common import (
    STORE,
    Quiet,
    Store,
    Threads,
    out_file,
    say,
    seeded,
    show,
    subsets_in,
    table_of,
    use_threads,
)
from polyvae.cli.grouped import grouped
from polyvae.cli.progress import Bar
from polyvae.config import OWN, DataOptions
from polyvae.errors import InputError
from polyvae.runs.store import RunStore
from polyvae.subsets import SubsetMixture


@dataclass(frozen=True, kw_only=True)
class Flags(DataOptions):
    """Options of the law and of the actions. --data is for estimate, which quantises real values."""

    symbols: int | None = None
    """Number of values per modality of a certified generator. Default 2."""
    seed: int = 0
    """Seed of a generator, and of the fresh rows of an audit."""
    bins: int = 16
    """Number of values of a quantised feature, which quantiles separate."""
    subsets: str | None = None
    """JSON file with your own S, shown beside the methods."""
    beta: float = 1.0
    """Weight beta of the rate in the beta gap."""
    points: int = 9
    """Number of points on the frontier."""
    least_share: float = 0.0
    """Smallest weight of each single modality, for tradeoff."""
    rows: int = 1000
    """Number of fresh rows that an audit measures on."""
    threads: Threads = None
    store: Store = STORE
    quiet: Quiet = False

    @property
    def mixture(self) -> SubsetMixture | None:
        """Your own S."""
        return None if self.subsets is None else subsets_in(self.subsets, subsets.from_json)


class Result(NamedTuple):
    """content: for JSON. sets: each S of a frontier, for separate files."""

    content: Any
    tables: list[Table]
    words: str
    sets: tuple[SubsetMixture, ...] = ()


def theory(
    action: Annotated[Literal["discrepancy", "audit", "floors", "estimate", "tradeoff"], tyro.conf.Positional],
    target: Annotated[str | None, tyro.conf.Positional] = None,
    *,
    law: Annotated[Flags, tyro.conf.arg(name="", constructor=grouped(Flags))],
    out: Path | None = None,
) -> None:
    """Show in nats what sub-sampling of modalities costs.

    discrepancy LAW: Delta of each method, by modality. audit RUN: distortion, rate and the slack of every certified
    bound (docs/theory.md). floors: the floor of the distortion of every finished run in --store, which is added to the
    records for the report. tradeoff LAW: the S with the smallest Delta for each mean number of observed modalities.
    estimate --data FILE: an interval of Delta on your own data, before training, and methods that avoid this cost.
    LAW is a joint table in a .npy file, a data set with a generator (polymnist, symbols, toy, ...), or a certified
    generator (random, independent, shared, common_cause, noisy_cause, xor).

    Args:
        action: discrepancy, audit, floors, estimate or tradeoff.
        target: The law, or the run: its id, the start of its id, or its folder.
        out: JSON file for the result. With tradeoff, FILE.1.json, FILE.2.json, ... beside FILE.json each hold one S,
            for `polyvae run --method custom --subsets`.
    """
    seeded(law.seed)
    use_threads(law.threads)
    if out is not None:
        out_file(out)
    result = ACTIONS[action](target, law)
    written = "" if out is None else "\n" + _write(out, result)
    if not law.quiet:
        for table in result.tables:
            show(table)
        say(result.words + written)


def _write(out: Path, result: Result) -> str:
    """Writes the result, and each S of a frontier to a separate file; returns what it wrote."""
    files.write_json(out, result.content)
    paths = [out.with_suffix(f".{number}.json") for number in range(1, len(result.sets) + 1)]
    for path, S in zip(paths, result.sets, strict=True):
        files.write_json(path, subsets.to_json(S))
    which = f"; its sets S, for --method custom --subsets: {paths[0]} to {paths[-1].name}" if paths else ""
    return f"Written: {out}{which}"


def _law(action: str, target: str | None, flags: Flags) -> Any:
    if target is None:
        raise InputError(f"{action} of what? Use: polyvae theory {action} LAW")
    if not target.endswith(".npy"):
        options = datasets.options_of(target, flags) if target in datasets.DATASETS else flags.given
        arguments: dict[str, Any] = {"symbols": flags.symbols, "seed": flags.seed} | options
        return law_named(target, **arguments)
    return archives.read_npy(Path(target))


def _discrepancy(target: str | None, flags: Flags) -> Result:
    law = _law("discrepancy", target, flags)
    known = exact.known(law)
    mixtures = exact.presets(known.names) | ({} if (own := flags.mixture) is None else {"custom": own})
    table = table_of("method", "Delta", "beta gap" if known.is_discrete else "", *(f"by {n}" for n in known.names))
    content = {}
    for name, S in mixtures.items():
        delta, shares = exact.discrepancy(known, S), exact.by_modality(known, S)
        gap = exact.beta_gap(known, S, flags.beta) if known.is_discrete else None
        content[name] = {"delta": delta, "beta_gap": gap, "by_modality": shares}
        table.add_row(name, _nats(delta), "" if gap is None else _nats(gap), *(_nats(shares[n]) for n in S.names))
    sizes = ", ".join(f"H({name}) = {_nats(known.of((name,)))}" for name in known.names)
    words = (
        f"H(X) = {_nats(known.joint)}, {sizes}; total correlation {_nats(known.total_correlation())}. All in nats.\n"
        "Delta: the information about unseen modalities that no decoder can have, averaged over S."
    )
    if not known.is_discrete:
        words += "\nThese are differential entropies: Delta depends on the units and is not a floor (docs/theory.md)."
    if isinstance(law, exact.ImageLaw) and not law.is_exact:
        words += "\nCrops or masks repeat in this generator, so Delta is a lower bound."
    return Result({"joint": known.joint, "beta": flags.beta, "methods": content}, [table], words)


def _tradeoff(target: str | None, flags: Flags) -> Result:
    law = _law("tradeoff", target, flags)
    table = table_of("S", "observed", "Delta", "terms")
    mixes = exact.tradeoff(law, flags.points, least_share=flags.least_share)
    named = [*(("frontier", mix) for mix in mixes), *exact.preset_mixes(law).items()]
    for name, mix in sorted(named, key=lambda pair: pair[1].observed):
        terms = sorted(mix.S.terms, key=lambda term: -term.weight)
        text = ", ".join(f"{'+'.join(t.given)}: {t.weight:.2f}" for t in terms[:4]) + (", ..." if terms[4:] else "")
        table.add_row(name, f"{mix.observed:.2f}", _nats(mix.delta), text)
    content = [{"observed": m.observed, "delta": m.delta, "subsets": subsets.to_json(m.S)} for m in mixes]
    words = "observed: mean number of modalities that the encoder sees. Delta in nats."
    return Result(content, [table], words, tuple(mix.S for mix in mixes))


def _floors(target: str | None, flags: Flags) -> Result:
    floors = add_floors(RunStore(flags.store), flags.data_dir, lambda text: None if flags.quiet else say(text))
    table = table_of("run", "distortion", "floor", "above it", "Delta")
    for floor in floors:
        numbers = (floor.distortion, floor.floor, floor.distortion - floor.floor, floor.delta)
        table.add_row(floor.run_id, *map(_nats, numbers))
    words = "In nats of the Laplace loss (docs/theory.md, line 7). `polyvae report` will show the floors."
    return Result([floor._asdict() for floor in floors], [table], words)


def _audit(target: str | None, flags: Flags) -> Result:
    if target is None:
        raise InputError("audit of what? Use: polyvae theory audit RUN")
    audit = audit_run(target, store=RunStore(flags.store), rows=flags.rows, seed=flags.seed)
    lines = table_of("line", "certain for S", "value", "bound", "slack", "error")
    for line in audit.lines:
        lines.add_row(str(line.number), line.statement, *map(_nats, (line.value, line.bound, line.slack, line.error)))
    by_subset = table_of("encoded", "weight", "distortion", "rate", "H(rest | it)", "least slack of a line")
    for part in audit.by_subset:
        least = min(part.lines, key=lambda line: line.slack)
        numbers = map(_nats, (part.measured.distortion, part.measured.rate, part.missing))
        by_subset.add_row(
            "+".join(part.given), f"{part.weight:.3f}", *numbers, f"{_nats(least.slack)} (line {least.number})"
        )
    exactly = "exactly" if audit.is_exact else "at most"
    verdict = "holds" if audit.eq4_slack >= 0 else "does not hold"
    words = (
        f"{audit.run_id}: {audit.rows:,} rows of the law ({audit.law}).\n"
        f"E log p(x) = {_nats(audit.log_evidence)} {exactly}; L_S = {_nats(audit.objective)}; distortion "
        f"{_nats(audit.measured.distortion)}; rate {_nats(audit.measured.rate)}; Delta = {_nats(audit.delta)}.\n"
        f"The paper's eq. 4, E log p(x) >= L_S + Delta, {verdict} here by {_nats(abs(audit.eq4_slack))}. All in nats."
    )
    return Result(_audit_json(audit), [lines, by_subset], words)


def _audit_json(audit: Audit) -> dict[str, Any]:
    def json_of(part: Audit | SubsetAudit, *names: str) -> dict[str, Any]:
        lines = [line._asdict() | {"slack": line.slack} for line in part.lines]
        return {name: getattr(part, name) for name in names} | {"measured": part.measured._asdict(), "lines": lines}

    parts = [json_of(part, "given", "weight", "missing") for part in audit.by_subset]
    return json_of(audit, "run_id", "law", "rows", "beta", "log_evidence", "delta") | {"subsets": parts}


def _estimate(target: str | None, flags: Flags) -> Result:
    if flags.data is None:
        raise InputError("which data? Use: polyvae theory estimate --data FILE")
    mixtures = None if (own := flags.mixture) is None else exact.presets(own.names) | {"custom": own}
    with Bar(flags.quiet) as bar:
        options = datasets.options_of(OWN, flags)
        bounds = estimate(**options, S=mixtures, bins=flags.bins, seed=flags.seed, on_part=bar.part)
    ends = table_of("method", "Delta from", "to", "features alone from", "to")
    for name, interval in bounds.delta.items():
        ends.add_row(name, *(_nats(end.value) for end in (*interval, *bounds.factorised[name])))
    hidden = table_of("modality", "taken as", *(f"hidden by {method}: from, to" for method in bounds.hidden))
    for name, described in bounds.described.items():
        pairs = (intervals[name] for intervals in bounds.hidden.values())
        hidden.add_row(name, described, *(f"{_nats(low.value)}, {_nats(high.value)}" for low, high in pairs))
    words = (
        f"{bounds.rows:,} rows; models: {bounds.models}; nats of the quantised data; outer ends of 95 % intervals.\n"
        "'features alone': the floor for decoders that treat the features of an unseen modality as independent.\n"
        "'hidden': what the encoder cannot know about a modality when it does not see it, averaged over S.\n"
    )
    reasons = "".join(f"  - {reason}\n" for reason in _reasons(bounds))
    return Result(_estimate_json(bounds), [ends, hidden], words + reasons + bounds.advice)


def _reasons(bounds: Estimate) -> list[str]:
    """What each end rests on, and why labels are not used, if they are not."""
    users: dict[str, list[str]] = {}
    for what, intervals in (("", bounds.delta), (" (features alone)", bounds.factorised)):
        for method, (lower, upper) in intervals.items():
            users.setdefault(f"lower ends: {lower.reason}", []).append(method + what)
            users.setdefault(f"upper ends: {upper.reason}", []).append(method + what)
    reasons = [f"{reason}: {', '.join(methods)}" for reason, methods in sorted(users.items())]
    return reasons if bounds.refuted is None else [*reasons, bounds.refuted]


def _estimate_json(bounds: Estimate) -> dict[str, Any]:
    def json_of(intervals: Mapping[str, Interval]) -> dict[str, Any]:
        return {k: {"lower": v.lower._asdict(), "upper": v.upper._asdict()} for k, v in intervals.items()}

    facts = {"rows": bounds.rows, "models": bounds.models, "taken_as": dict(bounds.described), "advice": bounds.advice}
    ends = {name: json_of(getattr(bounds, name)) for name in ("delta", "factorised", "alone", "known")}
    return facts | ends | {"hidden": {method: json_of(intervals) for method, intervals in bounds.hidden.items()}}


def _nats(value: float) -> str:
    return f"{value:,.3f}"


ACTIONS: dict[str, Callable[[str | None, Flags], Result]] = {
    "discrepancy": _discrepancy,
    "audit": _audit,
    "floors": _floors,
    "estimate": _estimate,
    "tradeoff": _tradeoff,
}
