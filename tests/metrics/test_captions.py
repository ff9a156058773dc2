"""Captions: counts by hand, exact models at the ceiling."""

import math
from collections import Counter

import pytest

from polyvae import datasets
from polyvae.metrics import captions
from polyvae.metrics.captions import quality
from support.captions import DATA, Copier


def test_caption_quality_counts_by_hand():
    real = [["a", "red", "bird"], ["a", "blue", "bird"]]
    known = [Counter([("a", "red"), ("red", "bird"), ("a", "blue")]), Counter([("a", "red", "bird")])]
    found = quality([["a", "red", "bird"], ["a", "red"], ["bird"]], real, known)
    assert found == pytest.approx(
        {
            "length": 2.0,
            "length_distance": 1.0,  # lengths 3, 2, 1 against 3, 3
            "distinct_1": 3 / 6,
            "distinct_2": 2 / 3,
            "distinct_3": 1.0,
            "real_2grams": 1.0,
            "real_3grams": 1.0,
        }
    )
    empty = quality([[], []], real, known)
    assert empty["length"] == 0
    assert math.isnan(empty["distinct_1"])
    assert all(math.isnan(value) for value in quality([], real, known).values())


def test_captions_of_an_exact_model_are_real_and_certain():
    found = captions(Copier(), DATA, datasets.load("toy_captions", size=3000))
    for source in ("image", "unconditional"):
        for key in ("distinct_2", "real_3grams", "length"):
            assert found[f"captions/{key}/{source}/caption"] == found[f"captions/{key}/real/caption"]
        assert found[f"captions/length_distance/{source}/caption"] == 0
    assert found["captions/real_2grams/real/caption"] > 0.99
    assert found["captions/perplexity/image/caption"] == pytest.approx(1, abs=1e-6)
    level = captions(Copier(sure=0.0), DATA, DATA)
    words = len(DATA.modalities[1].vocabulary)
    assert level["captions/perplexity/image/caption"] == pytest.approx(words, rel=1e-4), "all words alike"
