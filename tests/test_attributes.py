"""Attributes that captions name."""

import numpy as np

from polyvae.attributes import agreed, read_tokens
from polyvae.datasets.birds.drawn import ATTRIBUTES
from polyvae.text import tokenise


def test_a_value_belongs_to_the_part_named_after_it():
    def read(text):
        return read_tokens(tokenise(text), ATTRIBUTES)

    assert read("a small bird with a red body , blue wings and a yellow beak .") == [0, 1, 1, 0]
    assert read("Yellow bill , a black belly . A huge bird with red wings") == [4, 0, 1, 1]
    assert read("a body with red and blue wings") == [-1, 1, -1, -1]
    assert read("red red red") == [-1] * 4


def test_the_first_caption_is_judged_by_the_others():
    said_by = np.array([[[0], [1], [1]], [[2], [-1], [-1]], [[0], [0], [2]]])
    assert agreed(said_by).tolist() == [[1], [-1], [0]]
    assert agreed(said_by[:, :1]).tolist() == [[0], [2], [0]]
