"""Commands that show and make data sets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from polyvae import datasets
from polyvae.datasets.download import download_mnist
from polyvae.errors import InputError
from polyvae.judges.pretrained import download_inception
from polyvae.pictures.preview import describe, preview

DOWNLOADS: dict[str, Callable[[str], Path]] = {"mnist": download_mnist, "inception": download_inception}


def data(
    action: Annotated[Literal["list", "info", "preview", "build"], tyro.conf.Positional],
    name: Annotated[str | None, tyro.conf.Positional] = None,
    *,
    split: Literal["train", "test"] = "train",
    modalities: int | None = None,
    size: int | None = None,
    seed: int = 0,
    scale: float | None = None,
    background: int | None = None,
    held_out: int | None = None,
    crop_range: int | None = None,
    split_by: Literal["classes", "images"] | None = None,
    crop: Literal["none", "box"] | None = None,
    data: str | None = None,
    data_dir: str | None = None,
    out: Path = Path("preview.png"),
    rows: int = 10,
    quiet: bool = False,
) -> None:
    """Look at a data set (preview), describe it (info), make its files (build), or list them all.

    Args:
        action: list, info, preview or build. `build mnist` downloads MNIST into --data-dir, `build inception` the
            weights of the standard FID.
        name: The data set.
        split: Which part.
        modalities: Number of modalities of a generated data set. Default 5.
        size: Number of rows. Default all.
        seed: Seed of generated data, and of the split of your own.
        scale: Size of the digits in translated_polymnist.
        background: Index of the picture of repeated_polymnist.
        held_out: Number of digits d that translated_polymnist never shows in quadrant d mod 4.
        crop_range: Crops of PolyMNIST's pictures start in [0, crop_range)^2. Default: anywhere.
        split_by: Split of cub: no class in both parts (default), or the official one.
        crop: Pictures of cub: squeezed into a square (default, none), or the square around the bird (box).
        data: Your own .npz file, for arrays.
        data_dir: Folder with mnist/, polymnist/, cub/, backgrounds/. Default: $POLYVAE_DATA, else the embedded digits.
        out: PNG file of the preview.
        rows: Columns of the preview.
        quiet: Print nothing but errors.
    """
    if action == "list":
        _list()
        return
    if name is None:
        raise InputError(f"which data set? Say: polyvae data {action} NAME, with one of {', '.join(datasets.DATASETS)}")
    if action == "build" and name in DOWNLOADS:
        if data_dir is None:
            raise InputError(f"where to? Say: polyvae data build {name} --data-dir DIR")
        print(DOWNLOADS[name](data_dir))
        return
    loaded = datasets.load(
        name,
        split=split,
        modalities=modalities,
        size=size,
        seed=seed,
        scale=scale,
        background=background,
        held_out=held_out,
        crop_range=crop_range,
        split_by=split_by,
        crop=crop,
        data=data,
        data_dir=data_dir,
    )
    if action == "preview":
        preview(loaded, out, rows)
    if not quiet:
        facts = {"preview": str(out), "build": f"{name}: {len(loaded)} rows are in the cache"}
        print(facts[action] if action in facts else json.dumps(describe(loaded), indent=1))


def _list() -> None:
    table = Table(box=None, header_style="bold")
    for heading in ("data set", "what it is", "options"):
        table.add_column(heading)
    for name, entry in datasets.DATASETS.items():
        table.add_row(name, entry.description, ", ".join(sorted(entry.options)))
    Console().print(table)
