"""Images in rows and columns."""

import numpy as np
import torch

from polyvae.pictures.pages import arrange


def test_arrange_puts_each_image_in_its_place():
    images = torch.rand(2, 3, 3, 4, 5)
    pixels = arrange([images[:1], images[1:]], band_gap=2)
    assert pixels.shape == (1 + 5 + 2 + 5, 1 + 3 * 6, 3)
    for row, top in enumerate((1, 8)):
        for column in range(3):
            tile = pixels[top : top + 4, 1 + 6 * column : 6 + 6 * column]
            np.testing.assert_array_equal(tile, (images[row, column] * 255 + 0.5).int().permute(1, 2, 0))
    assert (pixels[5:8] == 255).all()


def test_arrange_takes_images_of_different_sizes_and_grey_ones():
    pixels = arrange([[torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 6, 6)]])
    assert pixels.shape == (1 + 5 + 7, 1 + 14, 3)
    assert (pixels[1:5, 12:] == 255).all()
