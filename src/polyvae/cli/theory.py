"""The command about the paper's theorem: Delta of a law, the audit of a run, the cheapest S, bounds from data."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from polyvae import datasets, files, subsets
from polyvae import theory as exact
from polyvae.audits import audit as audits
from polyvae.audits import estimate as estimates
from polyvae.audits import floors, laws
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


def theory(
    action: Annotated[Literal["discrepancy", "audit", "floors", "estimate", "tradeoff"], tyro.conf.Positional],
    target: Annotated[str | None, tyro.conf.Positional] = None,
    *,
    options: DataOptions,
    symbols: int | None = None,
    seed: int = 0,
    bins: int = 16,
    subsets: str | None = None,
    beta: float = 1.0,
    points: int = 9,
    least_share: float = 0.0,
    rows: int = 1000,
    store: Path = Path("runs"),
    out: Path | None = None,
    quiet: bool = False,
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
        symbols: Values a modality of a certified generator. Default 2.
        seed: Seed of a generator, and of the audit's fresh rows.
        bins: Values of a quantised feature, by quantiles.
        subsets: JSON file with your own S, shown beside the methods.
        beta: Weight of the rate in the beta gap.
        points: Steps of the frontier.
        least_share: Weight that each single modality keeps at least, for tradeoff.
        rows: Fresh rows an audit measures on.
        store: Folder of all runs.
        out: JSON file for the result. For tradeoff FILE.json also gets FILE.1.json, FILE.2.json, ... beside it, an S
            each, as `polyvae run --method custom --subsets` takes it.
        quiet: Print nothing but errors.
    """
    if action == "estimate":
        if options.data is None:
            raise InputError("which data? Say: polyvae theory estimate --data FILE.npz")
        content, shown, words = _estimate(Path(options.data), subsets, bins, seed, quiet)
    elif action == "floors":
        content, shown, words = _floors(RunStore(store), options.data_dir, quiet)
    elif target is None:
        raise InputError(f"{action} of what? Say: polyvae theory {action} {'RUN' if action == 'audit' else 'LAW'}")
    elif action == "audit":
        found = audits.audit(target, store=RunStore(store), rows=rows, seed=seed)
        content = audit_json(found)
        shown = [lines_table(found), subsets_table(found)]
        words = audit_words(found)
    else:
        law = _law(target, options, symbols, seed)
        if action == "discrepancy":
            content, shown, words = _discrepancy(law, subsets, beta)
        else:
            content, shown, words = _tradeoff(law, points, least_share)
    if out is not None:
        words += "\n" + _write(out, content, has_sets=action == "tradeoff")
    if not quiet:
        for table in shown:
            Console().print(table)
        print(words)


def _write(out: Path, content: Any, *, has_sets: bool) -> str:
    """Writes the result, and each S of a frontier to a file of its own; returns what it wrote."""
    files.write_json(out, content)
    sets = [out.with_suffix(f".{number}.json") for number in range(1, len(content) + 1)] if has_sets else []
    for path, point in zip(sets, content, strict=False):
        files.write_json(path, point["subsets"])
    return f"Written: {out}" + (
        f"; its sets S, for --method custom --subsets: {sets[0]} to {sets[-1].name}" if sets else ""
    )


def _law(target: str, options: DataOptions, symbols: int | None, seed: int) -> Any:
    if target.endswith(".npy"):
        return _table_in(Path(target))
    given = datasets.options_of(target, options) if target in datasets.DATASETS else options.given
    return laws.law_named(target, symbols=symbols, seed=seed, **given)


def _table_in(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no readable table ({error}); save it with numpy.save") from error


def _discrepancy(law: Any, own: str | None, beta: float) -> tuple[Any, list[Table], str]:
    found = exact.known(law)
    mixtures: dict[str, SubsetMixture] = {name: getattr(subsets, name)(found.names) for name in PRESETS}
    if own is not None:
        mixtures["custom"] = mixture_in(Path(own))
    table = table_of("method", "Delta", "beta gap" if found.is_discrete else "", *(f"by {n}" for n in found.names))
    content = {}
    for name, S in mixtures.items():
        delta, shares = exact.discrepancy(found, S), exact.by_modality(found, S)
        gap = exact.beta_gap(found, S, beta) if found.is_discrete else None
        content[name] = {"delta": delta, "beta_gap": gap, "by_modality": shares}
        table.add_row(name, nats(delta), "" if gap is None else nats(gap), *(nats(shares[n]) for n in S.names))
    sizes = ", ".join(f"H({name}) = {nats(found.of((name,)))}" for name in found.names)
    words = (
        f"H(X) = {nats(found.joint)}, {sizes}; total correlation {nats(found.total_correlation())}. All in nats.\n"
        "Delta: what no decoder can know of the modalities that the encoder does not see, averaged over S."
    )
    if not found.is_discrete:
        words += "\nThese are differential entropies: Delta depends on units, and is no floor (docs/theory.md)."
    if isinstance(law, exact.ImageLaw) and not law.is_exact:
        words += "\nCrops or masks repeat in this generator, so Delta is a lower bound."
    return {"joint": found.joint, "beta": beta, "methods": content}, [table], words


def _tradeoff(law: Any, points: int, least_share: float) -> tuple[Any, list[Table], str]:
    table = table_of("S", "observed", "Delta", "terms")
    mixes = [("frontier", mix) for mix in exact.tradeoff(law, points, least_share=least_share)]
    for name, mix in sorted([*mixes, *exact.preset_mixes(law).items()], key=lambda pair: pair[1].observed):
        terms = sorted(mix.S.terms, key=lambda term: -term.weight)
        text = ", ".join(f"{'+'.join(t.given)}: {t.weight:.2f}" for t in terms[:4]) + (", ..." if terms[4:] else "")
        table.add_row(name, f"{mix.observed:.2f}", nats(mix.delta), text)
    content = [{"observed": m.observed, "delta": m.delta, "subsets": subsets.to_json(m.S)} for _, m in mixes]
    return content, [table], "observed: mean number of modalities that the encoder sees. Delta in nats."


def _estimate(data: Path, own: str | None, bins: int, seed: int, quiet: bool) -> tuple[Any, list[Table], str]:
    mixtures = None
    if own is not None:
        custom = mixture_in(Path(own))
        mixtures = {name: getattr(subsets, name)(custom.names) for name in PRESETS} | {"custom": custom}
    with CountBar(quiet) as bar:
        found = estimates.estimate(data, S=mixtures, bins=bins, seed=seed, on_part=bar.part)
    ends = table_of("method", "Delta from", "to", "features alone from", "to")
    for name, interval in found.delta.items():
        alone = found.factorised[name]
        ends.add_row(name, *(nats(end.value) for end in (*interval, *alone)))
    hidden = table_of("modality", "taken as", *(f"hidden by {method}: from, to" for method in found.hidden))
    for name, described in found.described.items():
        pairs = (found.hidden[method][name] for method in found.hidden)
        hidden.add_row(name, described, *(f"{nats(low.value)}, {nats(high.value)}" for low, high in pairs))
    words = (
        f"{found.rows:,} rows; models: {found.models}; in nats of the quantised data, outer ends of 95 % intervals.\n"
        "'features alone': the floor of decoders that treat the features of an unseen modality as independent.\n"
        "'hidden': what the encoder does not know of a modality where it does not see it, averaged over S.\n"
        + reasons(found)
        + found.advice
    )
    return estimate_json(found), [ends, hidden], words


def _floors(store: RunStore, data_dir: str | None, quiet: bool) -> tuple[Any, list[Table], str]:
    found = floors.add_floors(store, data_dir, lambda text: None if quiet else print(text, flush=True))
    table = table_of("run", "distortion", "floor", "above it", "Delta")
    for one in found:
        numbers = (one.distortion, one.floor, one.distortion - one.floor, one.delta)
        table.add_row(one.run_id, *map(nats, numbers))
    words = "In nats of the Laplace loss (docs/theory.md, line 7); in the records now, for `polyvae report`."
    return [one._asdict() for one in found], [table], words
