"""MNIST as IDX files, and PolyMNIST as folders of pictures."""

import gzip
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from polyvae import datasets
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.polymnist.digits import FILES


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes((0, 0, 8, array.ndim)) + shape + array.astype(np.uint8).tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28))
LABELS = np.arange(12) % 10


def write_mnist(folder: Path, suffix: str) -> None:
    folder.mkdir(parents=True)
    for images, labels in FILES.values():
        for name, content in ((images, idx(IMAGES)), (labels, idx(LABELS))):
            (folder / f"{name}{suffix}").write_bytes(gzip.compress(content, mtime=0) if suffix else content)


def write_folders(root: Path) -> MultimodalDataset:
    """The published layout, written from generated tuples."""
    data = datasets.load("polymnist", modalities=2, size=30)
    for split in ("train", "test"):
        for name in data.names:
            (root / "polymnist" / split / name).mkdir(parents=True)
            for row, label in enumerate(data.labels.tolist()):
                image = Image.fromarray(data.values[name][row].permute(1, 2, 0).numpy())
                image.save(root / "polymnist" / split / name / f"{row}.{label}.png")
    return data


def digit_bytes(images: torch.Tensor) -> list[bytes]:
    """What each image holds, as a key."""
    return [image.tobytes() for image in images.numpy()]
