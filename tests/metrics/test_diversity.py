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


def test_diversity_is_the_mean_ratio_of_each_input_whatever_the_batches():
    data = agreeing(140)
    options = {"moment_pairs": few_pairs(NAMES, NAMES)}
    readings = read_model(Painter(), data, JUDGE, **options)
    found = metrics.diversity(readings)
    assert metrics.diversity(read_model(Painter(), data, JUDGE, batch_size=9, **options)) == pytest.approx(found)

    trial, real = readings.trial.having(("m0",), 100), readings.real["m1"]
    drawn = list(trial.conditional_means("diversity", {("m0",): ("m1",)}, draws=10))
    features = torch.stack([JUDGE.read("m1", draw.values)[0] for draw in drawn], 1)
    within = {int(c): mean_pairwise_distance(real.features[data.labels == c]) for c in data.labels.unique()}
    ratios = [
        mean_pairwise_distance(of_row) / within[int(data.labels[row])]
        for row, of_row in zip(trial.rows, features, strict=True)
    ]
    assert found["diversity/digits/m0/m1"] == pytest.approx(np.mean(ratios))


def test_mean_pairwise_distance_by_hand():
    assert mean_pairwise_distance(np.array([[0.0, 0], [3, 4], [0, 0]])) == pytest.approx(10 / 3)
