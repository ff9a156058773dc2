"""Draws to choose from: what stands where."""

import io
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Independent, Laplace

from polyvae import files
from polyvae.pictures.draws import DRAWS, _sheet, given_sets, write_draws
from polyvae.pictures.grids import example_rows
from polyvae.schema import DrawsFile
from support.captions import DATA, Copier
from support.painters import NAMES, ROWS, SHAPE, STEP, Painter, painted


class Flat(Painter):
    """Paints whole pictures in the brightness of the digit: WebP does not keep a single pixel."""

    def decode(self, codes):
        shades = {
            name: (code[:, 0] * STEP / 255)[:, None, None, None].expand(-1, *SHAPE) for name, code in codes.items()
        }
        return {name: Independent(Laplace(shade, 0.75), 3) for name, shade in shades.items()}


def test_what_is_given_is_every_subset_of_few_modalities():
    assert given_sets(["a"]) == [()]
    assert given_sets(["a", "b"]) == [(), ("a",), ("b",)]
    assert len(given_sets("abcd")) == 2**4 - 1
    assert {len(given) for given in given_sets("abcde")} == {0, 1, 4}


def test_a_sheet_holds_the_rows_then_draws_for_each_thing_given(tmp_path):
    data = painted()
    write_draws(Flat(), data, tmp_path / "draws.json", columns=5)
    found = files.read_object(tmp_path / "draws.json", DrawsFile)
    assert found["given"] == [list(given) for given in given_sets(NAMES)]
    with Image.open(io.BytesIO(b64decode(found["images"]["m1"]))) as image:
        pixels = np.asarray(image).astype(int)
    rows = example_rows(data, 5)
    given = [names for names in found["given"] if "m1" not in names]
    assert pixels.shape == (1 + 29 * (1 + DRAWS * len(given)), 1 + 29 * 5, 3)
    line = 1 + DRAWS * given.index(["m0"])  # the painter copies the digit of m0, which is the label
    for column, row in enumerate(rows):
        cell = pixels[1:29, 1 + 29 * column : 29 + 29 * column]
        real = 255 * data.batch([row]).values["m1"][0].permute(1, 2, 0).numpy()
        assert np.abs(cell - real).mean() < 5, "but for what WebP loses"
        drawn = pixels[1 + 29 * line + 14, 1 + 29 * column + 14, 0]
        assert drawn == pytest.approx(STEP * int(data.labels[row]), abs=5)


def test_large_pictures_are_shrunk():
    for lines, side in ((5, 100), (400, 39)):
        code = _sheet([torch.full((1, 1, 160, 40), 0.5)] * lines)
        with Image.open(io.BytesIO(b64decode(code))) as image:
            down = (image.height - 1) // lines
            assert image.height == 1 + lines * down < 2**14
            assert down - 1 <= side
            assert image.getpixel((5, 5))[0] == pytest.approx(128, abs=4)


def test_text_is_kept_as_text(tmp_path):
    write_draws(Copier(), DATA, tmp_path / "draws.json", columns=3)
    found = files.read_object(tmp_path / "draws.json", DrawsFile)
    assert set(found["images"]) == {"image"}
    assert [len(line) for line in found["texts"]["caption"]] == [3] * (1 + 2 * DRAWS)


def test_without_a_row_that_has_everything_nothing_is_written(tmp_path):
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[:, 0] = False
    write_draws(Painter(), painted(present), tmp_path / "draws.json")
    assert not (tmp_path / "draws.json").exists()
