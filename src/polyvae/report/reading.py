"""Reads a store: its records as runs, in groups and series."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from itertools import chain, count
from pathlib import Path

from polyvae import escapes
from polyvae.config import DATA_OPTIONS
from polyvae.errors import InputError
from polyvae.paper.claims.evidence import compared
from polyvae.paper.names import ALONE, DATASETS
from polyvae.report.runs import DATA_FIELDS, Group, Run, Series, settings, varying
from polyvae.report.style import Look, looks
from polyvae.runs.record import Record
from polyvae.runs.store import Damaged, RunStore, raised, readable

TITLES = {dataset: name.full for dataset, name in DATASETS.items()}
TITLES |= {"cub_captions": "CUB captions", "toy_captions": "Toy captions", "digits": "Digits", "arrays": "your data"}


def read_runs(store: RunStore, on_damage: Damaged = raised) -> tuple[tuple[Group, ...], tuple[Run, ...]]:
    """The finished runs by data set, and the failed ones.

    on_damage: is told of the runs that cannot be read, which are left out; else the first is raised.
    Raises InputError when no finished run can be read.
    """
    damages: list[InputError] = []
    run_ids = [path.parent.name for path in sorted(store.root.glob("*/record.json"))]
    runs = readable(partial(read_run, store), run_ids, damages.append)
    for damage in damages:
        on_damage(damage)
    done = [run for run in runs if run.is_done]
    failed = tuple(run for run in runs if not run.is_done)
    if not done:
        why = f"all {len(failed)} failed, the first with: {failed[0].error}" if failed else "there is none"
        why = str(damages[0]) if damages else why
        raise InputError(f"no finished run in {store.root} ({why}); start one with `polyvae run`, or choose --store")
    return _groups(done), failed


def read_run(store: RunStore, run_id: str) -> Run:
    """One finished or failed run. Raises InputError naming the file when it is damaged."""
    folder = store.folder(run_id)
    record = Record.read(folder / "record.json")
    return Run(
        **vars(record),
        folder=folder,
        history=tuple(store.history(run_id)) if record.is_done else (),
        samples=store.samples(run_id) if record.is_done else {},
        views=store.views(run_id) if record.is_done else None,
    )


def _groups(runs: list[Run]) -> tuple[Group, ...]:
    by_method = looks(run.config.method for run in runs)
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
            title += f", {rows.train_rows or 0:,} training and {rows.test_rows or 0:,} test rows"
            title += f", content {members[0].data_identity[:6]}" if members[0].data_identity else ""
        name = escapes.file_name(re.sub(r"[^a-z0-9]+", "-", (title + suffix).lower()).strip("-"))
        taken = {group.name for group in groups}
        name = next(n for n in chain([name], (f"{name}-n{i}" for i in count(2))) if n not in taken)
        groups.append(_group(members, title, name, by_method))
    return tuple(groups)


def _group(runs: list[Run], title: str, name: str, by_method: Mapping[str, Look]) -> Group:
    seen, order = compared(runs), list(by_method)
    labelled: dict[tuple[str, str], list[Run]] = {}
    methods = {run.config.method for run in runs}
    names = {method: varying(run for run in runs if run.config.method == method) for method in methods}
    for run in runs:
        labelled.setdefault((run.config.method, settings(run, names[run.config.method])), []).append(run)
    series = tuple(
        Series(
            label=f"{by_method[method].name}, {extra}" if extra else by_method[method].name,
            look=by_method[method],
            method=method,
            runs=tuple(sorted(members, key=lambda run: (run.config.beta, run.config.seed))),
            quality=seen.key() if seen else None,
        )
        for (method, extra), members in sorted(labelled.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    )
    return Group(title, name, tuple(run for s in series for run in s.runs), series, seen)


def _title(runs: list[Run]) -> str:
    config, count = runs[0].config, max(len(run.modalities) for run in runs)
    parts = [TITLES.get(config.dataset, config.dataset), f"{count} {'modality' if count == 1 else 'modalities'}"]
    parts += [Path(config.data).name] if config.data else []
    options = {name: getattr(config, name) for name in DATA_OPTIONS if name != "modalities"}
    return ", ".join(parts + [f"{name.replace('_', ' ')} {value}" for name, value in options.items() if value])
