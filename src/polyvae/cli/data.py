"""The command that shows and makes data sets."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from polyvae import datasets
from polyvae.cli.common import Quiet, Terminal, out_file, say, seeded, show, table_of
from polyvae.cli.grouped import grouped
from polyvae.config import OWN, DataOptions
from polyvae.datasets.download import download_mnist
from polyvae.errors import InputError
from polyvae.judges.pretrained import download_inception
from polyvae.pictures.preview import describe, preview

COLUMNS = 4  # of a table that are named
DOWNLOADS: dict[str, Callable[[str], Path]] = {"mnist": download_mnist, "inception": download_inception}


def data(
    action: Annotated[Literal["list", "info", "preview", "build"], tyro.conf.Positional],
    name: Annotated[str | None, tyro.conf.Positional] = None,
    *,
    split: Literal["train", "test"] = "train",
    data: Annotated[DataOptions, tyro.conf.arg(name="", constructor=grouped(DataOptions))],
    size: int | None = None,
    seed: int = 0,
    out: Path = Path("preview.png"),
    rows: int = 10,
    quiet: Quiet = False,
) -> None:
    """Draw a data set (preview), describe it (info), make its files (build), or list all data sets.

    In a pipe, info prints all facts as JSON.

    Args:
        action: list, info, preview or build. `build mnist` downloads MNIST into --data-dir; `build inception` downloads
            the weights for the standard FID.
        name: Data set. Default: arrays, if there is --data.
        split: Part of the data set.
        size: Number of rows. Default: all.
        seed: Seed of generated data, and of the split of your own data.
        out: PNG file of the preview.
        rows: Number of rows to show, one per column of the preview.
    """
    if action == "list":
        _list()
        return
    if name is None and data.data is not None:
        name = OWN
    if name is None:
        raise InputError(f"which data set? Use: polyvae data {action} NAME, with one of {', '.join(datasets.DATASETS)}")
    if action == "build" and name in DOWNLOADS:
        if data.data_dir is None:
            raise InputError(f"where to? Use: polyvae data build {name} --data-dir DIR")
        say(DOWNLOADS[name](data.data_dir))
        return
    if action == "preview":
        out_file(out)
    loaded = datasets.load(name, split=split, size=size, seed=seeded(seed), **datasets.options_of(name, data))
    if action == "preview":
        preview(loaded, out, rows)
    if quiet:
        return
    if action == "info" and Terminal().is_terminal:
        _info(describe(loaded))
    else:
        facts = {"preview": str(out), "build": f"{name}: {len(loaded)} rows are in the cache"}
        say(facts[action] if action in facts else json.dumps(describe(loaded), indent=1))


def _info(facts: Mapping[str, Any]) -> None:
    """The facts that a reader asks for first; in a pipe, JSON has them all."""
    split = facts["info"].get("split", "all")
    held_out = facts["info"].get("rows", {}).get("test", 0) if split == "train" else 0  # of own data
    beside = f"; {held_out:,} more are held out for testing" if held_out else ""
    say(f"{facts['name']}: {facts['rows']:,} rows ({split}){beside}")
    table = table_of("modality", "shape", "likelihood", "present", "values", "columns, or a first row")
    for modality in facts["modalities"]:
        ends = "" if modality["range"] is None else " to ".join(f"{end:.4g}" for end in modality["range"])
        names = modality.get("first", [])[:1] or modality.get("feature_names", [])
        table.add_row(
            modality["name"],
            " x ".join(map(str, modality["shape"])),
            modality["likelihood"]["kind"],
            f"{100 * modality['present']:.0f} %",
            ends,
            ", ".join(names[:COLUMNS]) + ", ..." * (len(names) > COLUMNS),
        )
    show(table)
    if facts["classes"] is not None:
        say("classes: " + ", ".join(f"{name} ({count:,})" for name, count in facts["classes"].items()))
    for name, text in facts["info"].get("warnings", {}).items():
        say(f"{name}: {text}")


def _list() -> None:
    table = table_of("data set", "what it is", "options")
    for name, entry in datasets.DATASETS.items():
        table.add_row(name, entry.description, ", ".join(entry.option_names))
    show(table)
