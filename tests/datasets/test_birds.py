"""Birds and captions: both published layouts, splits, odd files, and the drawn stand-in."""

import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyvae import datasets, files
from polyvae.attributes import agreed, read_tokens, said
from polyvae.config import RunConfig
from polyvae.datasets.birds import drawn as toy_captions
from polyvae.datasets.birds import pictures as bird_pictures
from polyvae.datasets.birds.cub import TEST_CLASSES
from polyvae.datasets.birds.drawn import ATTRIBUTES, draw_attributes, paint, write
from polyvae.datasets.birds.files import IMAGES, find_files, pair
from polyvae.datasets.birds.pictures import decode, square_around
from polyvae.datasets.cache import checksum
from polyvae.errors import InputError
from polyvae.paper.experiments import configs_of
from polyvae.paper.experiments.birds import configs, quick_captions
from polyvae.runs.plan import make_plan
from polyvae.text import SPECIALS, tokenise
from support.birds import CLASSES, EACH, caption, picture, write_birds


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_birds(tmp_path_factory.mktemp("birds"))


@pytest.fixture
def birds(written, tmp_path):
    shutil.copytree(written, tmp_path / "birds")
    return tmp_path / "birds"


def same(a, b) -> bool:
    return all(torch.equal(a.values[name], b.values[name]) for name in a.names) and a.modalities == b.modalities


def test_both_layouts_and_an_archive_give_the_same_pairs(birds):
    with tarfile.open(birds / "birds.tar", "w") as archive:
        for folder in ("CUB_200_2011", "text_c10"):
            archive.add(birds / "a/cub" / folder, folder)
    (birds / "c/cub").mkdir(parents=True)
    shutil.move(birds / "birds.tar", birds / "c/cub/birds.tar")
    for split in ("train", "test"):
        read = [datasets.load("cub", split=split, data_dir=birds / root) for root in "abc"]
        assert len(read[0]) == (8, 4)[split == "test"]
        assert all(same(read[0], other) for other in read[1:])
        assert len({str(data.info) for data in read}) == 1, "the identity does not depend on where the files lie"
        assert torch.equal(read[0].variants["caption"], read[2].variants["caption"])


def test_captions_and_images_of_a_row_share_their_name(birds):
    pairs = pair(find_files(birds / "a", IMAGES))
    data = datasets.load("cub", data_dir=birds / "a", seed=3)
    for row in range(len(data)):
        name = next(n for n in pairs.images if np.array_equal(data.values["image"][row], pixels_of(birds, n)))
        index = int(name[-4:])
        assert pairs.captions[name] == [caption(index, number) for number in range(10)]
        assert data.labels[row] == index // EACH + 1
        words = data.modalities[1].vocabulary
        assert f"k{index}" in words.tokens(data.at_epoch(row).values["caption"])[row]
        assert torch.equal(data.at_epoch(7).values["caption"][row], data.variants["caption"][row, 7])


def pixels_of(birds: Path, name: str) -> np.ndarray:
    return decode((birds / f"a/cub/{IMAGES}{name}.jpg").read_bytes())


def test_splits_are_those_that_were_published(birds):
    assert len(TEST_CLASSES) == 50
    train, test = (datasets.load("cub", split=split, data_dir=birds / "a") for split in ("train", "test"))
    assert set(train.labels.tolist()) == {2, 3}
    assert set(test.labels.tolist()) == {1}
    train, test = (
        datasets.load("cub", split=split, data_dir=birds / "a", split_by="images") for split in ("train", "test")
    )
    assert len(train) == len(test) == 6
    alone = datasets.load("cub_captions", data_dir=birds / "a")
    assert alone.names == ("caption",)
    assert len(alone) == 8
    assert train.modalities[1].vocabulary.words[:3] == SPECIALS
    with pytest.raises(InputError, match=r"no CUB_200_2011/images\.txt"):
        datasets.load("cub", data_dir=birds / "b", split_by="images")


def test_pictures_are_squeezed_or_cut_around_the_bird(birds):
    pixels = Image.new("RGB", (100, 50), "white")
    pixels.paste("red", (20, 10, 40, 30))
    target = io.BytesIO()
    pixels.save(target, "PNG")
    squeezed = decode(target.getvalue())
    assert squeezed.shape == (3, 64, 64)
    assert (squeezed[1] < 128).sum() == pytest.approx(64 * 64 * 400 / 5000, rel=0.15)
    cut = decode(target.getvalue(), (20, 10, 20, 20))[:, 3:-3, 3:-3]
    assert (cut == np.array([255, 0, 0])[:, None, None]).all()
    assert square_around((0, 0, 30, 10), 100, 50) == (0, 0, 30, 30)
    assert square_around((80, 0, 40, 60), 100, 50) == (50, 0, 100, 50)
    whole, cut = (datasets.load("cub", data_dir=birds / "a", crop=crop) for crop in ("none", "box"))
    assert not torch.equal(whole.values["image"], cut.values["image"])


def test_a_table_of_boxes_that_lacks_some_or_is_none(birds):
    table = birds / "a/cub/CUB_200_2011/bounding_boxes.txt"
    whole = table.read_text()
    table.write_text("\n".join(["", *whole.splitlines(), ""]))
    datasets.load("cub", data_dir=birds / "a", crop="box")
    for content, message in (
        ("\n".join(whole.splitlines()[1:]), "has no bounding box"),
        (whole.replace("30.0", "wide"), "must hold numbers"),
        ("1\n", "is not a table"),
    ):
        table.write_text(content)
        with pytest.raises(InputError, match=message):
            datasets.load("cub", data_dir=birds / "a", crop="box")
    table.write_bytes(b"1 \xff 2 3 4")
    with pytest.raises(InputError, match="is not a table"):
        datasets.load("cub", data_dir=birds / "a", crop="box")


def test_grey_and_cmyk_pictures_show_the_same_bird():
    coloured, grey, printed = (decode(picture(5, mode)).astype(float) for mode in ("RGB", "L", "CMYK"))
    assert (grey == grey[:1]).all(), "three equal channels"
    luma = np.tensordot([0.299, 0.587, 0.114], coloured, 1)
    assert np.abs(luma - grey[0]).mean() < 3
    assert np.abs(printed - coloured).mean() < 12, "not inverted"
    assert np.abs(255 - printed - coloured).mean() > 40


def test_a_stopped_build_goes_on_with_the_next_class(birds, monkeypatch, tmp_path):
    monkeypatch.setenv("POLYVAE_CACHE", str(tmp_path / "cache"))
    decoded = []

    def stopping(content, box=None):
        decoded.append(1)
        if len(decoded) == 2 * EACH + 2:
            raise KeyboardInterrupt
        return decode(content, box)

    monkeypatch.setattr(bird_pictures, "decode", stopping)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("cub", data_dir=birds / "a")
    assert len(list((files.cache_dir() / "datasets/cub").glob("*.safetensors"))) == 2
    data = datasets.load("cub", data_dir=birds / "a")
    assert len(decoded) == 2 * EACH + 2 + EACH, "two classes were kept"
    assert [path.name[:3] for path in (files.cache_dir() / "datasets/cub").glob("*.safetensors")] == ["all"]
    datasets.load("cub", data_dir=birds / "a")
    assert len(decoded) == 3 * EACH + 2
    monkeypatch.setenv("POLYVAE_CACHE", str(tmp_path / "other"))
    assert same(datasets.load("cub", data_dir=birds / "a"), data)


def test_odd_files_are_listed_at_once(birds):
    root = birds / "a/cub"
    (root / f"{IMAGES}{CLASSES[0]}/Bird_0000.jpg").unlink()
    (root / f"text_c10/{CLASSES[0]}/Bird_0001.txt").unlink()
    (root / f"text_c10/{CLASSES[0]}/Bird_0002.txt").write_text("a\n\n" + "a\n" * 8)
    (root / f"text_c10/{CLASSES[0]}/Bird_0003.txt").write_bytes(b"caf\xe9\n" * 10)
    (root / f"text_c10/{CLASSES[1]}/Bird_0004.txt").write_text("a\n" * 9)
    with pytest.raises(InputError) as error:
        datasets.load("cub", data_dir=birds / "a")
    for part in ("Bird_0000.jpg", "Bird_0001.txt", "line 2: empty", "not UTF-8", "9 captions, not 10", "problems"):
        assert part in str(error.value)
    for path in root.glob("text_c10/*/*.txt"):
        path.write_text("a\n" * 9)
    with pytest.raises(InputError) as error:
        datasets.load("cub", data_dir=birds / "a")
    assert str(error.value).count("9 captions, not 10") == 11, "none is left out"


def test_pictures_that_cannot_be_read_are_listed_at_once(birds):
    folder = birds / f"a/cub/{IMAGES}{CLASSES[1]}"
    whole = (folder / "Bird_0005.jpg").read_bytes()
    (folder / "Bird_0005.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "Bird_0006.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError) as error:
        datasets.load("cub", data_dir=birds / "a")
    assert all(f"Bird_000{i}.jpg is unreadable" in str(error.value) for i in (5, 6))
    for i in (5, 6):
        (folder / f"Bird_000{i}.jpg").write_bytes(whole)
    assert len(datasets.load("cub", data_dir=birds / "a")) == 8, "what was repaired is read again"


def test_other_layouts_are_refused(birds):
    shutil.copytree(birds / f"b/cub/test/{CLASSES[0]}", birds / f"b/cub/train/{CLASSES[0]}")
    with pytest.raises(InputError, match=rf"class {CLASSES[0]} is in train/ and in test/"):
        datasets.load("cub", data_dir=birds / "b")
    shutil.rmtree(birds / f"b/cub/train/{CLASSES[0]}")
    os.truncate(birds / "b/cub/text_testclasses.txt", 60)
    with pytest.raises(InputError, match="lines for 4 pictures"):
        datasets.load("cub", data_dir=birds / "b")
    with pytest.raises(InputError, match=r"no folder cub/ \(found: a, b\)"):
        datasets.load("cub", data_dir=birds)
    (birds / "d/cub/birds").mkdir(parents=True)
    with pytest.raises(InputError, match="holds birds; expected CUB_200_2011"):
        datasets.load("cub", data_dir=birds / "d")
    (birds / "a/cub/CUB_200_2011/images/oddly").mkdir()
    shutil.move(birds / f"a/cub/{IMAGES}{CLASSES[0]}/Bird_0000.jpg", birds / f"a/cub/{IMAGES}oddly/Bird_0000.jpg")
    (birds / "a/cub/text_c10/oddly").mkdir()
    shutil.move(birds / f"a/cub/text_c10/{CLASSES[0]}/Bird_0000.txt", birds / "a/cub/text_c10/oddly/Bird_0000.txt")
    with pytest.raises(InputError, match="'oddly' must be called <number>"):
        datasets.load("cub", data_dir=birds / "a")


@pytest.mark.skipif("POLYVAE_BIRDS" not in os.environ, reason="POLYVAE_BIRDS names no data directory with the birds")
def test_the_real_birds():
    found = os.environ["POLYVAE_BIRDS"]
    pairs = pair(find_files(found, IMAGES))
    assert set(pairs.images) == set(pairs.captions)
    assert all(len(captions) == 10 for captions in pairs.captions.values())
    train, test = (datasets.load("cub", split=split, data_dir=found) for split in ("train", "test"))
    assert len(train) + len(test) == len(pairs.images)
    assert not set(train.labels.tolist()) & set(test.labels.tolist())


def test_drawn_birds_say_what_they_show():
    data = datasets.load("toy_captions", size=500)
    uniform = np.random.default_rng(0).random((500, 18))
    attributes = draw_attributes(uniform)
    words = data.modalities[1].vocabulary
    captions = write(attributes, uniform[:, 4:8])
    assert [read_tokens(tokenise(c), ATTRIBUTES) for c in captions] == attributes.tolist()
    assert [words.decode(words.encode([c]))[0] for c in captions] == captions, "no word is unknown, none too long"
    assert np.array_equal(agreed(said(data, ATTRIBUTES))[:, 0], data.labels.numpy())
    images = paint(attributes, uniform[:, 8:])
    other = attributes.copy()
    other[:, 0] = (other[:, 0] + 1) % 6
    changed = (paint(other, uniform[:, 8:]) != images).any(1)
    assert 0.05 < changed.mean() < 0.5, "a body's colour changes its pixels, not the background"
    assert not changed[:, :2].any()


def test_what_is_drawn_changes_with_its_version_only():
    """The cache keeps what a version drew; captions are exact, pixels may round otherwise elsewhere."""
    data = datasets.load("toy_captions", size=200)
    found = toy_captions.VERSION, checksum(data.values["caption"].numpy())[:16]
    assert found == (2, "f99c811cb0151a22"), "raise VERSION when captions change, then this"
    assert data.values["image"].double().mean() == pytest.approx(181.448, abs=0.01), "or when pictures do"


def test_experiments_plan_on_the_birds_that_are_there(birds):
    for config in (*configs("cpu"), *configs("paper")[:10], *quick_captions()):
        here = config.with_(data_dir=str(birds / "a")) if config.dataset == "cub" else config.with_(train_size=100)
        plan = make_plan(here)
        assert len(plan.modalities) == (1 if config.method == "unimodal" else 2)
    assert len({make_plan(c.with_(train_size=100, metrics="none")).run_id for c in quick_captions()}) == 5
    with pytest.raises(InputError, match="preset 'huge'"):
        configs_of("fig02_cub", "huge")


def test_published_weights_have_names(birds):
    base = RunConfig(dataset="cub", data_dir=str(birds / "a"), network="conv_half", metrics="none")
    weights = {
        name: {m.name: m.weight for m in make_plan(base.with_(modality_weights=name)).modalities}
        for name in ("mmvae", "mmvm", "auto")
    }
    assert weights["mmvae"] == {"image": pytest.approx(0.0026, abs=1e-5), "caption": 1}
    assert weights["mmvm"] == {"image": 1, "caption": 128}
    assert weights["auto"] == {"image": 1, "caption": 1}


def test_every_caption_of_an_image_is_seen_in_turn(birds):
    plan = make_plan(RunConfig(dataset="cub", data_dir=str(birds / "a"), network="mlp", validation_fraction=0.25))
    shown = torch.stack([plan.rows_at(epoch).values["caption"] for epoch in range(10)], 1)
    assert torch.equal(shown, plan.train.variants["caption"])
    assert plan.validation is not None
    words = plan.modalities[1].vocabulary
    names = []
    for part in (plan.train, plan.validation):
        tokens = words.tokens(part.variants["caption"].flatten(0, 1))
        names.append({token for caption in tokens for token in caption if token[1:].isdigit()})
    assert names[0], "each image has a word of its own"
    assert not names[0] & names[1], "captions of one image lie on one side"
