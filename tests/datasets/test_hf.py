"""Hugging Face data sets on disk: the rows, types and pictures that were saved. Lists and pictures in Parquet, too."""

import io
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from polyvae.datasets import load
from polyvae.datasets.own.reading import read_parts
from polyvae.datasets.own.roles import Roles
from polyvae.errors import InputError
from polyvae.likelihoods import Normal

ROWS = 40
RNG = np.random.default_rng(3)
NUMBERS, LISTS = RNG.standard_normal((ROWS, 2)), RNG.standard_normal((ROWS, 5))
PIXELS = RNG.integers(0, 256, (ROWS, 6, 4, 3), dtype=np.uint8)
KINDS = np.arange(ROWS) % 3
NAMES = np.array([f"row {row}".replace(" ", "-") for row in range(ROWS)])
CAPTIONS = [f"seen on day {row} at noon" for row in range(ROWS)]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def as_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def check(parts) -> None:
    assert list(parts.values) == ["rna", "embedding", "photo", "caption"]
    np.testing.assert_array_equal(parts.values["rna"], NUMBERS)
    np.testing.assert_array_equal(parts.values["embedding"][1:], LISTS[1:])
    assert parts.present[:, 1].tolist() == [False] + [True] * (ROWS - 1)
    np.testing.assert_array_equal(parts.values["photo"], PIXELS.transpose(0, 3, 1, 2))
    assert parts.values["caption"].tolist() == CAPTIONS
    assert parts.ids.tolist() == NAMES.tolist()
    assert parts.named_labels.tolist() == [["B", "NK", "T"][kind] for kind in KINDS]


def test_parquet_holds_lists_and_pictures():
    kinds = [["B", "NK", "T"][kind] for kind in KINDS]
    lists = [None, *LISTS[1:].tolist()]
    frame = pl.DataFrame({"id": NAMES, "rna.a": NUMBERS[:, 0], "rna.b": NUMBERS[:, 1], "embedding": lists})
    frame.with_columns(
        photo=pl.Series([as_png(pixels) for pixels in PIXELS]), caption=pl.Series(CAPTIONS), kind=pl.Series(kinds)
    ).write_parquet("d.parquet")
    check(read_parts("d.parquet", Roles(label="kind")))
    assert load("arrays", data="d.parquet", label="kind").modalities[1].likelihood == Normal(None)
    frame.with_columns(embedding=pl.Series([[1.0]] + [[1.0, 2.0]] * (ROWS - 1))).write_parquet("d.parquet")
    with pytest.raises(InputError, match="column 'embedding' holds lists of different lengths"):
        read_parts("d.parquet")
    frame.with_columns(photo=pl.lit(b"no picture")).write_parquet("d.parquet")
    with pytest.raises(InputError, match="column 'photo', row 0: its picture: unreadable"):
        read_parts("d.parquet")


@pytest.mark.filterwarnings("ignore")  # of datasets and its packages
def test_a_saved_data_set_is_read_as_parquet_is(monkeypatch):
    pytest.importorskip("datasets.load")  # this folder is called datasets, too
    datasets = import_module("datasets")
    monkeypatch.setattr(
        datasets.arrow_dataset, "generate_fingerprint", lambda *rows: "0"
    )  # which some dills cannot make
    columns = {
        "id": NAMES.tolist(),
        "rna.a": NUMBERS[:, 0],
        "rna.b": NUMBERS[:, 1],
        "embedding": [None, *LISTS[1:].tolist()],
        "photo": [Image.fromarray(pixels) for pixels in PIXELS],
        "caption": CAPTIONS,
        "kind": KINDS,
    }
    number, text = datasets.Value("float64"), datasets.Value("string")
    kinds = {"photo": datasets.Image(), "caption": text, "kind": datasets.ClassLabel(names=["B", "NK", "T"])}
    features = {"id": text, "rna.a": number, "rna.b": number, "embedding": datasets.Sequence(number), **kinds}
    saved = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    saved.save_to_disk("whole")
    check(read_parts("whole", Roles(label="kind")))
    shuffled = saved.select(range(ROWS)[::-1])  # rows by an index
    shuffled.save_to_disk("reversed")
    assert read_parts("reversed", Roles(label="kind")).ids.tolist() == NAMES[::-1].tolist()
    datasets.DatasetDict({"train": saved.select(range(30)), "test": saved.select(range(30, ROWS))}).save_to_disk("both")
    with pytest.raises(
        InputError, match=r"both holds the splits train, test; .* --data both/train --test-data both/test"
    ):
        read_parts("both")
    options = {"data": "both/train", "test_data": "both/test", "label": "kind"}
    assert [len(load("arrays", split=split, **options)) for split in ("train", "test")] == [30, 10]
    Path("v.toml").write_text('file = "whole"\nlabel = "kind"\n[views.photo]\nimages = "photo"\nsize = 3\n')
    assert read_parts("v.toml").values["photo"].shape == (ROWS, 3, 3, 3)


@pytest.mark.filterwarnings("ignore")  # of datasets and its packages
def test_a_picture_without_its_bytes_is_no_missing_value(monkeypatch):
    pytest.importorskip("datasets.load")
    datasets = import_module("datasets")
    monkeypatch.setattr(datasets.arrow_dataset, "generate_fingerprint", lambda *rows: "0")
    known, lost = {"bytes": as_png(PIXELS[0]), "path": None}, {"bytes": None, "path": "gone.png"}
    parts = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    for name, rows in {"missing": [known, None], "lost": [known, lost]}.items():
        features = datasets.Features(day=datasets.Value("float64"), photo=parts)
        datasets.Dataset.from_dict({"day": [1.0, 2.0], "photo": rows}, features=features).save_to_disk(name)
        info = Path(name, "dataset_info.json")  # as releases wrote it that saved paths alone
        content = json.loads(info.read_text())
        content["features"]["photo"] = {"_type": "Image"}
        info.write_text(json.dumps(content))
    assert read_parts("missing").present.tolist() == [[True, True], [True, False]]
    with pytest.raises(InputError, match=r"lost, column 'photo', row 1: only the path 'gone.png' .* was saved"):
        read_parts("lost")


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets.load", None)
    Path("whole").mkdir()
    Path("whole/state.json").write_text("{}")
    with pytest.raises(InputError, match=r"pip install 'polyvae\[hf\]'"):
        read_parts("whole")
