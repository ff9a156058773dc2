"""MNIST digits: IDX files, the embedded ones, thresholds and sizes."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from polyvae import files
from polyvae.datasets.polymnist.digits import ASSETS, FILES, Digits, load_digits, read_idx, threshold
from polyvae.errors import InputError
from support.polymnist import IMAGES, LABELS, digit_bytes, idx, write_mnist

GZIPPED = gzip.compress(idx(IMAGES), mtime=0)


def test_half_scale_is_the_two_by_two_mean_before_the_threshold() -> None:
    digits = load_digits("test")
    masks, travel = threshold(digits, 0.5)
    means = digits.images.numpy().astype(float).reshape(-1, 14, 2, 14, 2).mean((2, 4))
    assert np.array_equal(masks, np.floor(means) > 128)
    assert travel == 14


@pytest.mark.parametrize(("scale", "side", "travel"), [(0.75, 21, 7), (0.3, 8, 19), (0.9, 25, 2), (0.99, 27, 1)])
def test_resizing_is_bilinear_without_antialiasing(scale: float, side: int, travel: int) -> None:
    digits = Digits(load_digits("test").images[:40], load_digits("test").labels[:40])
    masks, room = threshold(digits, scale)
    assert (masks.shape[1], room) == (side, travel)
    at = (np.arange(side) + 0.5) / scale - 0.5
    grid = np.meshgrid(at, at, indexing="ij")
    for image, mask in zip(digits.images.numpy().astype(float), masks, strict=True):
        value = map_coordinates(image, grid, order=1, mode="nearest")
        clear = (value < 128.99) | (value > 129.01)
        assert np.array_equal(mask[clear], value[clear] >= 129)


def test_splits_share_no_digit() -> None:
    train, test = (set(digit_bytes(load_digits(split).images)) for split in ("train", "test"))
    assert not train & test


def test_embedded_files_are_balanced_and_as_listed() -> None:
    for split, per_class in (("train", 1200), ("test", 200)):
        assert torch.bincount(load_digits(split).labels).tolist() == [per_class] * 10
    listed = re.findall(r"^([0-9a-f]{64})\s+(\S+)$", (ASSETS / "SOURCES.md").read_text(), re.M)
    assert {name for _, name in listed} == {str(p.relative_to(ASSETS)) for p in ASSETS.glob("*/*")}
    assert all(files.sha256(ASSETS / name) == digest for digest, name in listed)


def test_embedded_test_digits_are_as_hard_as_all() -> None:
    """A ridge classifier of the training digits errs on 15.2 % of all 10,000 test digits, mean over classes."""
    (inputs, labels), (others, truth) = (
        (np.column_stack([images.numpy().reshape(len(images), -1) / 255, np.ones(len(images))]), labels.numpy())
        for images, labels in map(load_digits, ("train", "test"))
    )
    weights = np.linalg.solve(inputs.T @ inputs + 10 * np.eye(785), inputs.T @ np.eye(10)[labels])
    wrong = (others @ weights).argmax(1) != truth
    shares = np.array([wrong[truth == digit].mean() for digit in range(10)])
    assert abs(shares.mean() - 0.1521) < 3 * np.sqrt((shares * (1 - shares) / 200).sum()) / 10  # the first 200: .197


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_of_the_data_directory_are_read(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "mnist", suffix)
    given = load_digits("test", tmp_path)
    assert np.array_equal(given.images.numpy(), IMAGES)
    assert given.labels.tolist() == LABELS.tolist()
    monkeypatch.setenv("POLYVAE_DATA", str(tmp_path))
    assert torch.equal(load_digits("train").images, given.images)


DAMAGED = {
    "cut.gz": GZIPPED[:-50],
    "flipped.gz": GZIPPED[:200] + b"\0\0\0" + GZIPPED[203:],
    "text.gz": b"no gzip",
    "short": idx(IMAGES)[:-1],
    "long": idx(IMAGES) + b"\0",
    "wrong-axes": idx(LABELS),
    "floats": b"\0\0\x0d\x03" + idx(IMAGES)[4:],
    "empty": b"",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_idx_files_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(InputError, match=f"/{name} "):
        read_idx(tmp_path / name, 3)


def test_disagreeing_files_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", "")
    (tmp_path / "mnist/train-labels-idx1-ubyte").write_bytes(idx(LABELS[:-1]))
    with pytest.raises(InputError, match=r"12 images but .*train-labels-idx1-ubyte 11 labels"):
        load_digits("train", tmp_path)
    (tmp_path / "mnist/train-labels-idx1-ubyte").write_bytes(idx(LABELS + 3))
    with pytest.raises(InputError, match="labels 0 to 9"):
        load_digits("train", tmp_path)
    (tmp_path / "mnist/t10k-images-idx3-ubyte").write_bytes(idx(IMAGES[:, :27]))
    with pytest.raises(InputError, match=r"images of \(27, 28\)"):
        load_digits("test", tmp_path)


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_digits("train", tmp_path)
    assert all(name in str(error.value) for pair in FILES.values() for name in pair)
    assert str(tmp_path / "mnist") in str(error.value)
