"""PolyMNIST from folders of pictures."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from polyvae import datasets
from polyvae.errors import InputError
from support.polymnist import write_folders


def test_folder_round_trip(tmp_path: Path) -> None:
    written = write_folders(tmp_path)
    read = datasets.load("polymnist_folder", data_dir=tmp_path)
    assert read.names == written.names
    key = [(*row,) for row in read.values["m0"].flatten(1).tolist()]
    position = {(*row,): i for i, row in enumerate(written.values["m0"].flatten(1).tolist())}
    order = [position[row] for row in key]
    assert sorted(order) == list(range(30))
    assert torch.equal(read.values["m1"], written.values["m1"][order])
    assert torch.equal(read.labels, written.labels[order])
    (tmp_path / "polymnist/train").rename(tmp_path / "flat")
    (tmp_path / "polymnist").rename(tmp_path / "old")
    (tmp_path / "flat").rename(tmp_path / "polymnist")
    flat = datasets.load("polymnist_folder", data_dir=tmp_path, modalities=1)
    assert torch.equal(flat.values["m0"], read.values["m0"])


def test_odd_files_in_folders_are_listed(tmp_path: Path) -> None:
    data = write_folders(tmp_path)
    folder = tmp_path / "polymnist/train/m1"
    names = sorted(path.name for path in folder.iterdir())
    Image.new("RGB", (20, 28)).save(folder / names[0])
    (folder / names[1]).write_bytes(b"no picture")
    with pytest.raises(InputError) as error:
        datasets.load("polymnist_folder", data_dir=tmp_path)
    assert f"m1/{names[0]} is 20 x 28" in str(error.value)
    assert f"m1/{names[1]} is unreadable" in str(error.value)
    for name in names[:8]:
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"has no partner.* and 3 more"):
        datasets.load("polymnist_folder", data_dir=tmp_path)
    assert len(data) == 30


def test_changed_folders_are_read_again(tmp_path: Path) -> None:
    write_folders(tmp_path)
    before = datasets.load("polymnist_folder", data_dir=tmp_path)
    path = next((tmp_path / "polymnist/train/m0").iterdir())
    Image.new("RGB", (28, 28), "red").save(path)
    assert datasets.load("polymnist_folder", data_dir=tmp_path).fingerprint != before.fingerprint
