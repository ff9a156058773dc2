"""Where models of tables start: factor analysis, against its likelihood and the conditional law of its own Gaussian."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from polyvae import likelihoods, models, subsets
from polyvae.covariate import Covariate, Levels
from polyvae.dataset import MultimodalDataset
from polyvae.modality import Batch, Modality
from polyvae.models import Blueprint
from polyvae.models.factor_analysis import Factor, clearly_best, cross_validated, factors, improved, log_errors
from polyvae.models.linear_start import LEAST_PRECISION, _folds, codes_by_errors, start_linearly
from polyvae.networks.linear_mlp import LinearDecoder, LinearEncoder

SIZES, LATENT = {"a": 4, "b": 3, "c": 5}, 3
NORMAL = likelihoods.Normal(None)
PATTERNS = [p for size in (1, 2) for p in itertools.combinations(SIZES, size)]


def rows(count=300, missing=0.0, seed=0):
    """Views of a linear model, and who is there."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, LATENT))
    views = {n: z @ rng.normal(size=(LATENT, p)) + 0.5 * rng.normal(size=(count, p)) for n, p in SIZES.items()}
    present = rng.random((count, 3)) >= missing
    present[np.arange(count), rng.integers(0, 3, count)] = True
    seen = dict(zip(SIZES, present.T, strict=True))
    return {n: view * seen[n][:, None] for n, view in views.items()}, seen


def log_likelihood(found, views, seen):
    """Of what rows have, by the covariance W W' + Psi of their features."""
    total = 0.0
    whole = covariance(found)
    for row in range(len(next(iter(views.values())))):
        there = np.concatenate([np.full(p, seen[n][row]) for n, p in SIZES.items()])
        x, of_row = np.concatenate([view[row] for view in views.values()])[there], whole[np.ix_(there, there)]
        total -= 0.5 * (np.linalg.slogdet(2 * np.pi * of_row)[1] + x @ np.linalg.solve(of_row, x))
    return total


def covariance(found):
    loadings = np.vstack([factor.loadings for factor in found.values()])
    return loadings @ loadings.T + np.diag(np.concatenate([factor.noise for factor in found.values()]))


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_no_round_of_em_makes_the_rows_less_likely(missing):
    views, seen = rows(80, missing)
    rng = np.random.default_rng(5)
    found = {n: Factor(rng.normal(size=(p, LATENT)), np.ones(p)) for n, p in SIZES.items()}
    scores = []
    for _ in range(8):
        scores.append(log_likelihood(found, views, seen))
        found = improved(found, views, seen)
    assert (np.diff(scores) > 0).all()


def test_codes_are_rotated_until_all_views_together_know_them_one_by_one():
    total = sum(factor.precision for factor in factors(*rows(), LATENT).values())
    np.testing.assert_allclose(total, np.diag(np.diag(total)), atol=1e-8 * total.max())
    assert (np.diff(np.diag(total)) < 0).all()


def test_a_fold_is_filled_in_by_the_conditional_law_of_the_rows_outside_it():
    """Mean squared errors of known cells, by E[x_B | x_A] of each fold's Gaussian."""
    views, seen = rows(90)
    known = {n: np.random.default_rng(1).random(view.shape) < 0.8 for n, view in views.items()}
    folds, place = np.arange(90) % 3, np.repeat(np.arange(3), list(SIZES.values()))
    whole, counted = np.hstack(list(views.values())), np.hstack(list(known.values()))
    squares = np.empty_like(whole)
    for fold in range(3):
        held = folds == fold
        law = covariance(factors(*({n: v[~held] for n, v in of.items()} for of in (views, seen)), 2))
        for index in range(3):
            target = place == index
            slopes = np.linalg.solve(law[np.ix_(~target, ~target)], law[np.ix_(~target, target)])
            squares[np.ix_(held, target)] = (whole[np.ix_(held, target)] - whole[np.ix_(held, ~target)] @ slopes) ** 2
    found = cross_validated(views, seen, known, folds, [2])
    for index in range(3):
        cells = np.where(counted, squares, np.nan)[:, place == index]
        rows_with = ~np.isnan(cells).all(1)
        np.testing.assert_allclose(found[0, index, rows_with], np.nanmean(cells[rows_with], 1))
        assert np.isnan(found[0, index, ~rows_with]).all()
    logs = [np.log(np.nanmean(found[0, index])) for index in range(3)]
    assert log_errors(found)[0] == pytest.approx(np.mean(logs), abs=1e-4)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_as_many_codes_fill_in_best_as_the_linear_model_has(missing):
    views, seen = rows(300, missing)
    data = data_of(views, present=torch.from_numpy(np.stack(list(seen.values()), 1)))
    codes, errors = codes_by_errors(model_of("dense", data), data, range(1, 8), 7)
    assert codes == min(errors, key=errors.__getitem__) == LATENT


def test_the_usual_number_stands_unless_another_is_clearly_better():
    """By 1 % in each of 400 rows, with noise of 5 or of 20 %: four standard errors, or one."""
    noise = np.random.default_rng(0).normal(size=(1, 400))
    noise = (noise - noise.mean()) / noise.std()
    for sd, expected in ((0.05, 1), (0.2, 0)):
        assert clearly_best(np.stack([1.01 + sd * noise, np.ones((1, 400))]), 0) == expected


def test_groups_stay_in_one_fold():
    groups = np.repeat(np.arange(50), 3)[np.random.default_rng(0).permutation(150)]
    folds = _folds(groups, 0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(50))
    assert np.bincount(folds).tolist() == [30] * 5


def model_of(method, data, latent=LATENT):
    names = tuple(SIZES)
    blueprint = Blueprint(
        modalities=data.modalities,
        mixture={"dense": subsets.every, "joint": subsets.mvae}[method](names),
        latent_dim=latent,
        networks=dict.fromkeys(names, "linear_mlp"),
        kind=method,
        covariate=None if data.levels is None else data.levels.covariate,
    )
    return models.build(blueprint)


def data_of(views, levels=None, present=None, likelihood=NORMAL):
    modalities = [Modality(n, (p,), likelihood) for n, p in SIZES.items()]
    values = {n: torch.from_numpy(view).float() for n, view in views.items()}
    data = MultimodalDataset.complete("arrays", modalities, values, levels=levels)
    return data if present is None else replace(data, present=present)


@torch.no_grad()
def linear_part(model):
    """The model without what its perceptrons add, which is next to nothing until precisions multiply it."""
    for layer in model.modules():
        if isinstance(layer, LinearEncoder):
            silent = [*layer.head.mean.parameters(), layer.head.logvar.weight]
        elif isinstance(layer, LinearDecoder):
            silent = [*layer.deep[-1].parameters()]
        else:
            silent = []
        for parameter in silent:
            parameter.zero_()
    return model


@pytest.mark.parametrize("latent", [LATENT, 8])
def test_a_model_has_the_posterior_of_the_linear_model_given_any_subset(latent):
    """Also with more codes than a view has features, whose precision then has no full rank."""
    views, seen = rows()
    data = data_of(views)
    model = model_of("dense", data, latent)
    start_linearly(model, data)
    model = linear_part(model).double()
    centred = {n: v - v.mean(0) for n, v in views.items()}
    found = factors(centred, seen, latent)
    batch = Batch({n: torch.from_numpy(view) for n, view in views.items()})
    for given in PATTERNS:
        precision = np.eye(latent) + sum(found[n].precision + LEAST_PRECISION * np.eye(latent) for n in given)
        covariance = np.linalg.inv(precision)
        mean = sum(centred[n] @ found[n].message.T for n in given) @ covariance
        posterior = model.posterior(batch, given).component(0)
        sd = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(posterior.mean.detach().numpy() / sd, mean / sd, atol=0.005)
        np.testing.assert_allclose(
            posterior.logvar.detach().numpy() / 2, np.broadcast_to(np.log(sd), mean.shape), atol=1e-4
        )


def test_a_model_fills_in_what_the_linear_model_does_given_any_subset():
    """E[x_B | x_A] of the Gaussian with covariance W W' + Psi, for every A."""
    views, seen = rows()
    data = data_of(views)
    model = model_of("dense", data)
    start_linearly(model, data)
    model, found = linear_part(model).double(), factors({n: v - v.mean(0) for n, v in views.items()}, seen, LATENT)
    whole = covariance(found)
    place = np.repeat(np.arange(3), list(SIZES.values()))
    batch = Batch({n: torch.from_numpy(view) for n, view in views.items()})
    for given in PATTERNS:
        inside = np.isin(place, [list(SIZES).index(n) for n in given])
        x = np.hstack([views[n] - views[n].mean(0) for n in given])
        expected = x @ np.linalg.solve(whole[np.ix_(inside, inside)], whole[np.ix_(inside, ~inside)])
        decoded = model.decode(model.posterior(batch, given).mean)
        found_here = torch.cat([decoded[n].mean - batch.values[n].mean(0) for n in SIZES if n not in given], -1)
        np.testing.assert_allclose(found_here.detach().numpy(), expected, atol=0.02 * expected.std())


def test_a_rare_view_is_learned_from_all_rows_that_have_it():
    """40 of 8,000 rows, of which 3,000 are drawn: not far from least squares on 8,000."""
    views, _ = rows(8000)
    present = torch.ones(8000, 3, dtype=torch.bool)
    present[40:, 2] = False
    data = data_of(views, present=present)
    model = model_of("dense", data)
    start_linearly(model, data)
    batch = Batch({n: torch.from_numpy(view).float() for n, view in views.items()})
    with torch.no_grad():
        found = model.decode(model.posterior(batch, ["a", "b"]).mean)["c"].mean.numpy()
    given = np.hstack([views["a"], views["b"]])
    best = given @ np.linalg.lstsq(given, views["c"], rcond=None)[0]
    assert np.square(found - views["c"])[40:].mean() < 1.6 * np.square(best - views["c"]).mean()


def test_a_view_that_no_row_has_stays_as_it_is():
    views, _ = rows(50)
    present = torch.ones(50, 3, dtype=torch.bool)
    present[:, 2] = False
    data = data_of(views, present=present)
    model = model_of("dense", data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start_linearly(model, data)
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if ".c." in name)
    assert all(value.isfinite().all() for value in after.values())
    assert not torch.equal(after["encoders.a.linear.weight"], before["encoders.a.linear.weight"])


@pytest.mark.parametrize(
    "likelihood", [likelihoods.Laplace(None), likelihoods.StudentT(None), likelihoods.StudentT(None, freedom=10)]
)
def test_every_likelihood_starts_with_the_same_standard_deviation(likelihood):
    sds = []
    for each in (NORMAL, likelihood):
        data = data_of(rows()[0], likelihood=each)
        model = model_of("dense", data)
        start_linearly(model, data)
        sds.append(model.decode(torch.zeros(1, LATENT))["b"].base_dist.stddev.detach())
    torch.testing.assert_close(*sds)


def test_a_scale_starts_finite_whatever_the_units_and_tails():
    views = {n: 1e4 * view for n, view in rows(50)[0].items()}
    for likelihood in (NORMAL, likelihoods.StudentT(None, freedom=1.5)):
        data = data_of(views, likelihood=likelihood)
        model = model_of("dense", data)
        start_linearly(model, data)
        assert all(value.isfinite().all() for value in model.state_dict().values())


def test_levels_of_a_covariate_are_left_to_decoders():
    """Codes of a shift that is the batch alone know nothing of it, and decoders add it."""
    views, _ = rows(400)
    batch = np.random.default_rng(1).integers(0, 2, 400)
    shifted = {n: view + 3.0 * batch[:, None] for n, view in views.items()}
    levels = Levels(Covariate("batch", ("0", "1"), (0.5, 0.5)), torch.from_numpy(batch))
    data = data_of(shifted, levels)
    model = model_of("dense", data)
    start_linearly(model, data)
    whole = data.batch(slice(None))
    codes = model.posterior(whole).mean.detach().numpy()
    gap = np.abs(codes[batch == 1].mean(0) - codes[batch == 0].mean(0))
    assert (gap < 0.01).all()
    decoded = model.decode(torch.cat([torch.from_numpy(codes), whole.level], -1))["a"].mean.detach().numpy()
    assert decoded[batch == 1].mean() - decoded[batch == 0].mean() == pytest.approx(3.0, abs=0.2)


def test_other_networks_stay_as_they_are():
    views, _ = rows(50)
    data = data_of(views)
    blueprint = Blueprint(data.modalities, subsets.mvae(tuple(SIZES)), LATENT, dict.fromkeys(SIZES, "mlp"))
    model = models.build(blueprint)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start_linearly(model, data)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_more_views_than_a_table_of_all_subsets_holds_start_linearly():
    names, z = [f"v{i}" for i in range(17)], np.random.default_rng(0).normal(size=60)
    values = {name: torch.tensor(z * (i + 1)).float()[:, None] for i, name in enumerate(names)}
    modalities = tuple(Modality(name, (1,), NORMAL) for name in names)
    data = MultimodalDataset.complete("arrays", modalities, values)
    model = models.build(Blueprint(modalities, subsets.mopoe(names), 1, dict.fromkeys(names, "linear_mlp")))
    start_linearly(model, data)
    codes = linear_part(model).posterior(data.batch(slice(None)), ("v0",)).mean.detach()[:, 0]
    assert abs(np.corrcoef(codes, z)[0, 1]) == pytest.approx(1)
