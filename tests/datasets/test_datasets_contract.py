"""What every data set promises, and what looking at one shows."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import multivariate_normal
from test_birds import write_birds

from polyvae import datasets
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.toy import FEATURES, NOISE, linear_gaussian
from polyvae.errors import InputError
from polyvae.likelihoods import Laplace
from polyvae.modality import Modality
from polyvae.pictures.preview import describe, preview

Loader = Callable[..., MultimodalDataset]


def own_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((50, 4)) * 3 + 7
    mask = rng.random(50) > 0.3
    table[~mask] = np.nan
    return {
        "photo": rng.integers(0, 256, (50, 3, 8, 8), dtype=np.uint8),
        "genes": table,
        "genes.mask": mask,
        "kind": rng.integers(0, 3, 50),
        "label": rng.integers(0, 5, 50),
    }


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


@pytest.fixture(params=list(datasets.DATASETS))
def loader(request: pytest.FixtureRequest, tmp_path: Path) -> Loader:
    """`load` of each data set, small."""
    name = request.param
    options = {"polymnist_folder": {"data_dir": tmp_path}, "arrays": {"data": own_arrays()}}.get(name, {"size": 30})
    if name == "polymnist_folder":
        write_folders(tmp_path)
    if name in ("cub", "cub_captions"):
        options = {"data_dir": write_birds(tmp_path, each=30) / "a"}
    return lambda **more: datasets.load(name, **{**options, **more})


def test_contract(loader: Loader) -> None:
    data = loader()
    batch = data.batch([3, 1, 1])
    assert torch.equal(batch.present, data.present[[3, 1, 1]])
    for column, modality in enumerate(data.modalities):
        value, stored = batch.values[modality.name], data.values[modality.name][[3, 1, 1]]
        seen = data.present[[3, 1, 1], column]
        assert value.dtype == torch.float32
        assert bool(value.isfinite().all())
        if stored.dtype == torch.uint8:
            assert torch.equal(value, stored / 255)
        torch.testing.assert_close(
            modality.to_original(value).float()[seen], stored.float()[seen] / (255 if modality.is_image else 1)
        )
        assert torch.equal(value[1], value[2])
        params = torch.zeros(3, *((2,) if modality.likelihood.parameters == 2 else ()), *modality.shape)
        assert modality.distribution(params).log_prob(value).shape == (3,)
    if data.labels is not None:
        assert data.labels.dtype == torch.int64
        assert batch.label is not None
        assert batch.label.tolist() == [data.labels[i] for i in (3, 1, 1)]


def test_select_keeps_one_modality_and_the_rows_that_have_it(loader: Loader) -> None:
    data = loader()
    name = data.names[-1]
    alone = data.select([name])
    seen = data.present[:, -1]
    assert alone.names == (name,)
    assert torch.equal(alone.values[name], data.values[name][seen])


def test_loading_twice_gives_the_same_and_splits_differ(loader: Loader) -> None:
    assert loader().fingerprint == loader().fingerprint
    if loader().name != "polymnist_folder":  # both folders were written from the same tuples
        train, test = loader(size=10), loader(split="test", size=10)
        assert not torch.equal(train.values[train.names[0]], test.values[test.names[0]])


def test_a_smaller_size_is_a_prefix(loader: Loader) -> None:
    data, prefix = loader(), loader(size=7)
    for name in data.names:
        torch.testing.assert_close(prefix.values[name], data.values[name][:7], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("size", [0, 10**6])
def test_impossible_sizes_are_refused(loader: Loader, size: int) -> None:
    if loader().name in ("toy", "symbols", "toy_captions") and size:
        pytest.skip("generated rows have no end")
    with pytest.raises(InputError, match=f"size {size}"):
        loader(size=size)


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


def test_toy_evidence_is_the_multivariate_normal() -> None:
    law, data = linear_gaussian(3, seed=4), datasets.load("toy", modalities=3, seed=4, size=50)
    for given in (None, (2,), (0, 2)):
        chosen = given or (0, 1, 2)
        rows = torch.cat([data.values[f"m{m}"] for m in chosen], 1)
        truth = multivariate_normal(np.zeros(rows.shape[1]), law.covariance(given))
        np.testing.assert_allclose(law.log_evidence(rows.numpy(), given), truth.logpdf(rows.numpy()), rtol=1e-6)
        assert law.entropy(given) == pytest.approx(truth.entropy())


def test_toy_rows_have_the_stated_covariance() -> None:
    law, data = linear_gaussian(2), datasets.load("toy", modalities=2, size=100_000)
    rows = torch.cat([data.values["m0"], data.values["m1"]], 1).double()
    assert law.covariance().shape == (2 * FEATURES, 2 * FEATURES)
    np.testing.assert_allclose(rows.T.cov(), law.covariance(), rtol=0.03, atol=0.03)
    assert all(m.likelihood.scale == NOISE for m in data.modalities)
    assert torch.equal(datasets.load("toy", modalities=1, size=9).values["m0"], data.values["m0"][:9])


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
