"""PolyMNIST generators: the published rules, checked pixel by pixel, and what pairing and seeds promise."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare

from polyvae import datasets
from polyvae.datasets.polymnist.backgrounds import Picture, load_pictures
from polyvae.datasets.polymnist.digits import load_digits, threshold
from polyvae.datasets.polymnist.generator import Placement, PolyMNISTOptions, Sampler, _stream, load_sampler
from support.polymnist import digit_bytes, idx

PER_CLASS = 6


def gradient(height: int = 100, width: int = 120) -> Picture:
    """Red is x, green is y, blue is 0: an image tells its crop corner, and blue 255 is where colours are inverted."""
    y, x = np.mgrid[:height, :width]
    return Picture("gradient", np.stack([x, y, np.zeros_like(x)]).astype(np.uint8))


@pytest.fixture
def small_dir(tmp_path: Path) -> Path:
    """A data directory with six digits a class and two black pictures, so that images are exactly their masks."""
    for folder in ("mnist", "backgrounds"):
        (tmp_path / folder).mkdir()
    for split, file in (("train", "train"), ("test", "t10k")):
        digits = load_digits(split)
        kept = np.concatenate([np.flatnonzero(digits.labels.numpy() == d)[:PER_CLASS] for d in range(10)])
        (tmp_path / f"mnist/{file}-images-idx3-ubyte").write_bytes(idx(digits.images.numpy()[kept]))
        (tmp_path / f"mnist/{file}-labels-idx1-ubyte").write_bytes(idx(digits.labels.numpy()[kept]))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 50)).save(tmp_path / "backgrounds" / name)
    return tmp_path


def test_each_digit_is_used_exactly_once_a_modality_and_only_the_label_is_shared(small_dir: Path) -> None:
    data = datasets.load("polymnist", modalities=2, data_dir=small_dir)
    pool = load_digits("train", small_dir)
    masks = torch.where(pool.images > 128, 255, 0).to(torch.uint8)
    label_of = dict(zip(digit_bytes(masks), pool.labels.tolist(), strict=True))
    shown = {name: digit_bytes(data.values[name][:, 0]) for name in data.names}
    for name in data.names:
        assert sorted(shown[name]) == sorted(label_of)
        assert [label_of[digit] for digit in shown[name]] == data.labels.tolist()
    same = sum(a == b for a, b in zip(shown["m0"], shown["m1"], strict=True))
    assert same <= 3 * 10  # a random permutation fixes one digit a class on average


def test_pool_placements_are_permutations_within_classes() -> None:
    sampler = datasets.sampler("polymnist", modalities=2)
    placements = [sampler.place_pool(0, np.random.default_rng(seed)) for seed in (0, 1)]
    for placement in placements:
        assert np.array_equal(np.sort(placement.digit), np.arange(len(sampler.labels)))
        assert np.array_equal(sampler.labels[placement.digit], np.sort(sampler.labels))
    agreeing = (placements[0].digit == placements[1].digit).sum()
    assert agreeing < 30  # Poisson with mean 10: one a class


def test_render_equals_the_published_loop() -> None:
    rng, digits, pictures = np.random.default_rng(0), load_digits("test"), load_pictures()
    masks, _ = threshold(digits, None)
    sampler = Sampler(masks, digits.labels.numpy(), pictures, 1)
    for modality, picture in enumerate(pictures):
        room = np.array(picture.pixels.shape[1:]) - 28
        corner = (rng.random((5, 2)) * room).astype(int)
        digit = rng.integers(0, len(masks), 5)
        rendered = sampler.render(modality, Placement(digit, corner, np.zeros((5, 2), int)))
        for row in range(5):
            top, left = corner[row]
            crop = picture.pixels[:, top : top + 28, left : left + 28].transpose(1, 2, 0) / 255.0
            for y in range(28):
                for x in range(28):
                    if digits.images[digit[row], y, x] > 128:
                        crop[y, x] = 1 - crop[y, x]
            saved = np.floor(crop.clip(0, 1) * 255 + 0.5).astype(np.uint8)
            assert np.array_equal(rendered[row].transpose(1, 2, 0), saved)


def test_translated_digits_stay_whole_and_reach_every_published_offset() -> None:
    sampler = Sampler(np.ones((1, 14, 14), bool), np.array([3]), (gradient(),), 14)
    draws = sampler.draw(4000, np.random.default_rng(0), 0)
    inverted = draws.images[:, 2] == 255
    assert bool((inverted.sum((1, 2)) == 14 * 14).all())
    top, left = inverted.any(2).int().argmax(1), inverted.any(1).int().argmax(1)
    for start in (top, left):
        assert chisquare(np.bincount(start.numpy(), minlength=14)).pvalue > 1e-3
    assert int(top.max()) == 13
    assert draws.offset is not None
    assert torch.equal(draws.offset, 2 * (top >= 7).long() + (left >= 7).long())
    tuples = sampler.draw_tuples(100, np.random.default_rng(0))
    inverted = tuples.images[0][:, 2] == 255
    assert torch.equal(tuples.places[0], 2 * inverted[:, :7].sum((1, 2)).eq(0) + inverted[..., :7].sum((1, 2)).eq(0))


def test_crop_corners_are_uniform_and_cells_name_them() -> None:
    height, width = 100, 120
    sampler = Sampler(np.zeros((1, 28, 28), bool), np.array([0]), (gradient(height, width), gradient()), 1)
    draws = sampler.draw(20_000, np.random.default_rng(0))
    x, y = draws.images[:, 0, 0, 0].numpy().astype(int), draws.images[:, 1, 0, 0].numpy().astype(int)
    assert chisquare(np.bincount(x, minlength=width - 28)).pvalue > 1e-3
    assert chisquare(np.bincount(y, minlength=height - 28)).pvalue > 1e-3
    assert (x.max(), y.max()) == (width - 29, height - 29)
    cell = 4 * (4 * y // (height - 28)) + 4 * x // (width - 28)
    assert np.array_equal(draws.cell.numpy(), 16 * draws.modality.numpy() + cell)
    assert sampler.cells == 32
    assert draws.offset is None
    assert sampler.offsets == 0


@pytest.mark.parametrize(("modality", "share"), [(0, 0.36), (1, 0.28), (2, 0.29), (4, 0.39)])
def test_test_crops_are_drawn_from_the_same_picture_as_training_crops(modality: int, share: float) -> None:
    """As published; what the documents say of how many are shared, and what chance says."""
    options = PolyMNISTOptions()
    train, test = (
        load_sampler(options, split=split).place_pool(modality, _stream(0, test, modality + 1)).corner
        for test, split in enumerate(("train", "test"))
    )
    known = set(map(tuple, train.tolist()))
    found = sum(tuple(corner) in known for corner in test.tolist()) / len(test)
    positions = np.prod(np.array(load_pictures()[modality].pixels.shape[1:]) - 28)
    assert round(found, 2) == share
    assert found == pytest.approx(1 - (1 - 1 / positions) ** len(train), abs=4 * 0.5 / len(test) ** 0.5)


def test_a_shared_picture_has_one_set_of_cells() -> None:
    sampler = datasets.sampler("repeated_polymnist", modalities=3)
    assert sampler is not None
    assert sampler.cells == 16
    assert int(sampler.draw(300, np.random.default_rng(0)).cell.max()) < 16


def test_draws_show_what_their_digit_says(small_dir: Path) -> None:
    sampler = datasets.sampler("polymnist", modalities=2, data_dir=small_dir)
    assert sampler is not None
    pool = load_digits("train", small_dir)
    label_of = dict(zip(digit_bytes((pool.images > 128).to(torch.uint8) * 255), pool.labels.tolist(), strict=True))
    draws = sampler.draw(200, np.random.default_rng(0))
    assert [label_of[d] for d in digit_bytes(draws.images[:, 0])] == draws.digit.tolist()


def test_fresh_pairing_draws_rows_independently_and_without_end(small_dir: Path) -> None:
    data = datasets.load("polymnist", modalities=2, size=3000, pairing="fresh", data_dir=small_dir)
    pool = load_digits("train", small_dir)
    masks = digit_bytes((pool.images > 128).to(torch.uint8) * 255)
    label_of, index_of = dict(zip(masks, pool.labels.tolist(), strict=True)), {m: i for i, m in enumerate(masks)}
    shown = {name: digit_bytes(data.values[name][:, 0]) for name in data.names}
    for digits in shown.values():
        assert [label_of[d] for d in digits] == data.labels.tolist()
        assert chisquare(np.bincount([index_of[d] for d in digits], minlength=60)).pvalue > 1e-3
    repeats = np.mean([a == b for a, b in zip(shown["m0"], shown["m1"], strict=True)])
    assert abs(repeats - 1 / PER_CLASS) < 0.03


@pytest.mark.parametrize("name", ["polymnist", "translated_polymnist", "repeated_polymnist"])
@pytest.mark.parametrize("pairing", ["fixed", "fresh"])
def test_seeds_modalities_and_prefixes(name: str, pairing: str, monkeypatch, tmp_path: Path) -> None:
    def load(**options: int):
        return datasets.load(name, pairing=pairing, **{"modalities": 2, "size": 60, "seed": 5, **options})

    first = load()
    monkeypatch.setenv("POLYVAE_CACHE", str(tmp_path / "other"))
    assert load().fingerprint == first.fingerprint
    assert load(seed=6).fingerprint != first.fingerprint
    assert torch.equal(load(modalities=4).values["m0"], first.values["m0"])
    if pairing == "fixed":
        prefix = load(size=100).rows(torch.arange(60))
        assert all(torch.equal(prefix.values[m], first.values[m]) for m in first.names)
        assert torch.equal(prefix.labels, first.labels)


@pytest.mark.parametrize("pairing", ["fixed", "fresh"])
@pytest.mark.parametrize("scale", [0.5, 0.75])
def test_places_are_the_quadrants_in_which_digits_stand(small_dir: Path, pairing: str, scale: float) -> None:
    """Black pictures show masks alone, so an image is one of all digits at all places."""
    options = {"modalities": 2, "scale": scale, "pairing": pairing, "data_dir": small_dir}
    data = datasets.load("translated_polymnist", **options)
    masks, travel = threshold(load_digits("train", small_dir), scale)
    quadrant_of = {}
    for top, left in np.ndindex(travel, travel):
        images = np.zeros((len(masks), 28, 28), np.uint8)
        images[:, top : top + masks.shape[1], left : left + masks.shape[2]] = 255 * masks
        quadrant = 2 * (top >= travel / 2) + (left >= travel / 2)
        quadrant_of |= dict.fromkeys(digit_bytes(torch.from_numpy(images)), quadrant)
    for name in data.names:
        shown = digit_bytes(data.values[name][:, 0])
        assert [quadrant_of[digit] for digit in shown] == data.places[name].tolist()
    part = data.select(["m1"]).rows([7, 3])
    assert list(part.places) == ["m1"]
    assert torch.equal(part.places["m1"], data.places["m1"][[7, 3]])


def test_digits_that_stand_still_have_no_places() -> None:
    assert datasets.load("polymnist", modalities=2, size=9).places == {}


def test_released_bytes_never_change() -> None:
    data = datasets.load("translated_polymnist", modalities=2, size=64)
    content = b"".join(data.values[m].numpy().tobytes() for m in data.names) + data.labels.numpy().tobytes()
    assert hashlib.sha256(content).hexdigest() == "1831b13785628e6b102126265e1aaedd578be9aab3bcd4b7d239cb38372f6b6f"
