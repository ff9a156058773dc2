"""Likelihoods against SciPy and torch.distributions; one contract for all."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import Independent, StudentT

from polyvae import InputError, Modality, RunConfig, likelihoods, run
from polyvae.likelihoods import BinnedLaplace, Form, OfNumbers

PIXELS = torch.arange(256, dtype=torch.float64) / 255


@pytest.mark.parametrize("location", [-3.0, -0.2, 0.0, 0.31, 0.5, 1.0, 1.4, 6.0])
@pytest.mark.parametrize("scale", [0.002, 0.05, 0.75, 5.0])
def test_binned_laplace_is_a_distribution_over_bytes_with_the_mass_of_each_bin(location, scale):
    modality = Modality("x", (256,), BinnedLaplace(scale))
    each = modality.likelihood(torch.full((256, 1), location, dtype=torch.float64), 1).log_prob(PIXELS[:, None])
    assert each.exp().sum().item() == pytest.approx(1, abs=1e-9)
    law = scipy.stats.laplace(location, scale)
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    below, above = law.cdf(edges), law.sf(edges)
    mass = np.where(edges[1:] <= location, np.diff(below), -np.diff(above))
    reliable = mass > 1e-290
    np.testing.assert_allclose(each.numpy()[reliable], np.log(mass[reliable]), rtol=1e-6, atol=1e-6)
    assert each.isfinite().all(), "no byte has probability zero, however far"


def test_binned_laplace_has_the_gradient_of_its_mass():
    location = torch.linspace(-0.5, 1.5, 41, dtype=torch.float64).requires_grad_()
    for pixel in (0.0, 100 / 255, 1.0):
        value = torch.full((41, 1), pixel, dtype=torch.float64)
        score = BinnedLaplace(0.1)(location[:, None], 1).log_prob(value)
        (gradient,) = torch.autograd.grad(score.sum(), location)
        step = 1e-6
        moved = [BinnedLaplace(0.1)((location + d)[:, None], 1).log_prob(value).detach() for d in (step, -step)]
        torch.testing.assert_close(gradient, (moved[0] - moved[1]) / (2 * step), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "oracle"), [("laplace", scipy.stats.laplace), ("normal", scipy.stats.norm)])
def test_densities_agree_with_scipy(kind, oracle):
    generator = torch.Generator().manual_seed(0)
    params, value = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
    found = likelihoods.make(kind, 0.4)(params, 2).log_prob(value)
    np.testing.assert_allclose(found, oracle(params, 0.4).logpdf(value).sum((1, 2)))


def test_learned_scales_are_read_beside_the_locations():
    generator = torch.Generator().manual_seed(0)
    location, log_scale, value = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    found = likelihoods.Normal(None)(torch.stack([location, log_scale], 1), 1).log_prob(value)
    np.testing.assert_allclose(found, scipy.stats.norm(location, log_scale.exp()).logpdf(value).sum(1))


@pytest.mark.parametrize("scale", [0.4, None])
def test_student_t_agrees_with_scipy(scale):
    generator = torch.Generator().manual_seed(0)
    location, log_scale, value = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    params = location if scale else torch.stack([location, log_scale], 1)
    found = likelihoods.StudentT(scale, freedom=3.5)(params, 1).log_prob(value)
    np.testing.assert_allclose(found, scipy.stats.t(3.5, location, scale or log_scale.exp()).logpdf(value).sum(1))
    with pytest.raises(InputError, match="above 1"):
        likelihoods.StudentT(freedom=1.0)


def test_ordinal_classes_have_the_masses_between_their_thresholds():
    """By the definition in double precision; masses far in a tail stay finite, and a shift of z moves mass upwards."""
    params = torch.randn(200, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    location = params[:, 0].mean(-1, keepdim=True).numpy()
    thresholds = (params[:, 1, :-1].exp().cumsum(-1) - 2).numpy()
    below = np.hstack([np.zeros((200, 1)), scipy.special.expit(thresholds - location), np.ones((200, 1))])
    found = likelihoods.Ordinal()(params, 1).log_prob(torch.eye(4)[:, None].double()).exp().T
    np.testing.assert_allclose(found, np.diff(below), atol=1e-12)
    far = torch.tensor([[60.0] * 4, [-3.0] * 4]).requires_grad_()
    score = likelihoods.Ordinal()(far, 1).log_prob(torch.eye(4)[0])
    (gradient,) = torch.autograd.grad(score, far)
    assert score < -50
    assert gradient.isfinite().all()
    assert (gradient[0] < 0).all()


def test_discrete_likelihoods_agree_with_scipy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 3, 5, generator=generator, dtype=torch.float64)
    words = torch.randint(5, (7, 3), generator=generator)
    value = torch.nn.functional.one_hot(words, 5).double()
    log_shares = torch.log_softmax(logits, -1)
    expected = log_shares.gather(-1, words[..., None]).sum((1, 2))
    torch.testing.assert_close(likelihoods.Categorical()(logits, 2).log_prob(value), expected)
    bits = (logits > 0.3).double()
    expected = scipy.stats.bernoulli(torch.sigmoid(logits)).logpmf(bits).sum((1, 2))
    np.testing.assert_allclose(likelihoods.Bernoulli()(logits, 2).log_prob(bits), expected)


@pytest.mark.parametrize("kind", likelihoods.LIKELIHOODS)
def test_every_likelihood_scores_an_example_as_a_whole_and_round_trips(kind):
    likelihood = likelihoods.make(kind, 0.75)
    modality = Modality("x", (2, 3), likelihood)
    generator = torch.Generator().manual_seed(0)
    several = (likelihood.parameters,) * (likelihood.parameters > 1)
    params = torch.randn(4, *several, 2, 3, generator=generator)
    value = torch.nn.functional.one_hot(torch.randint(3, (4, 2), generator=generator), 3).float()
    law = modality.distribution(params)
    scores = law.log_prob(value)
    alone = torch.stack([modality.distribution(params[i : i + 1]).log_prob(value[i : i + 1])[0] for i in range(4)])
    torch.testing.assert_close(scores, alone)
    assert law.mean.shape == value.shape
    assert Modality.from_json(modality.to_json()) == modality
    half = modality.distribution(params.bfloat16()).log_prob(value)
    assert half.dtype == torch.float32, "scores never stay in half precision"


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(InputError, match="scale"):
        likelihoods.Laplace(scale)


def test_unknown_likelihood_lists_the_choices():
    with pytest.raises(InputError, match="laplace_8bit"):
        likelihoods.make("gauss")


def test_draws_of_binned_values_follow_their_probabilities():
    torch.manual_seed(0)
    law = likelihoods.BinnedLaplace(0.02)(torch.full((1, 1), 0.99), 1)
    drawn = law.sample((200_000,)).squeeze()
    levels = torch.arange(256) / 255
    expected = law.log_prob(levels[:, None, None]).exp().squeeze()
    shares = torch.bincount((drawn * 255).round().long(), minlength=256) / len(drawn)
    torch.testing.assert_close(levels[(drawn * 255).round().long()], drawn)
    torch.testing.assert_close(shares, expected, atol=4e-3, rtol=0)


@dataclass(frozen=True)
class Student(OfNumbers):
    """A likelihood of one's own: two parameters per element, no scale to choose, a setting that is saved."""

    freedom: float = 3.0
    parameters = 2
    takes_any_real = True

    def __call__(self, params, event_dims):
        location, log_scale = params.unbind(-event_dims - 1)
        return Independent(StudentT(self.freedom, location, log_scale.exp()), event_dims)


@pytest.fixture
def student():
    yield likelihoods.register("student", Student)
    del likelihoods.LIKELIHOODS["student"]


def test_a_likelihood_of_ones_own_trains_samples_and_is_saved(student, tmp_path):
    config = RunConfig(dataset="toy", modalities=2, likelihood="m0=student", epochs=2, train_size=200, test_size=50)
    result = run(config.with_(network="mlp", latent_dim=3, threads=1, metrics="bound,imputation"), tmp_path)
    assert result.record.resolved.likelihoods["m0"] == {"kind": "student", "freedom": 3.0}
    model = result.load()
    assert model.modalities[0].likelihood == Student()
    assert model.decoders["m0"].log_scale.abs().min() > 0, "the second parameter is trained"
    drawn = model.generate(7, decode="sample")
    assert {name: tuple(value.shape) for name, value in drawn.items()} == {"m0": (7, 4), "m1": (7, 4)}
    assert np.isfinite(result.metrics["bound/loss"])
    with pytest.raises(InputError, match="likelihood of 'm0' has no scale"):
        run(config.with_(likelihood_scale="m0=learned"), tmp_path)


def test_settings_of_a_likelihood_survive_json(student):
    likelihood = Student(freedom=5.0)
    assert likelihoods.from_json(likelihoods.to_json(likelihood)) == likelihood
    with pytest.raises(InputError, match="there is a likelihood 'student' already"):
        likelihoods.register("student", Student)
    with pytest.raises(InputError, match="'cauchy' must be a frozen dataclass"):
        likelihoods.register("cauchy", OfNumbers)


def test_a_likelihood_without_a_name_cannot_be_saved():
    with pytest.raises(InputError, match=r"say likelihoods.register\(NAME, Student\)"):
        likelihoods.to_json(Student())


BYTES, UNIT, REAL = torch.zeros(2, 3, dtype=torch.uint8), torch.full((2, 3), 0.5), torch.tensor([[0.0, 2, -1]])
HOT = torch.eye(3)
ANY_REAL, COUNTS = {"laplace", "normal", "student_t"}, {"poisson", "negative_binomial", "zinb"}


@pytest.mark.parametrize(
    ("seen", "form", "fitting"),
    [
        (BYTES, Form(is_image=True), {*ANY_REAL, "laplace_8bit", "bernoulli"}),
        (UNIT, Form(is_image=True), {*ANY_REAL, "bernoulli"}),
        (REAL, Form(is_image=True), set()),
        (REAL, Form(), ANY_REAL),
        (UNIT, Form(), {*ANY_REAL, "bernoulli"}),
        (HOT, Form(), {*ANY_REAL, *COUNTS, "bernoulli", "categorical", "ordinal"}),
        (HOT, Form(is_standardised=True), ANY_REAL),
        (torch.tensor([[0.0, 7, 2]]), Form(), {*ANY_REAL, *COUNTS}),
        (torch.zeros(2, 5, dtype=torch.int16), Form(is_text=True), {"categorical", "text"}),
    ],
)
def test_likelihoods_say_what_they_can_score(seen, form, fitting):
    reasons = {kind: likelihoods.make(kind).unfit(seen, form) for kind in likelihoods.LIKELIHOODS}
    assert {kind for kind, reason in reasons.items() if reason is None} == fitting
