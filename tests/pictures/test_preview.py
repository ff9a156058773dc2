"""What looking at a data set shows."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyvae import datasets
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.likelihoods import Laplace
from polyvae.modality import Modality
from polyvae.pictures.preview import describe, preview
from support.arrays import own_arrays


def test_preview_draws_values_where_present(tmp_path: Path) -> None:
    red = torch.zeros(2, 3, 8, 8)
    red[:, 0] = 1
    present = torch.tensor([[True, True], [True, False]])
    specs = tuple(Modality(name, (3, 8, 8), Laplace()) for name in ("a", "b"))
    path = preview(MultimodalDataset("red", specs, {"a": red, "b": red}, present), tmp_path / "out/red.png", rows=2)
    pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
    is_red = (pixels == (255, 0, 0)).all(2)
    third = pixels.shape[0] // 3
    upper, lower = is_red[:third].any(0), is_red[-third:].any(0)
    assert upper.sum() == pytest.approx(2 * lower.sum(), rel=0.1)
    with pytest.raises(InputError, match="rows 3 must be between 1 and the 2 rows"):
        preview(MultimodalDataset("red", specs, {"a": red, "b": red}, present), tmp_path / "x.png", rows=3)


def test_description_agrees_with_numpy() -> None:
    arrays = own_arrays()
    facts = describe(datasets.load("arrays", data=arrays, test_size=1, seed=3))
    photo, genes, _ = facts["modalities"]
    assert photo["dtype"] == "uint8"
    assert genes["present"] == pytest.approx(arrays["genes.mask"].mean(), abs=0.02)
    assert sum(facts["classes"].values()) == facts["rows"] == 49
    inside = arrays["genes"][arrays["genes.mask"]]
    assert inside.min() <= genes["range"][0] + 1e-5
    assert genes["range"][1] <= inside.max() + 1e-5
    generated = describe(datasets.load("polymnist", modalities=3, size=20))
    assert generated["info"]["grey"][1] == pytest.approx(0.51, abs=0.02)
