"""Importance-weighted objectives against closed forms, quasi-Monte Carlo expectations and torch.distributions."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import norm, qmc
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from polyvae import Batch, InputError, Modality, MultimodalVAE, likelihoods, networks, noise, objectives, subsets
from polyvae.gaussian import Gaussian, product_of_experts
from polyvae.objectives import OBJECTIVES
from polyvae.objectives.weighting import _grid
from polyvae.posteriors import Family
from polyvae.priors import StandardNormal
from polyvae.subsets import Term
from support.slow import slow_unless

DRAWING = [name for name, objective in OBJECTIVES.items() if objective.draws]
LARGE = 2**18
X = {"a": 0.7, "b": -1.0}


class Line:
    """z ~ N(0, 1), x_m = slope_m z + sd noise; experts N(shift_m + gain_m x_m, exp(logvar_m)), by parameters."""

    def __init__(
        self, names: tuple[str, ...] = ("a", "b"), *, exact: bool = False, offset: float = 0.0, apart: float = 0.0
    ) -> None:
        self.names, self.sd, self.prior = names, 0.8, StandardNormal(1)
        self.slope = {"a": 1.0, "b": 0.6}
        precision = {n: (self.slope[n] / self.sd) ** 2 + 1.0 for n in names}
        gain = {n: self.slope[n] / self.sd**2 / precision[n] for n in names}
        start = {n: (gain[n], 0.0, -math.log(precision[n])) for n in names}
        if not exact:  # overlapping, and wrong in mean and width
            start = {"a": (0.9, 0.2 + apart, -0.6), "b": (0.4, -0.3 - apart, 0.1)}
        self.encoder = torch.tensor([[v + offset for v in start[n]] for n in names], dtype=torch.float64)
        self.encoder.requires_grad_()
        self.decoder = torch.tensor([self.slope[n] for n in names], dtype=torch.float64, requires_grad=True)

    def encode(self, batch: Batch, wanted=None) -> Gaussian:
        rows = zip(batch.values.values(), self.encoder, strict=True)
        mean = torch.stack([e[1] + e[0] * x for x, e in rows])
        return Gaussian(mean, self.encoder[:, 2, None, None].expand_as(mean))

    def decode(self, codes: dict[str, Tensor]) -> dict[str, Independent]:
        slopes = dict(zip(self.names, self.decoder, strict=True))
        return {n: Independent(Normal(slopes[n] * z, self.sd), 1) for n, z in codes.items()}

    def log_evidence(self) -> float:
        w = torch.tensor([self.slope[n] for n in self.names])
        x = torch.tensor([X[n] for n in self.names])
        covariance = torch.outer(w, w) + self.sd**2 * torch.eye(len(w))
        return torch.distributions.MultivariateNormal(torch.zeros(len(w)), covariance).log_prob(x).item()

    def batch(self, rows: int) -> Batch:
        return Batch({n: torch.full((rows, 1), X[n], dtype=torch.float64) for n in self.names})


@pytest.fixture
def sobol(monkeypatch):
    """Each row of a batch is one quasi-random point of the noise of all its samples: means over rows are integrals."""

    def points(source, rows, width, like):
        uniform = qmc.Sobol(width, seed=1).random(rows)
        return torch.from_numpy(norm.ppf(np.clip(uniform, 1e-12, 1 - 1e-12))).to(like)

    monkeypatch.setattr(noise, "normal", points)


def value(name: str, toy: Line, mixture: subsets.SubsetMixture, rows: int = 2**14, **how: object) -> float:
    how = {"allocation": "exact", **({"chunk": LARGE} if OBJECTIVES[name].draws else {}), **how}
    with torch.no_grad():
        return -OBJECTIVES[name].function(toy, toy.batch(rows), mixture, **how).loss.item()


def gradient(name: str, toy: Line, mixture: subsets.SubsetMixture, rows: int = 2**14, **how: object) -> Tensor:
    loss = (
        OBJECTIVES[name].function(toy, toy.batch(rows), mixture, **{"allocation": "exact", "chunk": 2**18, **how}).loss
    )
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, (toy.encoder, toy.decoder))])


WEIGHTED = subsets.custom([(("a",), 0.5), (("a", "b"), 0.2), (("b",), 0.3)])
MIXTURES = [subsets.mmvae(("a", "b")), subsets.mopoe(("a", "b")), WEIGHTED]


@pytest.mark.parametrize("mixture", MIXTURES)
def test_bounds_are_ordered(mixture, sobol):
    toy, slack = Line(), 2e-3
    plain, tight = value("elbo", toy, mixture), value("elbo_tight", toy, mixture)
    looser = [value("iwae_looser", toy, mixture, samples=k) for k in (1, 2, 5)]
    pooled = [value("iwae", toy, mixture, samples=k) for k in (1, 2, 5)]
    entropy = -(mixture.weights * mixture.weights.log()).sum().item()
    assert plain + 0.05 < tight < plain + entropy + slack
    assert looser[0] == pytest.approx(tight, abs=slack)
    assert looser[0] < looser[1] < looser[2]
    assert pooled[0] < pooled[1] < pooled[2] < toy.log_evidence() + slack
    assert all(a < b for a, b in zip(looser, pooled, strict=True))


def test_only_the_pooled_bound_reaches_the_evidence(sobol):
    toy, mixture = Line(apart=0.6), subsets.mmvae(("a", "b"))
    many = {name: value(name, toy, mixture, rows=2**12, samples=400) for name in ("iwae", "iwae_looser")}
    assert many["iwae"] == pytest.approx(toy.log_evidence(), abs=2e-3)
    # each subset for itself: sum_A w_A log E_A[p(x, z) / posterior_S(z)], by quadrature
    z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    laws = [Normal(m, s) for m, s in zip(*_experts(toy), strict=True)]
    density = torch.stack([law.log_prob(z) for law in laws]).logsumexp(0) - math.log(2)
    joint = Normal(0, 1).log_prob(z) + sum(Normal(toy.slope[n] * z, toy.sd).log_prob(torch.tensor(X[n])) for n in "ab")
    limits = [((law.log_prob(z) + joint - density).logsumexp(0) + math.log(24 / 20_000)).item() for law in laws]
    assert many["iwae_looser"] == pytest.approx(sum(limits) / 2, abs=5e-3)
    assert sum(limits) / 2 < toy.log_evidence() - 0.01


def _experts(toy: Line) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        law = toy.encode(toy.batch(1))
    return law.mean.flatten(), (0.5 * law.logvar).exp().flatten()


@pytest.mark.parametrize("allocation", ["exact", "systematic"])
def test_the_looser_bound_of_one_sample_is_the_tight_elbo_on_the_same_samples(allocation):
    toy = Line()
    found = [
        gradient(name, toy, WEIGHTED, 50, allocation=allocation, generator=torch.Generator().manual_seed(3))
        for name in ("elbo_tight", "iwae_looser")
    ]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["iwae", "iwae_looser", "elbo_tight"])
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_loss_and_gradient_are_those_of_the_formula_written_out(name, beta):
    """Against torch.distributions' mixture density and plain autograd; also weights of modalities."""
    toy, rows, samples, weights = Line(), 4, 3, torch.tensor([2.0, 0.5], dtype=torch.float64)
    terms = product_of_experts(toy.encode(toy.batch(rows)), WEIGHTED.matrix[:, None], False)
    standard = torch.randn(rows, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    laws = Independent(Normal(terms.mean, (0.5 * terms.logvar).exp()), 1)
    z = laws.mean.repeat_interleave(samples, 0) + standard.T[..., None] * laws.stddev.repeat_interleave(samples, 0)
    by_row = Independent(Normal(laws.mean.movedim(0, 1), laws.stddev.movedim(0, 1)), 1)
    mixed = MixtureSameFamily(Categorical(WEIGHTED.weights.expand(rows, 3)), by_row)
    likelihood = sum(
        w * toy.decode({n: z})[n].log_prob(toy.batch(rows).values[n]) for n, w in zip("ab", weights, strict=True)
    )
    log_weight = (likelihood + beta * (Normal(0, 1).log_prob(z).sum(-1) - mixed.log_prob(z))).view(3, samples, rows)
    omega = WEIGHTED.weights[:, None]
    expected = {
        "iwae": lambda: (log_weight.exp().mean(1) * omega).sum(0).log(),
        "iwae_looser": lambda: (log_weight.exp().mean(1).log() * omega).sum(0),
        "elbo_tight": lambda: (log_weight.mean(1) * omega).sum(0),
    }[name]()
    how = {"samples": samples, "beta": beta, "allocation": "exact", "weights": weights}
    found = (
        OBJECTIVES[name]
        .function(toy, toy.batch(rows), WEIGHTED, generator=torch.Generator().manual_seed(0), **how)
        .loss
    )
    torch.testing.assert_close(found, -expected.mean())
    parameters = (toy.encoder, toy.decoder)
    for ours, theirs in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(-expected.mean(), parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_samples_of_a_row_come_from_terms_of_their_own_except_in_the_looser_bound():
    """Also with noise by row, which repeats itself unless it is told which draw it is for."""
    for source in (noise.RowNoise(0, "x", tuple(range(40))), torch.Generator().manual_seed(0)):
        own, one = (
            _grid(torch.ones(3, 40) / 3, grouping, 8, "systematic", source).term for grouping in ("all", "term")
        )
        assert (own != own[:, :1]).any(1).float().mean() > 0.9
        assert (one == one[:, :1]).all()


@pytest.mark.parametrize("chunk", [1, 7])
@pytest.mark.parametrize("name", DRAWING)
def test_memory_in_chunks_changes_nothing(name, chunk):
    toy = Line()
    how = {"samples": 3, "beta": 0.7}
    whole, parts = (
        gradient(name, toy, WEIGHTED, 5, generator=torch.Generator().manual_seed(1), chunk=size, **how)
        for size in (64, chunk)
    )
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize("beta", slow_unless(lambda beta: beta != 1.0, [0.4, 1.0, 2.0]))
@pytest.mark.parametrize(
    ("mixture", "pair"),
    [
        (subsets.mvae(("a", "b")), ("iwae", "dreg")),
        (subsets.mmvae(("a", "b")), ("iwae", "dreg")),
        (WEIGHTED, ("iwae_looser", "dreg_looser")),
    ],
)
def test_the_doubly_reparameterised_gradient_has_the_expectation_of_the_plain_one(mixture, pair, beta, sobol):
    """For one proposal and for strata, over all samples and over each subset's, at any beta; encoder and decoder."""
    toy = Line()
    samples = 4 if len(mixture.terms) == 1 else 2
    plain, doubly = (gradient(name, toy, mixture, 2**16, samples=samples, beta=beta) for name in pair)
    torch.testing.assert_close(plain, doubly, rtol=0, atol=4e-3)
    assert plain.abs().max() > 0.05


@pytest.mark.slow
def test_it_also_has_that_expectation_for_subsets_drawn_at_random():
    toy, mixture = Line(), subsets.mmvae(("a", "b"))
    generator = torch.Generator().manual_seed(0)
    for pair in (("iwae", "dreg"), ("iwae_looser", "dreg_looser"), ("iwae", "dreg_multivae")):
        how = {"samples": 3, "allocation": "systematic", "generator": generator}
        drawn = [torch.stack([gradient(name, toy, mixture, 2**12, **how) for _ in range(24)]) for name in pair]
        error = (drawn[0].var(0) / 24 + drawn[1].var(0) / 24).sqrt()
        assert ((drawn[0].mean(0) - drawn[1].mean(0)).abs() < 4.5 * error + 1e-9).all(), pair
        assert error.max() < 0.01


@pytest.mark.parametrize("looser", [True, False])
@pytest.mark.parametrize(("code", "times"), [("official", 0), ("multivae", 2)])
def test_loss_and_gradient_are_those_of_public_code_with_its_hook(code, times, looser):
    """From the formulas. Both minimise -sum w l, with w = softmax(l) and the experts in log q held fixed, and multiply
    gradients by w in a hook: the published code's on a stack of the samples that the loss does not pass through,
    MultiVae's on the samples themselves."""
    toy, rows, samples = Line(apart=0.5), 4, 5
    batch = toy.batch(rows)
    standard = torch.randn(rows, 2 * samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = toy.encode(batch)
    sd = (0.5 * law.logvar).exp()
    z = [
        mean + width * part
        for mean, width, part in zip(law.mean, sd, standard.T.view(2, samples, rows, 1), strict=True)
    ]
    fixed = Normal(law.mean.detach()[:, None], sd.detach()[:, None])

    def log_weight(z: Tensor) -> Tensor:
        log_mixture = fixed.log_prob(z).logsumexp(0) - math.log(2)
        scores = (
            Normal(slope * z, toy.sd).log_prob(batch.values[n]) for n, slope in zip("ab", toy.decoder, strict=True)
        )
        return (sum(scores) + Normal(0, 1).log_prob(z) - log_mixture).squeeze(-1)

    log_weights = torch.stack([log_weight(part) for part in z])
    group, size = (1, samples) if looser else ((0, 1), 2 * samples)
    w = (log_weights - log_weights.logsumexp(group, keepdim=True)).exp().detach()
    fired = []

    def hook(weight: Tensor, gradient: Tensor) -> Tensor:
        fired.append(weight)
        return weight[..., None] * gradient

    for tensor, weight in [(torch.stack(z), w)] if code == "official" else zip(z, w, strict=True):
        tensor.register_hook(partial(hook, weight))
    loss = -(w * log_weights).sum(group).mean()
    name, generator = f"dreg{'_looser' * looser}_{code}", torch.Generator().manual_seed(0)
    how = {"samples": samples, "allocation": "exact", "generator": generator}
    found = OBJECTIVES[name].function(toy, batch, subsets.mmvae(("a", "b")), **how).loss
    entropy = -(w * w.log()).sum(group).mean()
    torch.testing.assert_close(found, loss + math.log(size) - entropy, rtol=1e-5, atol=0)
    parameters = (toy.encoder, toy.decoder)
    for ours, theirs in zip(torch.autograd.grad(found, parameters), torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert len(fired) == times


def test_where_the_gradients_of_public_codes_are_biased(sobol):
    """For encoders; decoders have the gradient of the bound."""
    toy, two, one = Line(apart=1.0), subsets.mmvae(("a", "b")), subsets.mvae(("a", "b"))

    def bias(code: str, mixture: subsets.SubsetMixture, kind: str, samples: int, beta: float = 1.0) -> float:
        names = (f"dreg{kind}_{code}", f"dreg{kind}", f"iwae{kind}")
        public, doubly, plain = (gradient(name, toy, mixture, 2**13, samples=samples, beta=beta) for name in names)
        assert (doubly - plain).abs().max() < 3e-3
        encoder, decoder = (public - plain).abs().split([toy.encoder.numel(), toy.decoder.numel()])
        assert decoder.max() < 1e-6
        return encoder.max().item()

    for code, mixture, beta in itertools.product(("official", "multivae"), (one, two), (1.0, 0.4)):
        assert bias(code, mixture, "_looser", 1, beta) < 3e-3
    assert bias("official", one, "", 2) > 0.1, "two samples are enough"
    assert bias("official", one, "", 4) > 0.3
    assert bias("official", two, "", 1) > 0.1, "two samples, one of each subset"
    assert bias("official", two, "_looser", 4) > 0.3
    assert bias("multivae", one, "", 4) < 3e-3
    assert bias("multivae", one, "", 4, beta=0.4) > 0.05, "w^2 is right only at beta 1"
    assert bias("multivae", two, "_looser", 4) > 0.01
    assert bias("multivae", two, "", 4) > 0.006


@pytest.mark.parametrize("mixture", [subsets.custom([(("a", "b"), 1.0)]), subsets.mmvae(("a", "b"))])
def test_with_many_samples_the_published_gradient_is_that_of_a_divergence_from_the_true_posterior(mixture, sobol):
    """Of KL(true posterior || mixture), by quadrature; that of `iwae` vanishes."""
    toy = Line()
    terms = product_of_experts(toy.encode(toy.batch(1)), mixture.matrix[:, None], False)
    z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    density = Normal(terms.mean.squeeze(-1), (0.5 * terms.logvar).exp().squeeze(-1)).log_prob(z)
    log_mixture = density.logsumexp(0) - math.log(len(density))
    likelihood = sum(Normal(toy.slope[n] * z, toy.sd).log_prob(torch.tensor(X[n])) for n in "ab")
    joint = Normal(0, 1).log_prob(z) + likelihood
    (expected,) = torch.autograd.grad(-(joint.softmax(0) * log_mixture).sum(), toy.encoder)
    official, plain = (
        gradient(name, toy, mixture, 2**8, samples=256)[: toy.encoder.numel()] for name in ("dreg_official", "iwae")
    )
    torch.testing.assert_close(official, expected.flatten(), rtol=0, atol=2e-3)
    assert plain.abs().max() < 5e-3 < 0.1 < expected.abs().max()


@pytest.mark.slow
def test_signal_to_noise_near_the_optimum():
    """Near the exact posterior the doubly reparameterised gradient of the encoder has less noise for its signal,
    and with more samples it gains, where the plain one loses (Rainforth et al. 2018, Tucker et al. 2018)."""
    toy, mixture, runs = Line(("a",), exact=True, offset=0.02), subsets.mmvae(("a",)), 400
    ratios = {}
    for name, samples in itertools.product(("iwae", "dreg"), (4, 64)):
        generator = torch.Generator().manual_seed(0)
        drawn = torch.stack(
            [gradient(name, toy, mixture, 16, samples=samples, generator=generator)[1] for _ in range(runs)]
        )
        resampled = drawn[torch.randint(runs, (200, runs), generator=generator)]
        ratios[name, samples] = (resampled.mean(1).abs() / resampled.std(1)).quantile(
            torch.tensor([0.025, 0.975]).double()
        )
    for samples in (4, 64):
        assert ratios["dreg", samples][0] > ratios["iwae", samples][1]
    assert ratios["dreg", 64][0] > ratios["dreg", 4][1]
    assert ratios["iwae", 64][1] < ratios["iwae", 4][1]


@pytest.mark.parametrize("name", DRAWING)
def test_rows_without_a_modality_are_scored_as_if_it_did_not_exist(name, monkeypatch):
    table = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: table[:rows, :width])
    pair, alone = Line(), Line(("a",))
    alone.encoder.data, alone.decoder.data = pair.encoder.data[:1], pair.decoder.data[:1]
    values = {"a": pair.batch(3).values["a"], "b": torch.full((3, 1), torch.nan, dtype=torch.float64)}
    present = torch.tensor([[True, False]]).expand(3, 2)
    how = {"samples": 3, "allocation": "exact"}
    function = OBJECTIVES[name].function
    both = function(pair, Batch(values, present), subsets.mmvae(("a", "b")), **how)
    single = function(alone, alone.batch(3), subsets.mmvae(("a",)), **how)
    torch.testing.assert_close(both.loss, single.loss)
    torch.testing.assert_close(both.kl, single.kl)
    assert (both.log_likelihood[:, 1] == 0).all()
    there, here = (torch.autograd.grad(bound.loss, toy.encoder)[0] for bound, toy in ((both, pair), (single, alone)))
    torch.testing.assert_close(there[:1], here)
    assert (there[1] == 0).all()


@pytest.mark.parametrize("name", DRAWING)
def test_bad_calls_are_refused(name):
    toy, function = Line(), OBJECTIVES[name].function
    with pytest.raises(InputError, match="samples is 0"):
        function(toy, toy.batch(2), WEIGHTED, samples=0)
    with pytest.raises(InputError, match="predict all"):
        function(toy, toy.batch(2), subsets.mvae_plus(("a", "b")))
    with pytest.raises(InputError, match="beta"):
        function(toy, toy.batch(2), WEIGHTED, beta=-1.0)


class Constant(nn.Module):
    """An encoder that gives the same extreme outputs for every row."""

    def __init__(self, mean: float, spread: float) -> None:
        super().__init__()
        self.outputs = nn.Parameter(torch.tensor([mean, spread]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(value.expand(len(x), 4) for value in self.outputs)


FAMILIES = [Family("normal", "exp"), Family("laplace", "softmax"), Family("laplace", "softplus")]


@pytest.mark.parametrize(
    ("name", "family"),
    slow_unless(
        lambda name, family: family == FAMILIES[0] or name in ("elbo", "dreg"), itertools.product(OBJECTIVES, FAMILIES)
    ),
)
def test_loss_and_gradient_are_finite_for_any_encoder_output_and_beta(name, family):
    modalities = tuple(Modality(n, (3,), likelihoods.Normal(0.5)) for n in "ab")
    batch = Batch({n: torch.zeros(4, 3) for n in "ab"})
    more = {"samples": 2} if OBJECTIVES[name].draws else {}
    for mean in (-1e30, 0.0, 1e6):
        for spread in (-1e30, -100.0, 100.0, 1e30):
            built = {n: (Constant(mean, spread), nn.Linear(4, 3)) for n in "ab"}
            model = MultimodalVAE(modalities, built, subsets.mmvae(("a", "b")), 4, family=family)
            for beta in (1e-4, 1.0, 100.0):
                bound = OBJECTIVES[name].function(model, batch, model.mixture, beta=beta, allocation="exact", **more)
                gradients = torch.autograd.grad(bound.loss, list(model.parameters()))
                assert bound.loss.isfinite(), (mean, spread, beta)
                assert all(g.isfinite().all() for g in gradients), (mean, spread, beta)


@pytest.mark.parametrize(
    ("name", "make"),
    slow_unless(
        lambda name, make: make is subsets.mopoe,
        itertools.product(DRAWING, [subsets.mvae, subsets.mmvae, subsets.mopoe]),
    ),
)
def test_every_objective_trains(name, make):
    torch.manual_seed(0)
    modalities = tuple(Modality(n, (3,), likelihoods.Laplace(0.75)) for n in "ab")
    model = MultimodalVAE(modalities, {m.name: networks.build("mlp", m, 4) for m in modalities}, make(("a", "b")), 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    z = torch.randn(64, 3)
    batch, losses = Batch({n: z + 0.1 * torch.randn(64, 3) for n in "ab"}), []
    for _ in range(40):
        loss = OBJECTIVES[name].function(model, batch, model.mixture, samples=3).loss
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        optimiser.step()
    assert sum(losses[-10:]) < sum(losses[:10])


def test_a_term_with_the_prior_as_expert_enters_the_density():
    """MVAE's full set with the right experts is the posterior itself: every sample has the same weight, p(x)."""
    toy = Line(exact=True)
    with torch.no_grad():  # experts without the prior: likelihood terms alone
        precision = torch.tensor([(toy.slope[n] / toy.sd) ** 2 for n in "ab"], dtype=torch.float64)
        gain = torch.tensor([toy.slope[n] / toy.sd**2 for n in "ab"], dtype=torch.float64) / precision
        toy.encoder.copy_(torch.stack([gain, torch.zeros(2, dtype=torch.float64), -precision.log()], -1))
    full = subsets.custom([Term(("a", "b"), 1.0, prior_expert=True)])
    for name in DRAWING:
        assert value(name, toy, full, rows=5, samples=3) == pytest.approx(toy.log_evidence(), abs=1e-6)
    assert objectives.elbo(toy, toy.batch(5), full).kl.shape == (5,)
