"""What extractors look at."""

import pytest
import torch

from polyvae.errors import RunError
from polyvae.judges.extractors import prepared


def test_images_are_read_as_a_picture_file_holds_them():
    pixels = torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 100.4 / 255, 1.0, 2.0])
    assert (prepared(pixels) * 255).tolist() == pytest.approx([0, 0, 0, 1, 100, 255, 255])
    stored = torch.arange(256, dtype=torch.uint8).float() / 255
    assert torch.equal(prepared(stored), stored)
    with pytest.raises(RunError, match="not finite"):
        prepared(torch.tensor([torch.nan]))
