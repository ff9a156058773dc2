"""Reads a store: its records as typed runs, in groups and series."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyvae import files
from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.report.runs import DATA_FIELDS, DATA_OPTIONS, Compared, Group, Run, Series, settings, varying
from polyvae.report.style import Look, looks
from polyvae.runs.store import RunStore

DATASETS = {
    "polymnist": "PolyMNIST",
    "translated_polymnist": "Translated PolyMNIST",
    "repeated_polymnist": "Repeated PolyMNIST",
    "cub": "CUB",
    "cub_captions": "CUB captions",
    "toy_captions": "Toy captions",
    "digits": "Digits",
    "arrays": "your data",
}
ALONE = ("unimodal", "unimodal_dreg")  # their one modality is compared with that of models of all


def read_runs(store: RunStore) -> tuple[tuple[Group, ...], tuple[Run, ...]]:
    """The finished runs by data set, and the failed ones.

    Raises InputError when no run is finished, or naming the file when a record is damaged.
    """
    runs = [read_run(store, path.parent.name) for path in sorted(store.root.glob("*/record.json"))]
    done = [run for run in runs if run.error is None]
    failed = tuple(run for run in runs if run.error is not None)
    if not done:
        found = f"all {len(failed)} failed, the first with: {failed[0].error}" if failed else "there is none"
        raise InputError(f"no finished run in {store.root} ({found}); start one with `polyvae run`, or choose --store")
    return _groups(done), failed


def read_run(store: RunStore, run_id: str) -> Run:
    """One finished or failed run. Raises InputError naming the file when it is damaged."""
    path = store.folder(run_id) / "record.json"
    record = store.record(run_id) or {}
    try:
        is_done = record["status"] == "done"
        return Run(
            run_id=record["run_id"],
            folder=path.parent,
            config=_config(record["config"], path),
            error=None if is_done else str(record["error"]),
            metrics={key: float(value) for key, value in record["metrics"].items()} if is_done else {},
            notes=record.get("notes", {}),
            seconds=record.get("seconds", {}),
            environment=record.get("environment", {}),
            resolved=record["resolved"] if is_done else {},
            history=tuple(store.history(run_id)) if is_done else (),
            samples=store.samples(run_id) if is_done else {},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise files.damaged(path, repr(error)) from error


def _config(content: Mapping[str, Any], path: Path) -> RunConfig:
    try:
        return RunConfig.from_dict(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _groups(runs: list[Run]) -> tuple[Group, ...]:
    found = looks(run.config.method for run in runs)
    by_data: dict[str, list[Run]] = {}
    for run in runs:
        only = None if run.config.method in ALONE else run.config.only
        key = json.dumps([only, run.data_identity, *(getattr(run.config, name) for name in DATA_FIELDS)])
        by_data.setdefault(key, []).append(run)
    titles = Counter(_title(members) for members in by_data.values())
    groups = []
    for members in by_data.values():
        title, suffix = _title(members), ""
        if titles[title] > 1:
            suffix = f" {len(groups) + 1}"
            rows = members[0].resolved
            title += f", {rows.get('train_rows', 0):,} training and {rows.get('test_rows', 0):,} test rows"
            title += f", content {members[0].data_identity[:6]}" if members[0].data_identity else ""
        name = re.sub(r"[^a-z0-9]+", "-", (title + suffix).lower()).strip("-")
        groups.append(_group(members, title, name, found))
    return tuple(groups)


def _group(runs: list[Run], title: str, name: str, found: Mapping[str, Look]) -> Group:
    compared, order = _compared(runs), list(found)
    labelled: dict[tuple[str, str], list[Run]] = {}
    methods = {run.config.method for run in runs}
    names = {method: varying(run for run in runs if run.config.method == method) for method in methods}
    for run in runs:
        labelled.setdefault((run.config.method, settings(run, names[run.config.method])), []).append(run)
    series = tuple(
        Series(
            label=f"{found[method].name}, {extra}" if extra else found[method].name,
            look=found[method],
            method=method,
            runs=tuple(sorted(members, key=lambda run: (run.config.beta, run.config.seed))),
            quality=compared.key() if compared else None,
        )
        for (method, extra), members in sorted(labelled.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    )
    return Group(title, name, tuple(run for s in series for run in s.runs), series, compared)


def _compared(runs: list[Run]) -> Compared | None:
    keys = [key.split("/") for run in runs for key in run.metrics if key.startswith("frechet/")]
    counts = Counter(Compared(parts[1], parts[3]) for parts in keys if len(parts) == 4 and parts[2] == "unconditional")
    return max(counts, key=lambda c: (counts[c], c.extractor == "digits")) if counts else None


def _title(runs: list[Run]) -> str:
    config, count = runs[0].config, max(len(run.modalities) for run in runs)
    parts = [DATASETS.get(config.dataset, config.dataset), f"{count} {'modality' if count == 1 else 'modalities'}"]
    parts += [Path(config.data).name] if config.data else []
    options = [name for name in DATA_OPTIONS if name not in ("modalities", "data") and getattr(config, name)]
    return ", ".join(parts + [f"{name.replace('_', ' ')} {getattr(config, name)}" for name in options])
