"""The published PolyMNIST folders: `polymnist/{train,test}/m{k}/{i}.{digit}.png`, with or without the split level."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polyvae import archives
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.cache import cached, checksum
from polyvae.datasets.polymnist.digits import DIGIT, resolve
from polyvae.errors import InputError
from polyvae.likelihoods import Laplace
from polyvae.modality import Modality
from polyvae.noise import derive_seed

NAME = re.compile(r"(\d+)\.(\d)\.png")
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """modalities: the first so many folders, None: all. data_dir: the folder that polymnist/ lies in."""

    modalities: int | None = None
    data_dir: Path | str | None = None


def load_folder(options: FolderOptions, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    """The pictures of `data_dir`/polymnist, paired by file name, rows shuffled by `seed`.

    size: the first so many rows, None: all.
    Raises InputError that lists up to five files that are unreadable, of a wrong size, or missing in a folder.
    """
    folders = _folders(_root(split, options.data_dir), options.modalities)
    names = _paired_names(folders)
    if size is not None and size > len(names):
        raise InputError(f"size {size} must be between 1 and the {len(names)} tuples in {folders[0].parent}")
    chosen = [names[i] for i in np.random.default_rng(derive_seed(seed, "split")).random(len(names)).argsort()[:size]]
    stats = np.array([[_stamp(folder / name) for name in chosen] for folder in folders])
    parameters = {
        "reader": 1,
        "folders": [str(folder.resolve()) for folder in folders],
        "split": split,
        "size": len(chosen),
        "seed": seed,
        "sha256_of_listing": checksum(np.array(chosen), stats),
    }
    stored = cached(parameters, lambda: _read(folders, chosen))
    label = stored.pop("label")
    specs = tuple(Modality(folder.name, (3, DIGIT, DIGIT), Laplace(0.75)) for folder in folders)
    values = {m.name: stored[m.name] for m in specs}
    return MultimodalDataset.complete("polymnist_folder", specs, values, labels=label, info=parameters)


def _root(split: str, data_dir: Path | str | None) -> Path:
    folder = resolve(data_dir)
    if folder is None:
        raise InputError("polymnist_folder needs a data directory with a folder polymnist/; give --data-dir")
    root = folder / "polymnist"
    return root / split if (root / split).is_dir() else root


def _folders(root: Path, modalities: int | None) -> list[Path]:
    folders = sorted((p for p in root.glob("m*") if re.fullmatch(r"m\d+", p.name)), key=lambda p: int(p.name[1:]))
    if not folders:
        raise InputError(f"no folders m0, m1, ... in {root}; expected {root}/m0/0.3.png and so on")
    if modalities is not None and not 1 <= modalities <= len(folders):
        raise InputError(f"modalities {modalities} must be between 1 and the {len(folders)} folders in {root}")
    return folders[:modalities]


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _paired_names(folders: list[Path]) -> list[str]:
    """The names that every folder must hold, sorted by number, then digit."""
    listed = [{path.name for path in folder.glob("*.png")} for folder in folders]
    everywhere = set.intersection(*listed)
    alone = [folder / name for folder, names in zip(folders, listed, strict=True) for name in names - everywhere]
    misnamed = [folders[0] / name for name in everywhere if not NAME.fullmatch(name)]
    _refuse([f"{path} has no partner" for path in sorted(alone)])
    _refuse([f"{path} is not named <number>.<digit>.png" for path in sorted(misnamed)])
    if not everywhere:
        raise InputError(f"{folders[0]} holds no .png file")
    return sorted(everywhere, key=lambda name: [int(part) for part in name.split(".")[:2]])


def _read(folders: list[Path], names: list[str]) -> dict[str, Tensor]:
    tensors, odd = {}, []
    for folder in folders:
        images = np.empty((len(names), 3, DIGIT, DIGIT), np.uint8)
        for row, name in enumerate(names):
            try:
                with archives.picture(folder / name) as image:
                    if image.size != (DIGIT, DIGIT):
                        odd.append(f"{folder / name} is {image.width} x {image.height}")
                        continue
                    images[row] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            except InputError as error:
                odd.append(f"{folder / name} is {error}")
        tensors[folder.name] = torch.from_numpy(images)
    _refuse(odd)
    return {**tensors, "label": torch.tensor([int(name.split(".")[1]) for name in names])}


def _refuse(odd: list[str]) -> None:
    if odd:
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        raise InputError(
            f"odd files in the PolyMNIST folders: {'; '.join(odd[:SHOWN])}{more}; every folder must hold 28 x 28 "
            "PNG pictures of the same names"
        )
