"""All records of a store as one table (polars): a row per run, a column per setting and per metric."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import polars as pl

from polyvae import escapes, files, keys
from polyvae.config import NOT_HASHED, RunConfig
from polyvae.errors import InputError
from polyvae.runs.record import Record

TYPES = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64, str: pl.String}
WRITERS = {".parquet": "write_parquet", ".csv": "write_csv"}
FIRST = ("run_id", "status", "error", "dataset", "method", "beta", "seed")
TABLES = 3  # that are filled in, in an overview
SHOWN = ("run_id", "status", "seconds", keys.LOSS, keys.LEAVE_ONE_OUT, keys.Seen("digits", "m0").key())


def table(records: Iterable[Record]) -> pl.DataFrame:
    """Columns: run_id, status, error, every field of RunConfig, seconds (all in all), then the metrics by key.

    Metrics that a run lacks are null; one with the name of another column is metrics/<key>. Settings and metrics have
    the same type in every store, empty ones included.
    """
    rows = [_row(record) for record in records]
    schema: dict[str, Any] = {"run_id": pl.String, "status": pl.String, "error": pl.String}
    schema |= _settings() | {"seconds": pl.Float64}
    schema |= dict.fromkeys(sorted({key for row in rows for key in row if key not in schema}), pl.Float64)
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.select(*FIRST, pl.exclude(FIRST))


def where(frame: pl.DataFrame, condition: str) -> pl.DataFrame:
    """The rows that meet an SQL condition, such as `method = 'mopoe' AND beta <= 1`.

    Keys of metrics are quoted: `"coherence/leave_one_out" > .5`. Raises InputError for other text.
    """
    try:
        return frame.filter(pl.sql_expr(condition))
    except (pl.exceptions.PolarsError, TypeError) as error:
        reason = str(error).splitlines()[0].split("; valid columns")[0]
        raise InputError(
            f"--where {condition!r}: {reason}; write SQL such as method = 'mopoe' AND beta <= 1, with text in single "
            'quotes and metrics in double ones: "coherence/leave_one_out" > .5'
        ) from error


def configs_where(configs: Sequence[RunConfig], condition: str) -> list[RunConfig]:
    """The configs whose settings meet an SQL condition. Raises InputError for other text, or if none meets it."""
    frame = pl.DataFrame([asdict(config) for config in configs], schema=_settings()).with_row_index("position")
    positions = where(frame, condition)["position"]
    if not len(positions):
        raise InputError(f"--where {condition!r}: none of the {len(configs)} runs meets it; --dry-run lists them")
    return [configs[position] for position in positions]


def columns(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """These columns; a name that ends in * stands for all that start so. Raises InputError for an unknown one."""
    chosen: list[str] = []
    for name in names:
        matching = [c for c in frame.columns if c == name or (name.endswith("*") and c.startswith(name[:-1]))]
        if not matching:
            raise InputError(f"--columns {name!r}: no such column; settings and metrics are columns, as in record.json")
        chosen += matching
    return frame.select(list(dict.fromkeys(chosen)))


def overview(frame: pl.DataFrame) -> pl.DataFrame:
    """What tells runs apart: the id, how it ended, settings that differ, the first numbers of each kind.

    For tables that are filled in, error and coverage of the first few.
    """
    differing = (field.name for field in fields(RunConfig) if frame[field.name].n_unique() > 1)
    settings = [name for name in differing if name not in NOT_HASHED]
    tables = [filling.key(score) for filling in keys.fillings(frame.columns)[:TABLES] for score in ("rmse", "coverage")]
    names = dict.fromkeys((*SHOWN[:2], *settings, *SHOWN[2:], *tables))
    return frame.select([name for name in names if name in frame.columns])


def write(frame: pl.DataFrame, path: Path) -> None:
    """The table as .parquet or .csv, by the ending of `path`. Raises InputError for another ending."""
    if path.suffix not in WRITERS:
        raise InputError(f"--out {path}: name a {' or '.join(WRITERS)} file")
    if path.suffix == ".csv":
        names = {name: escapes.cell(name) for name in frame.columns}
        frame = frame.with_columns(pl.col(pl.String).map_elements(escapes.cell, pl.String)).rename(names)
    with files.atomic(path) as temporary:
        getattr(frame, WRITERS[path.suffix])(temporary)


def _row(record: Record) -> dict[str, Any]:
    outcome = {"run_id": record.run_id, "status": record.status, "error": record.error}
    known = outcome | record.config.to_dict() | {"seconds": record.total_seconds}
    return known | {f"metrics/{key}" if key in known else key: value for key, value in record.metrics.items()}


def _settings() -> dict[str, Any]:
    """The column type of every setting."""
    hints = get_type_hints(RunConfig)
    return {field.name: _type(hints[field.name]) for field in fields(RunConfig)}


def _type(hint: Any) -> Any:
    """The column type of a field: of `int | None` that of int, of a choice text."""
    first = next(iter(get_args(hint)), hint)
    return TYPES.get(first, pl.String)
