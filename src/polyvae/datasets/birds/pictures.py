"""The birds' photographs, decoded once: square, 64 pixels per side, cached class by class, then as one file."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from polyvae import archives
from polyvae import files as cache
from polyvae.datasets.birds.files import Files, refuse
from polyvae.datasets.cache import checksum
from polyvae.errors import InputError

SIDE = 64
VERSION = 1  # part of every cache key: raise it when the same pictures give other bytes
Box = Sequence[float]  # left, top, width, height


def load_pictures(files: Files, paths: Mapping[str, str], boxes: Mapping[str, Box]) -> tuple[Tensor, str]:
    """UInt8 (picture, 3, 64, 64), memory-mapped, sorted by name, and their SHA-256.

    paths: CLASS/NAME -> path. boxes: what to cut out of each picture; empty: the whole picture, squeezed.
    A stopped build goes on with the next class; memory holds one class, at the end all small pictures once.
    Raises InputError that lists every picture that cannot be read.
    """
    stamps, by_class = files.stamps(), {}
    for name in sorted(paths):
        by_class.setdefault(name.split("/")[0], []).append(name)
    shards = {key: _place([[n, stamps[paths[n]], boxes.get(n)] for n in names], key) for key, names in by_class.items()}

    def joined() -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """What the whole file holds; the files of single classes go once all are read."""
        missing = {shards[key]: names for key, names in by_class.items() if not shards[key].is_file()}
        _write_shards(files, paths, boxes, missing)
        image = torch.cat([cache.read_tensors(path)[0]["image"] for path in shards.values()])
        for path in shards.values():
            path.unlink()
        return {"image": image}, {"sha256": checksum(image.numpy())}

    whole = _place([str(path.name) for path in shards.values()], "all")
    cache.make_once(whole, joined)
    tensors, meta = cache.read_tensors(whole)
    return tensors["image"], meta["sha256"]


def decode(content: bytes, box: Box | None = None) -> np.ndarray:
    """UInt8 (3, 64, 64) of an image file in any colours, bilinear with antialiasing. Raises InputError."""
    with archives.picture(io.BytesIO(content)) as image:
        area = None if box is None else square_around(box, *image.size)
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=area)
    return np.asarray(small).transpose(2, 0, 1)


def square_around(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    """The square (left, top, right, bottom) around a box, no wider than the picture and moved inside it."""
    left, top, wide, high = box
    side = min(max(wide, high), width, height)
    x = min(max(0.0, left + wide / 2 - side / 2), width - side)
    y = min(max(0.0, top + high / 2 - side / 2), height - side)
    return x, y, x + side, y + side


def _place(content: Any, name: str) -> Path:
    key = hashlib.sha256(json.dumps([VERSION, SIDE, content]).encode()).hexdigest()[:40]
    return cache.cache_dir() / "datasets" / "cub" / f"{name}-{key}.safetensors"


def _write_shards(
    files: Files, paths: Mapping[str, str], boxes: Mapping[str, Box], missing: Mapping[Path, Sequence[str]]
) -> None:
    """Writes a shard as soon as the last picture of its class is read: an archive gives them in an order of its own.

    missing: shard -> its names. Raises InputError that lists all pictures that cannot be read.
    """
    owner = {paths[name]: (shard, name) for shard, names in missing.items() for name in names}
    left = {shard: len(names) for shard, names in missing.items()}
    decoded: dict[Path, dict[str, np.ndarray]] = {shard: {} for shard in missing}
    problems = []
    for path, content in files.read(owner):
        shard, name = owner[path]
        left[shard] -= 1
        try:
            decoded[shard][name] = decode(content, boxes.get(name))
        except InputError as error:
            problems.append(f"{path} is {error}")
        if not left[shard]:
            pictures = decoded.pop(shard)
            if len(pictures) == len(missing[shard]):
                images = np.stack([pictures[name] for name in missing[shard]])
                cache.write_tensors(shard, {"image": torch.from_numpy(images)})
    refuse(problems, "replace or remove these pictures (and their captions)")
