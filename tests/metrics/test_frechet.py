"""The Fréchet distance against SciPy, closed forms and the nuclear norm; extrapolation to endless samples."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from torchmetrics.image.fid import _compute_fid

from polyvae.dataset import chosen_rows
from polyvae.errors import InputError
from polyvae.judges.extractors import prepared
from polyvae.metrics import frechet, frechet_distance, frechet_limit
from polyvae.metrics.frechet import real_train
from polyvae.metrics.readings import read_model
from polyvae.noise import RowNoise
from support.painters import JUDGE, NAMES, ROWS, MixturePainter, Painter, painted


@pytest.mark.parametrize(("rows", "dimension"), [(200, 5), (60, 40)])
def test_frechet_distance_equals_outside_formulas(rows, dimension):
    rng = np.random.default_rng(dimension)
    a = rng.normal(size=(rows, dimension)) @ rng.normal(size=(dimension, dimension))
    b = rng.normal(size=(rows + 7, dimension)) * 2 + 1
    means, covariances = [x.mean(0) for x in (a, b)], [np.cov(x, rowvar=False) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    by_scipy = np.square(means[0] - means[1]).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, torch.from_numpy(b)) == pytest.approx(by_scipy, rel=1e-6)
    assert frechet_distance((means[0], covariances[0]), (means[1], covariances[1])) == pytest.approx(by_scipy, rel=1e-6)
    as_tensors = [torch.from_numpy(x) for pair in zip(means, covariances, strict=True) for x in pair]
    assert frechet_distance(a, b) == pytest.approx(float(_compute_fid(*as_tensors)), rel=1e-6)


def test_frechet_distance_with_fewer_rows_than_dimensions_uses_the_nuclear_norm():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 50)), rng.normal(size=(9, 50)) + 0.3
    centred = [x - x.mean(0) for x in (a, b)]
    overlap = np.linalg.norm(centred[0] @ centred[1].T, "nuc") / np.sqrt(11 * 8)
    traces = sum(np.square(x).sum() / (len(x) - 1) for x in centred)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + traces - 2 * overlap
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


@for_all(st.integers(2, 30), st.integers(1, 40), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_frechet_distance_is_zero_on_itself_symmetric_and_never_negative(rows, dimension, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rows, dimension)), rng.exponential(size=(rows + 3, dimension))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, b) >= 0


def test_frechet_distance_of_shifted_and_scaled_normals_has_its_closed_form():
    a = np.random.default_rng(0).normal(size=(50, 6))
    assert frechet_distance(a, a + 2) == pytest.approx(6 * 4)
    variance = np.trace(np.cov(a, rowvar=False))
    assert frechet_distance(a, 3 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(4 * variance)


@pytest.mark.parametrize("bad", [np.zeros((1, 4)), np.zeros(4), np.full((3, 4), np.nan)])
def test_frechet_distance_refuses_what_has_no_covariance(bad):
    with pytest.raises(InputError, match="Fréchet"):
        frechet_distance(bad, np.zeros((5, 4)))


def test_frechet_distance_refuses_unequal_dimensions():
    with pytest.raises(InputError, match="dimension 3 and 4"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))


def test_frechet_of_a_mixture_pools_its_members():
    found = frechet(MixturePainter(), painted(), painted(), JUDGE)
    alone = [features_of(Painter(), (source,)) for source in ("m1", "m2")]
    real = JUDGE.read("m0", painted().batch(range(ROWS)).values["m0"])[0]
    expected = frechet_distance(np.concatenate(alone), real)
    assert found["frechet/digits/conditional/m1+m2/m0"] == pytest.approx(expected, rel=1e-9)
    assert found["frechet/digits/conditional/m1/m0"] == pytest.approx(frechet_distance(alone[0], real), rel=1e-9)


def test_frechet_reports_floor_sizes_and_every_required_key():
    data = painted()
    found = frechet(Painter(), data, data.rows(range(30)), JUDGE)
    real, other = (JUDGE.read("m1", data.batch(r).values["m1"])[0] for r in (chosen_rows(ROWS, 30, 0), range(30)))
    assert found["frechet/digits/floor/m1"] == pytest.approx(frechet_distance(real, other), rel=1e-9)
    assert (found["frechet/digits/samples"], found["frechet/digits/floor_samples"]) == (ROWS, 30)
    assert found["frechet/digits/dimension"] == 12
    same = frechet(Painter(), data, data, JUDGE)
    assert same["frechet/digits/floor/m1"] == pytest.approx(0, abs=1e-9)
    assert {key.removeprefix("frechet/digits/conditional/") for key in same if "/conditional" in key} == {
        *(f"{a}/{b}" for a in NAMES for b in NAMES if a != b),
        *("m1+m2/m0", "m0+m2/m1", "m0+m1/m2"),
    }


def test_the_floor_compares_equally_many_rows_and_few_rows_are_flagged():
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[10:, 1] = False
    data, train = painted(present), painted().rows(range(ROWS)[::-1])
    found = frechet(Painter(), data, train, JUDGE)
    read = JUDGE.read("m1", train.batch(chosen_rows(ROWS, 10, 0)).values["m1"])[0]
    real = JUDGE.read("m1", data.batch(range(10)).values["m1"])[0]
    assert found["frechet/digits/floor_samples"] == 10
    assert found["frechet/digits/floor/m1"] == pytest.approx(frechet_distance(read, real), rel=1e-9)
    flag = "frechet/digits/fewer_samples_than_dimensions"
    assert flag not in found
    assert frechet(Painter(), train, train, JUDGE, rows=range(8))[flag] == 1
    readings = read_model(Painter(), train, JUDGE, rows=range(8))
    assert {len(r.features) for r in real_train(readings, train).values()} == {8}


def features_of(model: Painter, given: tuple[str, ...]) -> np.ndarray:
    rows = tuple(range(ROWS))
    codes = model.posterior_codes(painted().batch(rows), given, ("m0",), RowNoise(0, "conditional", rows))
    return JUDGE.read("m0", prepared(model.decode(codes)["m0"].mean))[0].numpy()


def test_the_extrapolated_distance_has_less_bias():
    """Two samples of one law have distance 0; the plain estimate is above it by about dimension / n."""
    rng = np.random.default_rng(0)
    plain, limit = [], []
    for seed in range(20):
        a, b = rng.normal(size=(400, 20)), rng.normal(size=(400, 20))
        plain.append(frechet_distance(a, b))
        limit.append(frechet_limit(a, b, seed))
    assert abs(np.mean(limit)) < 0.25 * np.mean(plain)
    shifted = frechet_limit(rng.normal(size=(2000, 5)), rng.normal(size=(2000, 5)) + 1)
    assert shifted == pytest.approx(5, rel=0.1)
