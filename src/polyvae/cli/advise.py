"""The command that recommends a method for a data set."""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table

from polyvae import datasets, files
from polyvae.advice.advise import Advice, Choice
from polyvae.advice.advise import advise as advise_on
from polyvae.advice.facts import Facts, measure
from polyvae.advice.rules import Need, fills_content, of_the_joint_law
from polyvae.audits.entropy_bounds import Interval
from polyvae.cli.common import Quiet, Terminal, Threads, out_file, say, seeded, show, table_of, use_threads
from polyvae.cli.grouped import grouped
from polyvae.cli.progress import Bar
from polyvae.config import OWN, DataOptions, flag, listed
from polyvae.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Flags(DataOptions):
    """The data, given as to `polyvae run`; --data alone means --dataset arrays."""

    dataset: str | None = None
    """Data set; `polyvae data list` lists all. Default: arrays, with --data."""
    only: str | None = None
    """Keep only these modalities, comma-separated (m0,m2)."""
    data_seed: int = 0
    """Seed of the generated data set, and of the split of your own data."""

    @property
    def name(self) -> str:
        if self.dataset is None and self.data is None:
            raise InputError("which data? Use: polyvae advise --data FILE, or --dataset NAME")
        return self.dataset or OWN

    @property
    def words(self) -> list[str]:
        """The given flags, as `polyvae run` takes them."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        if self.data is None:  # which else implies the data set
            given = {"dataset": self.name} | given
        return [word for name, value in given.items() for word in (flag(name), str(value))]


def advise(
    *,
    data: Annotated[Flags, tyro.conf.arg(name="", constructor=grouped(Flags))],
    need: Need = "imputation",
    out: Path | None = None,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Recommend methods for a data set, from what can be measured before training, with reasons, settings and commands.

    Each reason names its source: measured on these data, measured in docs/, or published. A method gets 2 points if it
    was among the best for this need in a measurement or publication. It gets 1 point if it was good there, in a small
    run, or in theory. Negative points speak against a method. docs/choosing.md has the rules and what is not known.

    Args:
        need: imputation: missing values with intervals; coherence: a modality generated from others that matches what
            they share; joint-samples: samples of all modalities from the prior; likelihoods; speed: fast training.
        out: JSON file for the facts and the advice.
    """
    use_threads(threads)
    if out is not None:
        out_file(out)
    seed = seeded(data.data_seed)
    loaded = datasets.load(data.name, split="train", seed=seed, **datasets.options_of(data.name, data))
    if data.only is not None:
        loaded = loaded.select(listed(data.only))
    with Bar(quiet) as bar:
        facts = measure(loaded, seed=seed, on_part=bar.part)
    advice = advise_on(facts, need, data.words)
    if out is not None:
        files.write_json(out, {"facts": _facts_json(facts), **advice.to_json()})
    if not quiet:
        judged = ", judged by coherence (there are no tables of numbers)" if fills_content(facts, need) else ""
        say(f"Need: {need}{judged}\n")
        _say_folded(_answer(facts, advice))
        say("\n".join(f"  {command}" for command in advice.first))
        say("\nWhat was measured:\n")
        show(_views(facts))
        doubts = (f"Check {name}: {text}" for name, text in loaded.info.get("warnings", {}).items())
        _say_folded((*_said(facts, need), *doubts, ""))
        show(_ranking(advice.choices))
        _say_folded(_lines(advice))
        say("\n".join(f"  {command}" for command in advice.commands if command not in advice.first))


def _answer(facts: Facts, advice: Advice) -> Iterator[str]:
    """What ridge regression does, the best method with its settings, and why: first of all."""
    shares = [f"{100 * max(0.0, share):.0f} % of the variance of {name}" for name, share in facts.ridge.items()]
    if shares:
        yield (
            f"Ridge regression explains {', '.join(shares)} from the other modalities ({facts.held_out} held-out rows)."
        )
        yield "A model is worth training only if it does better; `polyvae run` says whether it does."
    for best in advice.choices[:1]:
        yield f"Method: {best.method}"
        yield from (f"  because: {reason}" for reason in best.reasons)
        yield from (f"  with {words}" for words in best.settings)
    yield "RUN is the id that `polyvae run` prints:"


def _say_folded(lines: Iterable[str]) -> None:
    """Prints prose as `show` prints a table: folded to the width of a terminal; in a log, line by line."""
    terminal = Terminal()
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        folded = textwrap.fill(
            line, terminal.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        say(folded if terminal.is_terminal else line)


def _views(facts: Facts) -> Table:
    measured = ("nats alone", "predictable from the others: from", "to")
    table = table_of("modality", "is", "missing", *(measured if facts.bounds is not None else ()))
    for view in facts.views:
        numbers: tuple[str, ...] = ()
        if facts.bounds is not None:
            alone, known = facts.bounds.alone[view.name], facts.bounds.known[view.name]
            upper = "unknown" if facts.reduced else _nats(known.upper.value)
            numbers = (_nats(alone.upper.value), _nats(known.lower.value), upper)
        gaps = f", single values {100 * view.gaps:.1f} %" if view.gaps else ""
        what = f"{view.kind} {' x '.join(map(str, view.shape))}"
        table.add_row(view.name, what, f"{100 * view.missing:.1f} %{gaps}", *numbers)
    return table


def _said(facts: Facts, need: Need) -> Iterator[str]:
    """Sentences about rows, about what modalities share, and about Delta if the need depends on it."""
    rows = f"{facts.rows:,} training rows; {facts.complete:,} of them are complete."
    if (bounds := facts.bounds) is None:
        yield f"{rows} What modalities share was not measured: {facts.unmeasured}."
        return
    yield rows
    yield (
        f"Predictable from the others: nats summed over features, from {bounds.rows:,} complete rows in 16 bins; ends "
        "of 95 % intervals."
    )
    is_about_delta = of_the_joint_law(facts, need)
    if facts.reduced:
        untold = ", but they say nothing about Delta" if is_about_delta else ""
        yield f"Measured on {', '.join(facts.reduced)}: what these share, the data share{untold}."
    certain = {
        "something": "It is certain that modalities share something.",
        "nothing": "Modalities share nothing that matters.",
    }
    yield certain.get(facts.sharing, "It is not certain whether modalities share anything.")
    for method, (lower, upper) in facts.delta.items():
        verdict = "costly" if facts.is_costly(method) else "cheap" if facts.is_cheap(method) else "undecided"
        if is_about_delta and upper.value > 0:
            yield (
                f"Delta of {method}, which its {need} lose however it is trained: {_nats(lower.value)} to "
                f"{_nats(upper.value)} of at most {_nats(bounds.joint.value)} nats ({verdict})."
            )


def _ranking(choices: tuple[Choice, ...]) -> Table:
    table = table_of("", "method", "points", "cost", "why")
    for place, choice in enumerate(choices, 1):
        table.add_row(
            f"{place}.", choice.method, f"{choice.points:+d}", f"{choice.cost:.2f}", "; ".join(choice.reasons)
        )
    return table


def _lines(advice: Advice) -> Iterator[str]:
    yield "cost: modalities encoded and decoded per row and step, relative to the cheapest method above."
    if advice.against:
        yield from ("", "Against:")
        for said in dict.fromkeys((choice.points, choice.reasons) for choice in advice.against):
            methods = (choice.method for choice in advice.against if (choice.points, choice.reasons) == said)
            yield f"  {', '.join(methods)} ({said[0]:+d}): {'; '.join(said[1])}"
    settings = dict.fromkeys(
        (words, tuple(c.method for c in advice.choices if words in c.settings))
        for choice in advice.choices
        for words in choice.settings
    )
    if settings:
        yield from ("", "Settings:")
        for words, methods in settings:
            whose = "" if len(methods) == len(advice.choices) else f"{', '.join(methods)}: "
            yield f"  {whose}{words}"
    if advice.notes:
        yield from ("", "Notes:")
        yield from (f"  {note}" for note in advice.notes)
    yield ""
    yield "To compare, run the other methods and the baselines, too; `polyvae report` shows all runs."


def _facts_json(facts: Facts) -> dict[str, Any]:
    def ends(interval: Interval, *, is_lower_only: bool = False) -> dict[str, float | None]:
        return {"lower": interval.lower.value, "upper": None if is_lower_only else interval.upper.value}

    views = [vars(view) | {"shape": list(view.shape), "sharing": facts.sharing_of(view.name)} for view in facts.views]
    told = {"rows": facts.rows, "complete": facts.complete, "lacking": facts.lacking, "sharing": facts.sharing}
    content: dict[str, Any] = told | {
        "modalities": views,
        "unmeasured": facts.unmeasured,
        "reduced": list(facts.reduced),
        "ridge": {"explained": dict(facts.ridge), "rows": facts.held_out},
    }
    if (bounds := facts.bounds) is not None:
        is_part = bool(facts.reduced)
        content["known"] = {name: ends(interval, is_lower_only=is_part) for name, interval in bounds.known.items()}
        content["delta"] = {method: ends(interval) for method, interval in facts.delta.items()}
    return content


def _nats(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.2g}"
