"""Background pictures: the vendored ones and the user's own."""

from pathlib import Path

import pytest
from PIL import Image

from polyvae.datasets.polymnist.backgrounds import VENDORED, load_pictures
from polyvae.errors import InputError


def test_vendored_pictures_let_digits_show() -> None:
    pictures = load_pictures()
    assert [Path(p.name).stem for p in pictures] == list(VENDORED)
    assert all(picture.contrast > 0.5 for picture in pictures[:5])
    assert all(picture.contrast > 0.25 for picture in pictures)


def test_own_pictures_come_sorted_and_are_checked(tmp_path: Path) -> None:
    (tmp_path / "backgrounds").mkdir()
    with pytest.raises(InputError, match=r"holds no .png or .jpg"):
        load_pictures(tmp_path)
    for name, colour in (("b.png", (9, 8, 7)), ("a.png", (1, 2, 3))):
        Image.new("RGB", (40, 30), colour).save(tmp_path / "backgrounds" / name)
    first, second = load_pictures(tmp_path)
    assert first.pixels.shape == (3, 30, 40)
    assert first.pixels[:, 0, 0].tolist() == [1, 2, 3]
    assert second.pixels[:, 0, 0].tolist() == [9, 8, 7]
    assert second.grey == pytest.approx(1 - 2 * 8 / 255)
    Image.new("RGB", (40, 28)).save(tmp_path / "backgrounds/c.png")
    with pytest.raises(InputError, match=r"c.png is 40 x 28 pixels; each side must be at least 29"):
        load_pictures(tmp_path)
    (tmp_path / "backgrounds/c.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"c.png cannot be read"):
        load_pictures(tmp_path)
