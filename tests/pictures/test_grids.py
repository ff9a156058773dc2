"""Sample grids: what stands where."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from polyvae.pictures.grids import example_rows, write_grids
from polyvae.pictures.pages import TEXT_CELL, _font, wrapped
from support.captions import DATA, Copier
from support.painters import NAMES, ROWS, STEP, Painter, painted


def test_grids_show_inputs_above_what_is_drawn_from_them(tmp_path):
    data = painted()
    paths = write_grids(Painter(), data, tmp_path, columns=5)
    pairs = [f"conditional_{a}_{b}.png" for a in NAMES for b in NAMES if a != b]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["reconstruction.png", "unconditional.png", *pairs])
    assert {p.name for p in paths} == {p.name for p in tmp_path.iterdir()}
    rows = example_rows(data, 5)
    assert data.labels[rows].tolist() == [0, 1, 2, 3, 4]
    pixels = np.asarray(Image.open(tmp_path / "conditional_m0_m1.png"))[::2, ::2]
    for column, row in enumerate(rows):
        left = 1 + 29 * column
        np.testing.assert_array_equal(pixels[1:29, left : left + 28], data.values["m0"][row].permute(1, 2, 0))
        for draw in range(10):  # the painter copies the digit of m0, which is the label
            assert pixels[1 + 29 + 4 + 29 * draw, left, 0] == STEP * data.labels[row]


def test_example_rows_have_nothing_missing():
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[:7, 0] = False
    assert example_rows(painted(present), 9) == [*range(7, 14), 14, 15]
    assert example_rows(replace(painted(present), labels=None), 3) == [7, 8, 9]
    present[:, 0] = False
    assert example_rows(painted(present), 3) == []


def test_captions_are_wrapped_and_drawn(tmp_path):
    lines = wrapped("a small bird with a red body , blue wings and a yellow beak", TEXT_CELL)
    assert len(lines) > 1
    assert all(_font().getlength(line) <= TEXT_CELL for line in lines)
    assert " ".join(lines) == "a small bird with a red body , blue wings and a yellow beak"
    assert wrapped("", 50) == []
    for path in write_grids(Copier(), DATA, tmp_path, columns=3):
        with Image.open(path) as image:
            assert image.width == 3 * (TEXT_CELL + 1) + 1
    assert {p.stem for p in tmp_path.iterdir()} == {
        *("unconditional", "reconstruction", "conditional_image_caption", "conditional_caption_image")
    }
