"""What is drawn may fail alone, and pictures of any number of channels are drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

import polyvae as pv
from polyvae import keys
from polyvae.cli import main, use
from polyvae.pictures.pages import arrange, coloured
from polyvae.runs import run as running

CHANNELS = (1, 2, 3, 4, 6)
TINY = {"epochs": 1, "latent_dim": 2, "batch_size": 16, "network": "mlp", "threads": 1, "metrics": "none"}


def images(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, 255, (30, channels, 8, 8), dtype=np.uint8)


def data_of(**arrays: np.ndarray) -> pv.MultimodalDataset:
    return pv.datasets.load("arrays", data=arrays)


def test_channels_that_are_no_colour_are_drawn_in_grey_one_below_the_other():
    pictures = torch.rand(5, 6, 4, 3)
    drawn = coloured(pictures)
    assert drawn.shape == (5, 3, 24, 3)
    for channel in range(6):
        part = drawn[:, :, 4 * channel : 4 * channel + 4]
        assert torch.equal(part, pictures[:, channel, None].expand(-1, 3, -1, -1))
    assert torch.equal(coloured(pictures[:, :3]), pictures[:, :3])


def test_pictures_of_all_numbers_of_channels_share_a_page():
    page = arrange([[torch.zeros(2, channels, 4, 4) for channels in CHANNELS]])
    heights = [4 if channels == 3 else 4 * channels for channels in CHANNELS]
    assert page.shape == (1 + sum(height + 1 for height in heights), 1 + 2 * 5, 3)


def test_a_run_on_pictures_of_all_numbers_of_channels_draws_every_grid(tmp_path):
    data = data_of(**{f"c{channels}": images(channels) for channels in CHANNELS})
    result = pv.run(pv.RunConfig(dataset="arrays", method="mvae", **TINY), tmp_path, data=data)
    assert result.record.is_done
    assert keys.SAMPLES not in result.notes
    assert len(list((result.folder / "samples").glob("*.png"))) == 2 + 5 * 4


def test_a_run_whose_grids_cannot_be_drawn_is_done_and_says_so(tmp_path, monkeypatch):
    def fails(*args, **options):
        raise ValueError("no ink")

    monkeypatch.setattr(running, "write_grids", fails)
    data = data_of(a=images(1), b=images(3))
    result = pv.run(pv.RunConfig(dataset="arrays", **TINY), tmp_path, data=data)
    assert result.record.is_done
    assert result.notes == {keys.SAMPLES: "the sample grids could not be drawn (ValueError: no ink)"}
    assert (result.folder / "model.safetensors").is_file()


def test_generated_values_are_written_even_if_their_picture_cannot_be(tmp_path, monkeypatch, capsys):
    def fails(*args, **options):
        raise ValueError("no ink")

    data = data_of(a=images(2), b=images(6))
    result = pv.run(pv.RunConfig(dataset="arrays", **TINY), tmp_path / "runs", data=data)
    command = ["generate", str(result.folder), "--count", "3", "--out", str(tmp_path / "x.npz")]
    main(command)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (2 * (1 + 3 * 9), 2 * (1 + 17 + 4 + 49))
    (tmp_path / "x.npz").unlink()
    monkeypatch.setattr(use, "write_page", fails)
    main(command)
    assert "no picture: ValueError: no ink" in capsys.readouterr().out
    assert np.load(tmp_path / "x.npz")["b"].shape == (3, 6, 8, 8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 8])
def test_channels_last_are_refused(channels):
    with pytest.raises(pv.InputError, match="channels last"):
        data_of(a=np.zeros((30, 32, 32, channels), np.uint8), b=images(1))


@pytest.mark.parametrize("shape", [(8, 4, 4), (32, 16, 16), (100, 9, 9), (6, 32, 32), (3, 8, 4)])
def test_channels_first_are_taken(shape):
    assert data_of(a=np.zeros((30, *shape), np.uint8), b=images(1)).modalities[0].shape == shape
