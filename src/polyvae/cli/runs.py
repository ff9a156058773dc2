"""Commands that make runs, score them and report on them."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Column, Table

from polyvae import keys, subsets
from polyvae.cli.common import (
    STORE,
    Log,
    Quiet,
    RunName,
    RunThreads,
    Store,
    Terminal,
    left_out,
    out_folder,
    say,
    subsets_in,
)
from polyvae.cli.grouped import grouped
from polyvae.cli.progress import Bar
from polyvae.config import RunConfig
from polyvae.fitting import SamplerKind
from polyvae.runs import finished
from polyvae.runs.record import Record
from polyvae.runs.run import run as train_and_score
from polyvae.runs.store import RunStore


@dataclass(frozen=True, kw_only=True)
class Flags(RunConfig):
    """Everything that defines one run."""

    subsets: str | None = None
    """JSON file with your own S, for --method custom."""

    def __post_init__(self) -> None:
        """`config` checks the values, so that these errors look like all others."""

    def config(self) -> RunConfig:
        """The config that the flags describe. Raises InputError that names the flag."""
        content = self.to_dict()
        if self.subsets is not None:
            content["subsets"] = subsets_in(self.subsets, subsets.terms_text)
        return RunConfig.from_dict(content)


def run(
    config: Annotated[Flags, tyro.conf.arg(name="", constructor=grouped(Flags))],
    *,
    print_metrics: bool = False,
    store: Store = STORE,
    log: Log = None,
    quiet: Quiet = False,
) -> None:
    """Train and score one model. Repeating the command resumes an interrupted run, or shows a finished one.

    Settings that you leave out are chosen to suit your own data. If you give all four of --latent-dim, --epochs,
    --batch-size and --learning-rate, nothing is chosen: what you leave out then has the defaults of generated data.

    Args:
        print_metrics: Print every metric, even where a verdict on tables says what matters.
    """
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # only one process of torchrun prints
    with Bar(quiet) as bar:
        result = train_and_score(config.config(), store, on_step=bar.step, say=bar.say, log=log)
    if quiet:
        return
    record = result.record
    said = result.verdict
    if not said or print_metrics:
        _print_record(record, result.folder)
    if said:
        say(said)
        say("\n".join(f"next: {command}" for command in _next(record, store)))
    if said and not print_metrics:
        for name, text in record.doubts.items():
            say(f"{keys.in_words(name)}: {text}")
        say(f"{record.run_id}: {record.status}, in {result.folder} ({len(record.metrics)} metrics: --print-metrics)")


def _next(record: Record, store: Path) -> list[str]:
    """What to do with a run on tables."""
    place = [] if store == STORE else ["--store", str(store)]
    data = record.config.data
    imputing = [] if data is None else [["impute", record.run_id, "--data", data]]
    return [shlex.join(["polyvae", *words, *place]) for words in (*imputing, ["report"])]


def report(*, store: Store = STORE, out: Path = Path("report"), quiet: Quiet = False) -> None:
    """Write a report on all runs of a store: report/index.html, a self-contained page, and its figures.

    Args:
        out: Folder of the report.
    """
    from polyvae.report import write_report  # here: it starts slowly, with figures and templates

    page = write_report(RunStore(store), out_folder(out), left_out)
    if not quiet:
        say(page)


def evaluate(
    run: RunName,
    *,
    metrics: str = "all",
    prior: SamplerKind | None = None,
    importance_samples: int | None = None,
    threads: RunThreads = None,
    device: str | None = None,
    store: Store = STORE,
    quiet: Quiet = False,
) -> None:
    """Compute more metrics of a finished run and add them to its record; `polyvae metrics` lists them.

    Args:
        metrics: Comma-separated names. all: all that the data and the installed extras allow; default: as in `run`.
        prior: Use a prior from fit-prior, not the model's own; what depends on it is kept as prior/<kind>/...
        importance_samples: Importance samples per test row, for log-likelihoods. Default: as in the run's config.
        device: cpu, cuda or auto. Default: as in the run's config.
    """
    given = {"importance_samples": importance_samples, "threads": threads, "device": device}
    changes = {name: value for name, value in given.items() if value is not None}
    with Bar(quiet) as bar:
        record = finished.evaluate(run, metrics, RunStore(store), prior=prior, say=bar.say, **changes)
    if not quiet:
        _print_record(record, RunStore(store).existing(run))


def _print_record(record: Record, folder: Path) -> None:
    rows = [(key, f"{value:,.4f}") for key, value in record.metrics.items()]
    for name, reason in record.notes.items():
        rows.append((name, reason if name in record.doubts else f"not defined: {reason}"))
    terminal = Terminal()
    if terminal.is_terminal:
        table = Table(Column(no_wrap=True), Column(overflow="fold"), box=None, show_header=False)
        for row in rows:
            table.add_row(*row)
        terminal.print(table)
    else:  # in a log, each number stays on the line of its key
        say("\n".join(" ".join(row) for row in rows))
    say(f"{record.run_id}: {record.status}, in {folder}")
