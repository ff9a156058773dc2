"""Commands that read and maintain a store."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich import box
from rich.table import Table

from polyvae import files
from polyvae.cli.common import (
    STORE,
    UNFOLDED,
    Quiet,
    Store,
    Stores,
    Terminal,
    Where,
    left_out,
    out_file,
    out_folder,
    say,
    show,
    table_of,
)
from polyvae.config import listed
from polyvae.errors import InputError, RunError
from polyvae.runs import packing, trackers, upkeep
from polyvae.runs.record import Record
from polyvae.runs.store import RunStore

if TYPE_CHECKING:
    from polyvae.paper.claims import Verdict


def records(
    *,
    store: Store = STORE,
    where: Where = None,
    columns: str | None = None,
    out: Path | None = None,
    quiet: Quiet = False,
) -> None:
    """Show the runs of a store as a table, or write the table to a .parquet or .csv file.

    A folder that holds only records will do as a store.

    Args:
        columns: Comma-separated settings and metric keys; a name may end in *. Default: what differs between runs; with
            --out, all.
        out: File to write, such as results.parquet.
    """
    import polars as pl  # here: it starts slowly, and most commands on a store need no table

    from polyvae.runs import table

    if out is not None:
        out_file(out, *table.WRITERS)
    ended = _ended(store)
    frame = table.table(ended)
    if where is not None and not len(frame := table.where(frame, where)):
        raise InputError(f"--where {where!r}: matches none of the {len(ended)} runs")
    whole = frame
    if columns is not None:
        frame = table.columns(whole, listed(columns))
    if out is not None:
        table.write(frame, out)
    if quiet:
        return
    if out is not None:
        say(f"{len(frame)} runs, {len(frame.columns)} columns: {out}")
        return
    shown = table.overview(frame) if columns is None else table.columns(whole, ["run_id", *frame.columns])
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
        tbl_formatting="NOTHING",
        tbl_width_chars=UNFOLDED,  # keeps a run id on one line
        fmt_str_lengths=60,
    ):
        say(shown)


def export(
    *,
    to: Literal["tensorboard", "mlflow", "trackio", "wandb"],
    out: Path,
    store: Store = STORE,
    where: Where = None,
    quiet: Quiet = False,
) -> None:
    """Export settings, metrics and training curves to an experiment tracker. Nothing leaves this machine.

    Args:
        to: Tracker; the extra [trackers] installs all four.
        out: New folder, which you then open in the tracker.
    """
    place = RunStore(store)
    out_folder(out)
    chosen = place.records(left_out)
    if where is not None:
        from polyvae.runs import table  # here: as above

        run_ids = set(table.where(table.table(chosen), where)["run_id"])
        chosen = [record for record in chosen if record.run_id in run_ids]
    number = trackers.export(place, chosen, to, out, left_out)
    if not quiet:
        say(f"{number} runs for {to}: {out}")


def store(
    action: Annotated[Literal["check", "gc", "copy", "pack", "unpack"], tyro.conf.Positional],
    file: Annotated[Path | None, tyro.conf.Positional] = None,
    *,
    store: Store = STORE,
    out: Path | None = None,
    weights: bool = False,
    dry_run: bool = False,
    quiet: Quiet = False,
) -> None:
    """Check a store, clean it, copy its records, or move it as one file.

    check: lists damaged and unfinished runs. gc: removes leftovers. copy: copies only the records. pack FILE.tar: packs
    records, pictures and checkpoints, so that another machine can continue. unpack FILE.tar: adds packed runs to the
    store.

    Args:
        action: check, gc, copy, pack or unpack.
        file: The .tar file to pack into, or to unpack.
        out: Folder to copy the records to. It is a store itself, small enough to commit.
        weights: Also pack the weights of finished runs.
        dry_run: Show what gc would remove, without removing it.
    """
    place = RunStore(store)
    _check_words(action, file, {"out": out is not None, "weights": weights, "dry-run": dry_run})
    if action == "check":
        problems = upkeep.check(place)
        if problems:
            lines = "\n".join(f"  {p.run_id}: {p.problem}. Fix: {p.fix}" for p in problems)
            raise RunError(f"{len(problems)} problem{'s' * (len(problems) > 1)} in {store}:\n{lines}")
        said = f"{len(upkeep.run_folders(place))} runs in {store}, none damaged"
    elif action == "gc" and dry_run:
        said = "\n".join([str(path) for path in upkeep.waste(place)]) or "nothing to remove"
    elif action == "gc":
        count, size = upkeep.collect(place)
        said = f"{count} files and folders removed, {size / 1e6:,.1f} MB"
    elif action == "pack" and file is not None:
        count = packing.pack(place, out_file(file, name="FILE"), weights=weights, on_damage=left_out)
        said = f"{count} runs packed: {file}"
    elif action == "unpack" and file is not None:
        added, left = packing.unpack(file, place)
        said = f"{added} runs added to {store}" + (f", {left} were already there" if left else "")
    elif out is None:
        raise InputError("where to? Use: polyvae store copy --out DIR")
    else:
        said = f"{len(upkeep.copy_records(place, RunStore(out_folder(out)), left_out))} records new or changed in {out}"
    if not quiet:
        say(said)


def _check_words(action: str, file: Path | None, flags: Mapping[str, bool]) -> None:
    """Raises InputError for a missing or needless file, and for a flag that the action would ignore."""
    if (file is None) == (action in ("pack", "unpack")):
        raise InputError("only pack and unpack take a file, and need one: polyvae store pack FILE.tar")
    of_action = {"out": "copy", "weights": "pack", "dry-run": "gc"}
    for flag, is_set in flags.items():
        if is_set and action != of_action[flag]:
            raise InputError(f"--{flag} belongs to store {of_action[flag]}; leave it out of store {action}")


def compare(
    runs: Annotated[list[str], tyro.conf.Positional],
    *,
    store: Store = STORE,
    metrics: str = "bound,coherence,frechet,linear_probe,log_likelihood",
    out: Path = Path("compare.png"),
    quiet: Quiet = False,
) -> None:
    """Show settings in which runs differ, and their metrics side by side; draw their sample grids in one picture.

    Args:
        runs: At least two run ids, starts of run ids, or run folders.
        metrics: Comma-separated starts of metric keys, or all.
        out: PNG file for the grids that at least two runs have.
    """
    from polyvae.report import side_by_side  # here: it starts slowly, with figures and templates

    out_file(out)
    compared = side_by_side.read(RunStore(store), runs)
    shown = table_of("", *(run.run_id for run in compared))
    for column in shown.columns[1:]:
        column.justify = "right"
    prefixes = [""] if metrics == "all" else listed(metrics)
    for row in (*side_by_side.settings(compared), *side_by_side.metrics(compared, prefixes)):
        shown.add_row(row.name, *(_text(value) for value in row.values))
    if not quiet:
        show(shown)
    drawn = side_by_side.picture(compared, out)  # last, so that a damaged picture cannot hide the numbers
    if quiet:
        return
    say(f"{drawn} kinds of sample grids side by side: {out}" if drawn else "no sample grids to compare")


def claims(*, store: Stores = (STORE,), out: Path | None = None, quiet: Quiet = False) -> None:
    """Test the paper's claims C1 to C18 against the runs of stores: statement, measured numbers, verdict.

    A second table tests the claims on the paper's failure case for a later method, if it has
    runs. A folder that holds only records will do as a store.

    Args:
        out: Markdown file for the tables.
    """
    if out is not None:
        out_file(out)
    from polyvae.paper.claims import AFTER_THE_PAPER, judge, judge_later  # here: SciPy's statistics start slowly

    records = list({record.run_id: record for one in store for record in _ended(one)}.values())
    verdicts = judge(records)
    tables = {"": verdicts} | ({AFTER_THE_PAPER: later} if (later := judge_later(records)) else {})
    if out is not None:
        pages = [f"## {title}\n\n{_markdown(own)}" if title else _markdown(own) for title, own in tables.items()]
        files.write_text(out, "\n\n".join(pages) + "\n")
    if quiet:
        return
    if out is None:
        for title, own in tables.items():
            if title:
                say(f"\n{title}")
            show(_verdicts(own, "\n" if Terminal().is_terminal else "; "))
    counts = Counter(verdict.outcome for verdict in verdicts)
    said = f"{counts['holds']} hold, {counts['does not hold']} do not, {counts['not decided']} are not decided"
    say(f"{len(verdicts)} claims: {said}" if out is None else f"{len(verdicts)} claims ({said}): {out}")


def _ended(store: Path) -> list[Record]:
    if not (ended := RunStore(store).records(left_out)):
        raise InputError(f"no finished run in {store}; start one with `polyvae run`, or choose another --store")
    return ended


def _markdown(verdicts: Iterable["Verdict"]) -> str:
    text = io.StringIO()
    Terminal(file=text, width=UNFOLDED).print(_verdicts(verdicts, "<br>"))
    return text.getvalue().strip()


def _verdicts(verdicts: Iterable["Verdict"], newline: str) -> Table:
    shown = Table("claim", "figure", "the paper says", "measured", "p", "verdict", box=box.MARKDOWN)
    for claim, outcome, numbers, p in verdicts:
        tested = "" if p is None else f"{p:.2g}"
        shown.add_row(claim.name, claim.figure, claim.statement, newline.join(numbers), tested, outcome)
    return shown


def _text(value: object) -> str:
    from polyvae.report.words import short  # here: as above

    if isinstance(value, float):
        return short(value) if value >= 0 else f"-{short(-value)}"
    return "-" if value is None else str(value)
