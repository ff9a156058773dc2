"""Simpler methods against what they must find on laws of known form, with missing views and cells."""

import math
from dataclasses import replace

import pytest
import torch

from polyvae import InputError
from polyvae.covariate import Covariate, Levels
from polyvae.dataset import MultimodalDataset
from polyvae.likelihoods import Normal
from polyvae.metrics.baselines import baselines
from polyvae.modality import Modality

NOISE = 0.3


def rows(count, relation, seed=0, width=3):
    """a, b -> c by `relation`, with noise."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(count, width, generator=generator), torch.randn(count, 2, generator=generator)
    c = relation(a, b) + NOISE * torch.randn(count, 2, generator=generator)
    modalities = [Modality(name, (v.shape[1],), Normal(1.0)) for name, v in (("a", a), ("b", b), ("c", c))]
    return MultimodalDataset.complete("law", modalities, {"a": a, "b": b, "c": c})


def linear(a, b):
    return a[:, :2] + b


def errors(train, test, given=("a", "b"), **options):
    batch = test.batch(slice(None))
    found = baselines(train, batch, given, "c", **options)
    return {name: math.sqrt((values - batch.values["c"]).square().mean()) for name, values in found.items()}


def test_of_a_linear_law_only_the_noise_is_left():
    found = errors(rows(2000, linear), rows(1000, linear, 1))
    assert set(found) == {"mean", "ridge", "knn", "iterative"}
    assert found["mean"] == pytest.approx(math.sqrt(2 + NOISE**2), rel=0.05)
    assert found["ridge"] == pytest.approx(NOISE, rel=0.05)
    assert found["iterative"] == pytest.approx(NOISE, rel=0.05)
    assert NOISE < found["knn"] < found["mean"]


def test_what_is_not_given_is_not_read():
    found = errors(rows(2000, linear), rows(1000, linear, 1), given=("a",))
    assert found["ridge"] == pytest.approx(math.sqrt(1 + NOISE**2), rel=0.05)


def test_neighbours_follow_what_is_not_linear():
    bent = lambda a, b: (3 * a[:, :2]).sin()  # noqa: E731
    found = errors(rows(4000, bent, width=2), rows(1000, bent, 1, width=2), given=("a",))
    assert found["knn"] < 0.7 * found["ridge"]


def test_missing_views_and_cells_of_training_rows_are_borne():
    train, test = rows(2000, linear), rows(1000, linear, 1)
    generator = torch.Generator().manual_seed(2)
    present = torch.rand(2000, 3, generator=generator) > 0.2
    present[~present.any(1)] = True
    gaps = {
        n: v.masked_fill(torch.rand(v.shape, generator=generator) < 0.1, torch.nan) for n, v in train.values.items()
    }
    modalities = [Modality(m.name, m.shape, m.likelihood, has_gaps=True) for m in train.modalities]
    found = errors(MultimodalDataset("law", tuple(modalities), gaps, present), test)
    assert NOISE < found["ridge"] < 0.6
    assert found["iterative"] < 0.45


def test_the_level_of_a_covariate_is_read():
    """As by the model. c is shifted by it alone."""
    parts = []
    for seed in (0, 1):
        data, index = rows(1000, lambda a, b: a[:, :2], seed), torch.arange(1000) % 2
        values = {**data.values, "c": data.values["c"] + 5 * index[:, None]}
        levels = Levels(Covariate("batch", ("A", "B"), (0.5, 0.5)), index)
        parts.append(replace(data, values=values, levels=levels))
    for name, error in errors(*parts, given=("a",)).items():
        assert error > 2 if name == "mean" else error < 2 * NOISE, name


def test_wide_tables_have_no_iterative_imputer_and_rows_are_drawn_by_the_seed():
    train, test = rows(300, linear, width=70), rows(100, linear, 1, width=70)
    assert "iterative" not in errors(train, test)
    assert errors(train, test, seed=0) == errors(train, test, seed=0)


def test_few_rows_have_the_mean_alone():
    assert set(errors(rows(10, linear), rows(20, linear, 1))) == {"mean"}


def test_they_are_reserved_words():
    with pytest.raises(InputError, match="rename it"):
        MultimodalDataset.complete("x", [Modality("ridge", (1,), Normal(1.0))], {"ridge": torch.zeros(2, 1)})
