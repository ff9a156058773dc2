"""The command about the paper's theorem: Delta of a law, the audit of a run, the cheapest S, bounds from data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from polyvae import datasets, files, subsets
from polyvae import theory as exact
from polyvae.audits import audit as audits
from polyvae.audits import estimate as estimates
from polyvae.audits.floors import add_floors
from polyvae.audits.laws import law_named
from polyvae.cli.progress import CountBar
from polyvae.cli.subsets_file import mixture_in
from polyvae.cli.theory_output import (
    audit_json,
    audit_words,
    estimate_json,
    lines_table,
    nats,
    reasons,
    subsets_table,
    table_of,
)
from polyvae.config import DataOptions
from polyvae.errors import InputError
from polyvae.runs.store import RunStore
from polyvae.subsets import SubsetMixture

PRESETS = ("mvae", "mmvae", "mopoe")


@dataclass(frozen=True, kw_only=True)
class Flags(DataOptions):
    """Options of the law, and of what is asked of it. --data is for estimate; its real values are quantised."""

    symbols: int | None = None
    """Values a modality of a certified generator. Default 2."""
    seed: int = 0
    """Seed of a generator, and of the audit's fresh rows."""
    bins: int = 16
    """Values of a quantised feature, by quantiles."""
    subsets: str | None = None
    """JSON file with your own S, shown beside the methods."""
    beta: float = 1.0
    """Weight of the rate in the beta gap."""
    points: int = 9
    """Steps of the frontier."""
    least_share: float = 0.0
    """Weight that each single modality keeps at least, for tradeoff."""
    rows: int = 1000
    """Fresh rows an audit measures on."""
    store: Path = Path("runs")
    """Folder of all runs."""
    quiet: bool = False
    """Print nothing but errors."""


class Result(NamedTuple):
    """content: for JSON. sets: each S of a frontier, for files of their own."""

    content: Any
    tables: list[Table]
    words: str
    sets: tuple[SubsetMixture, ...] = ()


def theory(
    action: Annotated[Literal["discrepancy", "audit", "floors", "estimate", "tradeoff"], tyro.conf.Positional],
    target: Annotated[str | None, tyro.conf.Positional] = None,
    *,
    law: Flags,
    out: Path | None = None,
) -> None:
    """What sub-sampling of modalities costs, in nats: Delta of a law, a run against what is certain, the best S.

    discrepancy LAW: Delta for each method, by modality. audit RUN: distortion, rate and the slack of every certified
    bound (docs/theory.md). floors: every finished run of --store against the floor of its distortion, kept in its
    record for the report. tradeoff LAW: the S of least Delta for every mean number of observed modalities.
    estimate --data FILE.npz: before training, an interval of Delta on your own data, and which methods avoid it.
    LAW is a joint table in a .npy file, a data set with a generator (polymnist, symbols, toy, ...), or a certified
    generator (random, independent, shared, common_cause, noisy_cause, xor).

    Args:
        action: discrepancy, audit, floors, estimate or tradeoff.
        target: The law, or the run: its id, the start of one, or its folder.
        out: JSON file for the result. For tradeoff FILE.json also gets FILE.1.json, FILE.2.json, ... beside it, an S
            each, as `polyvae run --method custom --subsets` takes it.
    """
    result = ACTIONS[action](target, law)
    written = "" if out is None else "\n" + _write(out, result)
    if not law.quiet:
        for table in result.tables:
            Console().print(table)
        print(result.words + written)


def _write(out: Path, result: Result) -> str:
    """Writes the result, and each S of a frontier to a file of its own; returns what it wrote."""
    files.write_json(out, result.content)
    paths = [out.with_suffix(f".{number}.json") for number in range(1, len(result.sets) + 1)]
    for path, S in zip(paths, result.sets, strict=True):
        files.write_json(path, subsets.to_json(S))
    which = f"; its sets S, for --method custom --subsets: {paths[0]} to {paths[-1].name}" if paths else ""
    return f"Written: {out}{which}"


def _law(action: str, target: str | None, flags: Flags) -> Any:
    if target is None:
        raise InputError(f"{action} of what? Say: polyvae theory {action} LAW")
    if target.endswith(".npy"):
        return _table_in(Path(target))
    options = datasets.options_of(target, flags) if target in datasets.DATASETS else flags.given
    return law_named(target, symbols=flags.symbols, seed=flags.seed, **options)


def _table_in(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no readable table ({error}); save it with numpy.save") from error


def _discrepancy(target: str | None, flags: Flags) -> Result:
    law = _law("discrepancy", target, flags)
    known = exact.known(law)
    mixtures: dict[str, SubsetMixture] = {name: getattr(subsets, name)(known.names) for name in PRESETS}
    if flags.subsets is not None:
        mixtures["custom"] = mixture_in(Path(flags.subsets))
    table = table_of("method", "Delta", "beta gap" if known.is_discrete else "", *(f"by {n}" for n in known.names))
    content = {}
    for name, S in mixtures.items():
        delta, shares = exact.discrepancy(known, S), exact.by_modality(known, S)
        gap = exact.beta_gap(known, S, flags.beta) if known.is_discrete else None
        content[name] = {"delta": delta, "beta_gap": gap, "by_modality": shares}
        table.add_row(name, nats(delta), "" if gap is None else nats(gap), *(nats(shares[n]) for n in S.names))
    sizes = ", ".join(f"H({name}) = {nats(known.of((name,)))}" for name in known.names)
    words = (
        f"H(X) = {nats(known.joint)}, {sizes}; total correlation {nats(known.total_correlation())}. All in nats.\n"
        "Delta: what no decoder can know of the modalities that the encoder does not see, averaged over S."
    )
    if not known.is_discrete:
        words += "\nThese are differential entropies: Delta depends on units, and is no floor (docs/theory.md)."
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
        table.add_row(name, f"{mix.observed:.2f}", nats(mix.delta), text)
    content = [{"observed": m.observed, "delta": m.delta, "subsets": subsets.to_json(m.S)} for m in mixes]
    words = "observed: mean number of modalities that the encoder sees. Delta in nats."
    return Result(content, [table], words, tuple(mix.S for mix in mixes))


def _audit(target: str | None, flags: Flags) -> Result:
    if target is None:
        raise InputError("audit of what? Say: polyvae theory audit RUN")
    audit = audits.audit(target, store=RunStore(flags.store), rows=flags.rows, seed=flags.seed)
    return Result(audit_json(audit), [lines_table(audit), subsets_table(audit)], audit_words(audit))


def _estimate(target: str | None, flags: Flags) -> Result:
    if flags.data is None:
        raise InputError("which data? Say: polyvae theory estimate --data FILE.npz")
    mixtures = None
    if flags.subsets is not None:
        custom = mixture_in(Path(flags.subsets))
        mixtures = {name: getattr(subsets, name)(custom.names) for name in PRESETS} | {"custom": custom}
    with CountBar(flags.quiet) as bar:
        estimate = estimates.estimate(flags.data, S=mixtures, bins=flags.bins, seed=flags.seed, on_part=bar.part)
    ends = table_of("method", "Delta from", "to", "features alone from", "to")
    for name, interval in estimate.delta.items():
        alone = estimate.factorised[name]
        ends.add_row(name, *(nats(end.value) for end in (*interval, *alone)))
    hidden = table_of("modality", "taken as", *(f"hidden by {method}: from, to" for method in estimate.hidden))
    for name, described in estimate.described.items():
        pairs = (estimate.hidden[method][name] for method in estimate.hidden)
        hidden.add_row(name, described, *(f"{nats(low.value)}, {nats(high.value)}" for low, high in pairs))
    words = (
        f"{estimate.rows:,} rows; models: {estimate.models}; in nats of the quantised data, outer ends of 95 % "
        "intervals.\n"
        "'features alone': the floor of decoders that treat the features of an unseen modality as independent.\n"
        "'hidden': what the encoder does not know of a modality where it does not see it, averaged over S.\n"
        + reasons(estimate)
        + estimate.advice
    )
    return Result(estimate_json(estimate), [ends, hidden], words)


def _floors(target: str | None, flags: Flags) -> Result:
    floors = add_floors(
        RunStore(flags.store), flags.data_dir, lambda text: None if flags.quiet else print(text, flush=True)
    )
    table = table_of("run", "distortion", "floor", "above it", "Delta")
    for floor in floors:
        numbers = (floor.distortion, floor.floor, floor.distortion - floor.floor, floor.delta)
        table.add_row(floor.run_id, *map(nats, numbers))
    words = "In nats of the Laplace loss (docs/theory.md, line 7); in the records now, for `polyvae report`."
    return Result([floor._asdict() for floor in floors], [table], words)


ACTIONS: dict[str, Callable[[str | None, Flags], Result]] = {
    "discrepancy": _discrepancy,
    "audit": _audit,
    "floors": _floors,
    "estimate": _estimate,
    "tradeoff": _tradeoff,
}
