"""The judge of drawn birds."""

import pytest

from polyvae import datasets
from polyvae.datasets.birds.drawn import ATTRIBUTES
from polyvae.judges.attributes import attribute_judge_for
from support.captions import DATA, VALUES


@pytest.mark.slow
def test_the_trained_judge_reads_drawn_birds():
    judge = attribute_judge_for(datasets.load("toy_captions"), ATTRIBUTES)
    right = (judge.values(DATA.batch(slice(None)).values["image"]) == VALUES).double().mean(0)
    assert right.min() > 0.97
