"""What every data set promises."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from polyvae import datasets
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from support.arrays import own_arrays
from support.birds import write_birds
from support.polymnist import write_folders

Loader = Callable[..., MultimodalDataset]


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
