"""Diversity of draws against that of real images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from polyvae import metrics
from polyvae.metrics.diversity import mean_pairwise_distance
from polyvae.metrics.pairs import few_pairs
from polyvae.metrics.readings import read_model
from support.painters import JUDGE, NAMES, Painter, agreeing


def test_diversity_of_draws_against_real_images():
    data = agreeing(140)
    readings = read_model(Painter(), data, JUDGE, moment_pairs=few_pairs(NAMES, NAMES))
    found = metrics.diversity(readings)
    assert found["diversity/digits/mean"] == pytest.approx(1, abs=0.15), "the painter's shades vary as the real ones"

    class Repeats(Painter):
        @staticmethod
        def private(generator, name):
            return torch.zeros(len(generator.rows))

    readings = replace(readings, trial=replace(readings.trial, model=Repeats()))
    assert metrics.diversity(readings)["diversity/digits/mean"] == pytest.approx(0, abs=1e-6)


def test_mean_pairwise_distance_by_hand():
    assert mean_pairwise_distance(np.array([[0.0, 0], [3, 4], [0, 0]])) == pytest.approx(10 / 3)
