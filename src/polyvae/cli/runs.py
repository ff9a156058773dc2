"""Commands that make runs and read them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.table import Column, Table

from polyvae import subsets
from polyvae.cli.common import (
    STORE,
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
from polyvae.cli.progress import Bar
from polyvae.config import RunConfig
from polyvae.runs import finished
from polyvae.runs.record import Record
from polyvae.runs.run import run as train_and_score
from polyvae.runs.store import RunStore
from polyvae.runs.verdict import verdict


@dataclass(frozen=True, kw_only=True)
class Flags(RunConfig):
    """Everything that defines one run."""

    subsets: str | None = None
    """JSON file with your own S, for --method custom."""

    def __post_init__(self) -> None:
        """Checked by `config`, so that its errors look like all others."""

    def config(self) -> RunConfig:
        """The config that the flags stand for. Raises InputError, naming the flag."""
        content = self.to_dict()
        if self.subsets is not None:
            content["subsets"] = subsets_in(self.subsets, subsets.terms_text)
        return RunConfig.from_dict(content)


def run(config: Flags, *, store: Store = STORE, quiet: Quiet = False) -> None:
    """Train and score one model; the same command again goes on where it stopped, or shows the finished run."""
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # one process of torchrun speaks for all
    with Bar(quiet) as bar:
        result = train_and_score(config.config(), store, on_step=bar.step, say=bar.say)
    if not quiet:
        _print_record(result.record, result.folder)
        if said := verdict({result.record.config.method: result.metrics}, result.record.resolved.modalities, seeds=1):
            say(said)


def report(*, store: Store = STORE, out: Path = Path("report"), quiet: Quiet = False) -> None:
    """Write report/index.html, one self-contained page, and its figures, from the records of a store.

    Args:
        out: Folder to write to.
    """
    from polyvae.report import write_report  # here: it starts slowly, with figures and templates

    page = write_report(RunStore(store), out_folder(out), left_out)
    if not quiet:
        say(page)


def evaluate(
    run: RunName,
    *,
    metrics: str = "all",
    prior: Literal["gmm", "flow"] | None = None,
    importance_samples: int | None = None,
    threads: RunThreads = None,
    device: str | None = None,
    store: Store = STORE,
    quiet: Quiet = False,
) -> None:
    """Score a finished run by more metrics, and add them to its record; `polyvae metrics` lists them.

    Args:
        metrics: Comma-separated names; all: whatever the data and the installed extras allow; default: as in `run`.
        prior: A prior fitted by fit-prior in place of the model's own; what depends on it is kept as prior/<kind>/...
        importance_samples: Importance samples per test row, for log-likelihoods. Default: as the run's config says.
        device: cpu, cuda or auto. Default: as the run's config says.
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
    else:  # in a log each number stands whole on the line of its key
        say("\n".join(" ".join(row) for row in rows))
    say(f"{record.run_id}: {record.status}, in {folder}")
