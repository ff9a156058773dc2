"""The birds' photographs, decoded once: square, 64 pixels a side, cached class by class, then as one file."""

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

from polyvae import files as cache
from polyvae.datasets.birds.files import Files, refuse
from polyvae.datasets.cache import checksum

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
    whole = _place([str(path.name) for path in shards.values()], "all")
    cache.make_once(whole, lambda: _joined(files, paths, boxes, by_class, shards))
    tensors, meta = cache.read_tensors(whole)
    return tensors["image"], meta["sha256"]


def decode(content: bytes, box: Box | None = None) -> np.ndarray:
    """UInt8 (3, 64, 64) of an image file in any colours, bilinear with antialiasing. Raises OSError when unreadable."""
    with Image.open(io.BytesIO(content)) as image:
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


def _joined(
    files: Files,
    paths: Mapping[str, str],
    boxes: Mapping[str, Box],
    by_class: Mapping[str, Sequence[str]],
    shards: Mapping[str, Path],
) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """What the whole file holds; the files of single classes go once all are read."""
    problems: list[str] = []
    missing = {key: names for key, names in by_class.items() if not shards[key].is_file()}
    _decode_classes(files, paths, boxes, missing, shards, problems)
    refuse(problems, "replace or remove these pictures (and their captions)")
    image = torch.cat([cache.read_tensors(path)[0]["image"] for path in shards.values()])
    for path in shards.values():
        path.unlink()
    return {"image": image}, {"sha256": checksum(image.numpy())}


def _decode_classes(
    files: Files,
    paths: Mapping[str, str],
    boxes: Mapping[str, Box],
    by_class: Mapping[str, Sequence[str]],
    shards: Mapping[str, Path],
    problems: list[str],
) -> None:
    """Writes a shard a class as soon as its last picture is read: an archive gives pictures in an order of its own."""
    owner = {paths[name]: (key, name) for key, names in by_class.items() for name in names}
    decoded: dict[str, dict[str, np.ndarray]] = {}
    left = {key: len(names) for key, names in by_class.items()}
    for path, content in files.read(owner):
        key, name = owner[path]
        left[key] -= 1
        try:
            decoded.setdefault(key, {})[name] = decode(content, boxes.get(name))
        except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
            problems.append(f"{path} is unreadable ({error})")
        if not left[key]:
            done = decoded.pop(key, {})
            if len(done) == len(by_class[key]):
                images = np.stack([done[name] for name in by_class[key]])
                cache.write_tensors(shards[key], {"image": torch.from_numpy(images)})
