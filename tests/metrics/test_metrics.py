"""Metrics against hand-computed values, outside formulas and invariances."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.distributions import Independent, Laplace
from torchmetrics.image.fid import _compute_fid

from polyvae import likelihoods, metrics, networks, objectives, subsets
from polyvae.dataset import MultimodalDataset, chosen_rows
from polyvae.errors import InputError, RunError
from polyvae.judges.extractors import prepared
from polyvae.methods.mvae_plus_random import elbo_with_random_subsets
from polyvae.metrics import Evaluation, Judge, coherence, frechet, frechet_distance
from polyvae.metrics.bootstrap import interval_of_mean
from polyvae.metrics.coherence import fleiss_kappa
from polyvae.metrics.moments import moments, pooled
from polyvae.modality import Modality
from polyvae.models.vae import MultimodalVAE
from polyvae.noise import RowNoise
from polyvae.pictures.grids import example_rows, write_grids
from polyvae.pictures.pages import arrange

NAMES = ("m0", "m1", "m2")
ROWS = 40
SHAPE = (3, 28, 28)
STEP = 20  # a digit is painted as brightness 20 x digit / 255 of the first pixel


class ReadsPaint(nn.Module):
    """Reads a painted digit exactly; features are 12 block means."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        digit = (images[:, 0, 0, 0] * 255 / STEP).round().long().clamp(max=9)
        return 50 * nn.functional.one_hot(digit, 10).float(), nn.functional.avg_pool2d(images, 14).flatten(1)


class Painter:
    """A model with private codes per target, no joint posterior and no S.

    It reads the digit of the first given modality, and paints it over private noise in every target. Prior sample
    `row` shows digit row % 10, except m1 in every fourth row.
    """

    def __init__(self) -> None:
        self.names = NAMES
        self.modalities = tuple(Modality(name, SHAPE, likelihoods.Laplace()) for name in NAMES)

    def prior_codes(self, count, generator):
        rows = torch.tensor(generator.rows)
        return {name: torch.stack([self.prior_digit(name, rows), self.private(generator, name)], -1) for name in NAMES}

    def posterior_codes(self, batch, given, targets, generator):
        digit = (batch.values[given[0]][:, 0, 0, 0] * 255 / STEP).round()
        return {name: torch.stack([digit, self.private(generator, name)], -1) for name in targets}

    def decode(self, codes):
        return {name: Independent(Laplace(paint(code[:, 0], code[:, 1]), 0.75), 3) for name, code in codes.items()}

    @staticmethod
    def prior_digit(name: str, rows: Tensor) -> Tensor:
        wrong = (rows % 4 == 0) if name == "m1" else torch.zeros_like(rows).bool()
        return ((rows + wrong) % 10).float()

    @staticmethod
    def private(generator: RowNoise, name: str) -> Tensor:
        own = replace(generator, purpose=f"{generator.purpose}/{name}")
        return torch.tensor([stream.standard_normal() for stream in own.streams("normal")]).float()


class MixturePainter(Painter):
    """The same as a mixture of experts: it refuses to encode more than one modality at once."""

    mixture = subsets.mmvae(NAMES)

    def posterior_codes(self, batch, given, targets, generator):
        assert len(given) == 1
        return super().posterior_codes(batch, given, targets, generator)


def paint(digit: Tensor, shade: Tensor) -> Tensor:
    images = torch.sigmoid(shade)[:, None, None, None].repeat(1, *SHAPE) * torch.linspace(0, 1, 28)
    images[:, 0, 0, 0] = digit * STEP / 255
    return images


def painted(present: Tensor | None = None) -> MultimodalDataset:
    """m0 shows the label, m1 in the first 30 of 40 rows, m2 in the first 20; otherwise the next digit."""
    label = torch.arange(ROWS) % 7
    rng = torch.Generator().manual_seed(1)
    values = {}
    for name, right in zip(NAMES, (40, 30, 20), strict=True):
        shown = torch.where(torch.arange(ROWS) < right, label, label + 1)
        values[name] = (paint(shown, torch.randn(ROWS, generator=rng)) * 255).round().to(torch.uint8)
    present = torch.ones(ROWS, 3, dtype=torch.bool) if present is None else present
    return MultimodalDataset("painted", Painter().modalities, values, present, label)


JUDGE = Judge(dict.fromkeys(NAMES, ReadsPaint()), tuple(range(10)), "digits", "1", "none", dict.fromkeys(NAMES, 1.0))
ACCURACY = {"m0": 1.0, "m1": 0.75, "m2": 0.5}


def vae(mixture: subsets.SubsetMixture, seed: int = 0) -> MultimodalVAE:
    torch.manual_seed(seed)
    modalities = Painter().modalities
    built = {m.name: networks.build("mlp", m, 4) for m in modalities}
    for _, decoder in built.values():
        decoder[-2].bias.data += torch.rand(decoder[-2].bias.shape)
    return MultimodalVAE(modalities, built, mixture, 4)


# ---------------------------------------------------------------- Frechet distance


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
    with pytest.raises(InputError, match="Frechet"):
        frechet_distance(bad, np.zeros((5, 4)))


def test_frechet_distance_refuses_unequal_dimensions():
    with pytest.raises(InputError, match="dimension 3 and 4"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))


@for_all(st.lists(st.integers(2, 20), min_size=1, max_size=4), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_pooled_moments_are_those_of_the_pooled_sample(sizes, seed):
    rng = np.random.default_rng(seed)
    samples = [rng.normal(size=(size, 3)) + rng.normal(size=3) for size in sizes]
    mixed = pooled([(moments(sample), len(sample) / sum(sizes)) for sample in samples])
    together = np.concatenate(samples)
    assert mixed.count == len(together)
    np.testing.assert_allclose(mixed.mean, together.mean(0), atol=1e-12)
    np.testing.assert_allclose(mixed.covariance, np.cov(together, rowvar=False), atol=1e-12)


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


def features_of(model: Painter, given: tuple[str, ...]) -> np.ndarray:
    rows = tuple(range(ROWS))
    codes = model.posterior_codes(painted().batch(rows), given, ("m0",), RowNoise(0, "conditional", rows))
    return JUDGE.read("m0", prepared(model.decode(codes)["m0"].mean))[0].numpy()


# ---------------------------------------------------------------- coherence


def test_coherence_of_a_model_that_copies_its_first_input():
    found = coherence(Painter(), painted(), JUDGE)
    for given, target in (("m0", "m1"), ("m1", "m0"), ("m2", "m0"), ("m0+m1", "m2"), ("m1+m2", "m0")):
        assert found[f"coherence/conditional/{given}/{target}"] == ACCURACY[given[:2]]
    assert found["coherence/by_inputs/1"] == pytest.approx((1 + 0.75 + 0.5) / 3)
    assert found["coherence/by_inputs/2"] == found["coherence/leave_one_out"] == pytest.approx((0.75 + 1 + 1) / 3)
    assert [found[f"coherence/self/{name}"] for name in NAMES] == [1, 0.75, 0.5]
    assert [found[f"coherence/ceiling/{name}"] for name in NAMES] == [1, 0.75, 0.5]
    assert found["coherence/joint"] == 0.75
    votes = np.stack([Painter.prior_digit(name, torch.arange(ROWS)).numpy() for name in NAMES], -1).astype(int)
    assert found["coherence/joint_kappa"] == pytest.approx(kappa_by_definition(votes))
    shares = np.bincount(votes.ravel()) / votes.size
    assert found["coherence/joint_entropy"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert found["coherence/joint_confidence"] == pytest.approx(1)
    assert found["coherence/real_confidence"] == pytest.approx(1)
    assert found["coherence/joint_low"] < 0.75 < found["coherence/joint_high"]
    assert found["coherence/leave_one_out_low"] < 2.75 / 3 < found["coherence/leave_one_out_high"]
    assert not {key for key in found if "conditional" in key and key.split("/")[3] in key.split("/")[2]}


def test_coherence_is_linear_in_a_mixture():
    found = coherence(MixturePainter(), painted(), JUDGE)
    for given, target in (("m1+m2", "m0"), ("m0+m2", "m1"), ("m0+m1", "m2")):
        expected = np.mean([ACCURACY[source] for source in given.split("+")])
        assert found[f"coherence/conditional/{given}/{target}"] == expected
    assert found["coherence/leave_one_out"] == found["coherence/by_inputs/1"] == 0.75


def test_coherence_scores_only_rows_that_have_all_of_given():
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[:10, 2] = False  # m2 is right in 10 of its 30 rows
    present[30:, 1] = False  # m1 is right in all of its 30 rows
    found = coherence(Painter(), painted(present), JUDGE)
    assert found["coherence/conditional/m2/m0"] == pytest.approx(10 / 30)
    assert found["coherence/conditional/m1/m0"] == 1
    assert found["coherence/ceiling/m2"] == pytest.approx(10 / 30)
    mixed = coherence(MixturePainter(), painted(present), JUDGE)
    assert mixed["coherence/conditional/m1+m2/m0"] == pytest.approx((1 + 10 / 20) / 2)  # rows 10 to 29


def test_coherence_leaves_out_what_no_row_allows():
    present = torch.zeros(ROWS, 3, dtype=torch.bool)
    present[:20, 0] = present[20:, 1] = present[:, 2] = True
    found = coherence(Painter(), painted(present), JUDGE)
    assert "coherence/conditional/m0+m1/m2" not in found
    assert found["coherence/conditional/m0+m2/m1"] == 1
    assert all(np.isfinite(value) for value in found.values())


def test_coherence_of_one_modality_compares_nothing():
    model = vae(subsets.mopoe(NAMES))
    alone = MultimodalVAE(
        model.modalities[:1], {"m0": (model.encoders["m0"], model.decoders["m0"])}, subsets.mvae(["m0"]), 4
    )
    found = coherence(alone, painted().select(["m0"]), JUDGE)
    assert set(found) == {
        f"coherence/{key}" for key in ("self/m0", "ceiling/m0", "joint_entropy", "joint_confidence", "real_confidence")
    }


def test_coherence_needs_labels():
    with pytest.raises(InputError, match="coherence needs labels"):
        coherence(Painter(), replace(painted(), labels=None), JUDGE)


def kappa_by_definition(votes: np.ndarray) -> float:
    rows, raters = votes.shape
    pairs = [(i, j) for i in range(raters) for j in range(raters) if i != j]
    observed = np.mean([np.mean([votes[r, i] == votes[r, j] for i, j in pairs]) for r in range(rows)])
    by_chance = sum((votes == c).mean() ** 2 for c in np.unique(votes))
    return (observed - by_chance) / (1 - by_chance)


@for_all(st.integers(2, 12), st.integers(2, 5), st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_fleiss_kappa_follows_its_definition(rows, raters, seed):
    votes = np.random.default_rng(seed).integers(0, 4, (rows, raters))
    votes[0, :2] = 0, 1
    assert fleiss_kappa(votes) == pytest.approx(kappa_by_definition(votes))


def test_fleiss_kappa_of_a_published_table():
    """The worked example of the Wikipedia article on Fleiss' kappa: 14 raters, 10 subjects, kappa .210."""
    table = """0 0 0 0 14/0 2 6 4 2/0 0 3 5 6/0 3 9 2 0/2 2 8 1 1/7 7 0 0 0/3 2 6 3 0/2 5 3 2 2/6 5 2 1 0/0 2 2 3 7"""
    votes = [np.repeat(np.arange(5), [int(n) for n in row.split()]) for row in table.split("/")]
    assert fleiss_kappa(np.stack(votes)) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_is_no_reward_for_blank_images():
    assert fleiss_kappa(np.full((50, 3), 8)) == 0
    assert fleiss_kappa(np.random.default_rng(0).integers(0, 10, (20_000, 3))) == pytest.approx(0, abs=0.01)


def test_interval_of_a_share_agrees_with_its_standard_error():
    scores = (np.arange(400) % 2).astype(float)[:, None]
    low, high = interval_of_mean(scores, seed=0)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / 20, rel=0.1)
    gaps = np.where(np.arange(400)[:, None] < 300, scores, np.nan)
    low, high = interval_of_mean(np.concatenate([gaps, gaps], -1), seed=0)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(300), rel=0.1)


# ---------------------------------------------------------------- bound


@pytest.mark.parametrize("mixture", [subsets.mopoe(NAMES), subsets.mmvae(NAMES), subsets.mvae_plus(NAMES)])
def test_bound_is_the_objective_on_the_test_set(mixture):
    model, data = vae(mixture), painted()
    found = metrics.bound(model, data, beta=0.7, seed=3, batch_size=11)
    whole = RowNoise(3, "bound", tuple(range(ROWS)))
    batch = data.batch(range(ROWS))
    with torch.no_grad():
        expected = objectives.elbo(model, batch, mixture, beta=0.7, allocation="exact", generator=whole)
    assert found["bound/loss"] == pytest.approx(float(expected.loss), rel=1e-5)
    assert found["bound/loss"] == pytest.approx(found["bound/distortion"] + 0.7 * found["bound/rate"], rel=1e-5)
    reconstruction = sum(found[f"bound/log_likelihood/{name}"] for name in NAMES)
    assert reconstruction == pytest.approx(-found["bound/distortion"], rel=1e-5)


def test_a_bound_over_many_subsets_draws_one_a_row():
    few = subsets.custom([(("m0",), 0.5), (NAMES, 0.5)], NAMES)
    many = subsets.custom([(term.given, 1 / 70) for term in few.terms for _ in range(35)], NAMES)
    data, exact = painted(), metrics.bound(vae(few), painted())
    drawn = [metrics.bound(vae(many), data, seed=seed, batch_size=13)["bound/rate"] for seed in range(40)]
    error = np.std(drawn) / np.sqrt(40)
    assert error > 0
    assert np.mean(drawn) == pytest.approx(exact["bound/rate"], abs=4 * error)
    assert metrics.bound(vae(many), data, seed=5, batch_size=ROWS)["bound/rate"] == pytest.approx(drawn[5], rel=1e-5)


# ---------------------------------------------------------------- the run's own objective


def minimised(model, function, **options):
    return lambda batch, noise: function(model, batch, model.mixture, generator=noise, **options)


def test_the_objective_of_an_elbo_run_is_its_bound_where_all_terms_are_decoded():
    model, data = vae(subsets.mmvae(NAMES)), painted()
    exact = minimised(model, objectives.elbo, beta=0.7, allocation="exact")
    losses = [metrics.objective(model, data, exact, seed=seed)["objective/loss"] for seed in range(20)]
    bounds = [metrics.bound(model, data, beta=0.7, seed=seed)["bound/loss"] for seed in range(20)]
    assert np.mean(losses) == pytest.approx(np.mean(bounds), abs=4 * (np.std(losses) + np.std(bounds)) / np.sqrt(20))


@pytest.mark.parametrize("name", ["iwae", "dreg_looser", "dreg_looser_official"])
@pytest.mark.parametrize("allocation", ["exact", "systematic"])
def test_the_objective_of_importance_weighted_runs_is_tighter_and_belongs_to_rows(name, allocation):
    model, data = vae(subsets.mmvae(NAMES)), painted()
    options = {"samples": 6, "allocation": allocation}
    function = minimised(model, objectives.objective_named(name).function, **options)
    loss = metrics.objective(model, data, function, seed=1)["objective/loss"]
    assert metrics.objective(model, data, function, seed=1, batch_size=7)["objective/loss"] == pytest.approx(loss)
    loose = minimised(model, objectives.elbo, allocation=allocation)
    assert loss < metrics.objective(model, data, loose, seed=1)["objective/loss"]


def test_samples_of_a_row_come_from_terms_of_their_own():
    """Noise by row draws a term for each of K samples, as a generator does: the tight bound is no looser for it."""
    model, data = vae(subsets.mmvae(NAMES)), painted()
    data = data.rows(torch.arange(ROWS).repeat(10))
    function = minimised(model, objectives.iwae, samples=3)
    by_row = [metrics.objective(model, data, function, seed=seed)["objective/loss"] for seed in range(6)]
    batch = data.batch(range(len(data)))
    with torch.no_grad():
        streamed = [float(function(batch, torch.Generator().manual_seed(seed)).loss) for seed in range(6)]
    error = (np.std(by_row) + np.std(streamed)) / np.sqrt(6)
    assert np.mean(by_row) == pytest.approx(np.mean(streamed), abs=4 * error)


def test_an_objective_that_draws_for_the_whole_batch_is_reproducible_too():
    model, data = vae(subsets.mvae_plus(NAMES)), painted()
    function = minimised(model, elbo_with_random_subsets, allocation="exact")
    torch.manual_seed(1)
    first = metrics.objective(model, data, function)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert metrics.objective(model, data, function) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_the_objective_is_scored_in_eval_mode_without_gradients():
    model, data, seen = vae(subsets.mopoe(NAMES)).train(), painted(), []

    def function(batch, noise):
        seen.append((model.training, torch.is_grad_enabled()))
        return objectives.elbo(model, batch, model.mixture, generator=noise)

    found, notes = metrics.evaluate(model, Evaluation(data, data, objective=function), ["objective"])
    assert set(found) == {"objective/loss"}
    assert notes == {}
    assert seen == [(False, False)]
    assert model.training
    _, notes = metrics.evaluate(model, Evaluation(data, data), ["objective"])
    assert notes == {"objective": "no objective was given"}


# ---------------------------------------------------------------- invariance and the common door


@pytest.mark.parametrize("mixture", [subsets.mopoe(NAMES), subsets.mmvae(NAMES)])
def test_no_metric_depends_on_batch_size_or_row_order(mixture):
    model, data, rows = vae(mixture), painted(), list(range(ROWS))
    for measure in (
        lambda **how: coherence(model, data, JUDGE, seed=1, **how),
        lambda **how: frechet(model, data, data, JUDGE, seed=1, **how),
        lambda **how: metrics.bound(model, data, seed=1, **how),
    ):
        reference = measure(rows=rows, batch_size=ROWS)
        for other in (measure(rows=rows, batch_size=7), measure(rows=rows[::-1], batch_size=9)):
            kept = {key for key in reference if not key.endswith(("_low", "_high"))}
            assert {k: other[k] for k in kept} == pytest.approx({k: reference[k] for k in kept}, rel=1e-5, abs=1e-5)


def test_metrics_leave_gradients_and_mode_of_a_model_alone():
    model = vae(subsets.mopoe(NAMES)).train()
    model.encoders["m0"].append(nn.Identity())
    coherence(model, painted(), JUDGE)
    assert model.training
    assert model.encoders["m0"].training
    assert torch.is_grad_enabled()


def test_a_model_with_private_codes_and_no_joint_posterior_passes_every_metric():
    evaluation = Evaluation(painted(), painted(), JUDGE)
    found, notes = metrics.evaluate(Painter(), evaluation, metrics.METRICS)
    joint = {"bound", "linear_probe", "log_likelihood", "latent", "legacy_likelihood"}
    not_at_hand = {
        "objective",
        "imputation",
        "captions",
        "label_free",
        "ood",
        "frechet_limit",
        "frechet_effnet",
        "frechet_inception",
    }
    assert set(notes) == joint | not_at_hand
    assert found.items() >= coherence(Painter(), painted(), JUDGE).items()
    assert found.items() >= frechet(Painter(), painted(), painted(), JUDGE).items()


def test_a_mixture_with_private_codes_has_no_joint_posterior():
    """S alone does not make a model joint: what needs one z says so, all else is scored."""
    found, notes = metrics.evaluate(MixturePainter(), Evaluation(painted(), painted(), JUDGE), metrics.METRICS)
    for name in ("bound", "linear_probe", "log_likelihood", "latent", "legacy_likelihood"):
        assert "no joint posterior" in notes[name]
    assert found.items() >= coherence(MixturePainter(), painted(), JUDGE).items()


def test_a_judge_that_errs_withholds_coherence_and_says_why():
    doubtful = replace(JUDGE, accuracy={"m0": 0.97, "m1": 0.8, "m2": 0.9})
    found, notes = metrics.evaluate(Painter(), Evaluation(painted(), painted(), doubtful), ["coherence"])
    assert found == {}
    assert "89.0%" in notes["coherence"]
    assert "m1 80.0%" in notes["coherence"]
    assert replace(JUDGE, accuracy={"m0": 0.97, "m1": 0.84}).doubt is None


def test_without_a_judge_what_needs_one_is_noted():
    model = vae(subsets.mopoe(NAMES))
    found, notes = metrics.evaluate(model, Evaluation(painted(), painted()), metrics.METRICS)
    of_judge = {name for name, metric in metrics.METRICS.items() if metric.needs == "judge"}
    assert set(notes) >= of_judge >= {"coherence", "frechet"}
    assert found.items() >= metrics.bound(model, painted()).items()


def test_an_unknown_metric_is_refused():
    with pytest.raises(InputError, match="'fid'"):
        metrics.evaluate(Painter(), Evaluation(painted(), painted()), ["fid"])


def test_chosen_rows_are_a_fair_choice():
    rows = chosen_rows(40, 10, seed=0)
    assert rows == sorted(set(rows))
    assert len(rows) == 10
    often = np.bincount(np.concatenate([chosen_rows(40, 10, seed) for seed in range(400)]), minlength=40)
    assert scipy.stats.chisquare(often).pvalue > 1e-3


def test_images_are_read_as_a_picture_file_holds_them():
    pixels = torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 100.4 / 255, 1.0, 2.0])
    assert (prepared(pixels) * 255).tolist() == pytest.approx([0, 0, 0, 1, 100, 255, 255])
    stored = torch.arange(256, dtype=torch.uint8).float() / 255
    assert torch.equal(prepared(stored), stored)
    with pytest.raises(RunError, match="not finite"):
        prepared(torch.tensor([torch.nan]))


def test_model_and_data_must_agree():
    with pytest.raises(InputError, match="m0, m1, m2, the data m0, m1"):
        coherence(Painter(), painted().select(["m0", "m1"]), JUDGE)


# ---------------------------------------------------------------- grids


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


def test_grids_show_inputs_above_what_is_drawn_from_them(tmp_path):
    data = painted()
    paths = write_grids(Painter(), data, tmp_path, columns=5)
    pairs = [f"conditional_{a}_{b}.png" for a in NAMES for b in NAMES if a != b]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["reconstruction.png", "unconditional.png", *pairs])
    assert {p.name for p in paths} == {p.name for p in tmp_path.iterdir()}
    rows = example_rows(data, 5)
    assert data.labels[rows].tolist() == [0, 1, 2, 3, 4]
    pixels = np.asarray(Image.open(tmp_path / "conditional_m0_m1.png"))[::2, ::2]
    for column, row in enumerate(rows):
        left = 1 + 29 * column
        np.testing.assert_array_equal(pixels[1:29, left : left + 28], data.values["m0"][row].permute(1, 2, 0))
        for draw in range(10):  # the painter copies the digit of m0, which is the label
            assert pixels[1 + 29 + 4 + 29 * draw, left, 0] == STEP * data.labels[row]


def test_example_rows_have_nothing_missing():
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[:7, 0] = False
    assert example_rows(painted(present), 9) == [*range(7, 14), 14, 15]
    assert example_rows(replace(painted(present), labels=None), 3) == [7, 8, 9]
    present[:, 0] = False
    assert example_rows(painted(present), 3) == []
