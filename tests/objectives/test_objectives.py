"""L_S against closed forms: linear-Gaussian and discrete toys, unbiased allocation, missing data, extremes."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, OneHotCategorical

from polyvae import Batch, InputError, Modality, MultimodalVAE, likelihoods, networks, noise, objectives, subsets
from polyvae.gaussian import Gaussian, kl_to_prior, product_of_experts
from polyvae.priors import StandardNormal
from polyvae.subsets import Term
from support.slow import slow_unless

NAMES = ("a", "b", "c")


class LinearGaussian:
    """x_m = W_m z + noise, W_m with orthogonal columns; `expert` says what each modality's encoder does.

    With "exact" experts, product and prior expert give the true posterior of every subset.
    """

    def __init__(self, latent: int = 2, features: int = 3, sd: float = 0.7, expert: str = "exact") -> None:
        generator = torch.Generator().manual_seed(3)
        self.weight = {}
        for name in NAMES:
            basis, _ = torch.linalg.qr(torch.randn(features, latent, generator=generator, dtype=torch.float64))
            self.weight[name] = basis * (0.5 + torch.rand(latent, generator=generator, dtype=torch.float64))
        self.names, self.latent, self.sd, self.expert = NAMES, latent, sd, expert
        self.prior = StandardNormal(latent)

    def posterior(self, given: tuple[str, ...], values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean (batch, latent) and covariance of z given x_given, by Gaussian conditioning."""
        stacked = torch.cat([self.weight[n] for n in given])
        precision = torch.eye(self.latent, dtype=torch.float64) + stacked.T @ stacked / self.sd**2
        covariance = precision.inverse()
        return torch.cat([values[n] for n in given], -1) @ stacked @ covariance / self.sd**2, covariance

    def encode(self, batch: Batch, wanted=None) -> Gaussian:
        if self.expert == "optimal single":  # N(E[full posterior mean | x_m], full posterior covariance)
            _, full = self.posterior(NAMES, batch.values)
            means = []
            for name in NAMES:
                guess, _ = self.posterior((name,), batch.values)
                expected = {n: batch.values[n] if n == name else guess @ self.weight[n].T for n in NAMES}
                means.append(self.posterior(NAMES, expected)[0])
            mean = torch.stack(means)
            return Gaussian(mean, full.diagonal().log().expand_as(mean))
        precision = torch.stack([self.weight[n].square().sum(0) / self.sd**2 for n in NAMES])[:, None]
        mean = torch.stack([batch.values[n] @ self.weight[n] / self.sd**2 for n in NAMES]) / precision
        return Gaussian(mean, -precision.log().expand_as(mean))

    def decode(self, codes: dict[str, Tensor]) -> dict[str, Independent]:
        return {n: Independent(Normal(z @ self.weight[n].T, self.sd), 1) for n, z in codes.items()}

    def covariance(self, given: tuple[str, ...] = NAMES) -> Tensor:
        stacked = torch.cat([self.weight[n] for n in given])
        return stacked @ stacked.T + self.sd**2 * torch.eye(len(stacked), dtype=torch.float64)

    def log_evidence(self, values: dict[str, Tensor]) -> Tensor:
        law = torch.distributions.MultivariateNormal(torch.zeros(9, dtype=torch.float64), self.covariance())
        return law.log_prob(torch.cat([values[n] for n in NAMES], -1))

    def draw(self, rows: int, seed: int = 0) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(rows, self.latent, generator=generator, dtype=torch.float64)
        eps = torch.randn(3, rows, 3, generator=generator, dtype=torch.float64)
        return {n: z @ self.weight[n].T + self.sd * e for n, e in zip(NAMES, eps, strict=True)}


@pytest.fixture
def sigma_points(monkeypatch):
    """Replaces Normal noise by points with its mean and covariance: expectations of quadratics become exact.

    Rows come in blocks of 2 * latent, one point a row; use with `repeated`.
    """

    def points(source, rows, width, like, latent=2):
        axes = math.sqrt(latent) * torch.cat([torch.eye(latent), -torch.eye(latent)]).to(like)
        return axes.repeat(rows // len(axes), width // latent)

    monkeypatch.setattr(noise, "normal", points)
    return lambda values: {n: v.repeat_interleave(4, 0) for n, v in values.items()}


def test_full_set_at_the_exact_posterior_equals_the_log_evidence(sigma_points):
    toy = LinearGaussian()
    values = toy.draw(50)
    bound = objectives.elbo(toy, Batch(sigma_points(values)), subsets.mvae(NAMES))
    per_row = (bound.log_likelihood.sum(-1) - bound.kl).view(50, 4).mean(1)
    torch.testing.assert_close(per_row, toy.log_evidence(values), rtol=1e-9, atol=1e-9)
    assert bound.loss.item() == pytest.approx(-toy.log_evidence(values).mean().item(), rel=1e-9)


@pytest.mark.parametrize("make", [subsets.mvae, subsets.mmvae, subsets.mopoe])
def test_the_bound_never_exceeds_the_log_evidence(make, sigma_points):
    toy = LinearGaussian()
    values = toy.draw(2000)
    bound = objectives.elbo(toy, Batch(sigma_points(values)), make(NAMES), allocation="exact")
    assert -bound.loss <= toy.log_evidence(values).mean() + 1e-9


def test_the_optimal_encoder_of_single_modalities_misses_the_evidence_by_the_known_gap(sigma_points):
    """For a fixed decoder the gap of subset A is (tr(Sigma_full^-1 Sigma_A) - latent) / 2, in expectation over x."""
    toy = LinearGaussian(expert="optimal single")
    values = toy.draw(50_000)
    bound = objectives.elbo(toy, Batch(sigma_points(values)), subsets.mmvae(NAMES), allocation="exact")
    _, full = toy.posterior(NAMES, values)
    gaps = [0.5 * (torch.trace(full.inverse() @ toy.posterior((n,), values)[1]) - 2) for n in NAMES]
    per_row = bound.log_likelihood.sum(-1) - bound.kl
    difference = toy.log_evidence(values) - per_row.view(-1, 4).mean(1)
    error = 4 * difference.std() / len(difference) ** 0.5
    assert difference.mean().item() == pytest.approx((sum(gaps) / 3).item(), abs=error.item())


def test_full_set_is_the_plain_elbo_written_out():
    toy, values = LinearGaussian(), LinearGaussian().draw(7)
    bound = objectives.elbo(
        toy, Batch(values), subsets.mvae(NAMES), beta=0.3, generator=torch.Generator().manual_seed(5)
    )
    generator = torch.Generator().manual_seed(5)
    torch.rand((), generator=generator, dtype=torch.float64), torch.randperm(7, generator=generator)
    posterior = product_of_experts(toy.encode(Batch(values)), torch.ones(3, dtype=torch.bool), True)
    z = posterior.rsample(torch.randn(7, 2, generator=generator, dtype=torch.float64))
    log_likelihood = sum(toy.decode({n: z})[n].log_prob(values[n]) for n in NAMES)
    expected = -(log_likelihood - 0.3 * kl_to_prior(posterior)).mean()
    torch.testing.assert_close(bound.loss, expected)


def test_linear_in_the_weights(sigma_points):
    toy = LinearGaussian()
    batch = Batch(sigma_points(toy.draw(20)))

    def loss(*pairs):
        return objectives.elbo(toy, batch, subsets.custom(pairs, NAMES), allocation="exact").loss

    single, pair = loss((("a",), 1.0)), loss((("b", "c"), 1.0))
    torch.testing.assert_close(loss((("a",), 0.3), (("b", "c"), 0.7)), 0.3 * single + 0.7 * pair)


def test_equation_84_is_a_joint_bound_plus_marginal_bounds(sigma_points):
    toy = LinearGaussian()
    values = toy.draw(30)
    bound = objectives.elbo(toy, Batch(sigma_points(values)), subsets.mvae_plus(NAMES), allocation="exact")
    parts = toy.log_evidence(values).mean()
    for name in NAMES:
        law = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), toy.covariance((name,)))
        parts = parts + law.log_prob(values[name]).mean()
    torch.testing.assert_close(-bound.loss, parts)


def test_equation_84_can_exceed_the_log_evidence_for_densities(sigma_points):
    """Peaked densities make log p(x_i) positive, so the sum is above log p(x): no bound, as `is_bound` says."""
    toy = LinearGaussian(sd=1e-3)
    values = toy.draw(30)
    bound = objectives.elbo(toy, Batch(sigma_points(values)), subsets.mvae_plus(NAMES), allocation="exact")
    assert -bound.loss > toy.log_evidence(values).mean() + 1


mixtures = [
    subsets.mmvae(NAMES),
    subsets.mopoe(NAMES),
    subsets.custom([(("a",), 0.6), (("a", "b"), 0.1), (("b", "c"), 0.3)], NAMES),
    subsets.custom([Term(("a", "b"), 0.25, prior_expert=True), Term(("c",), 0.75)], NAMES),
]


@pytest.mark.parametrize(
    ("mixture", "missing"),
    slow_unless(lambda S, missing: missing and S in mixtures[-2:], itertools.product(mixtures, [False, True])),
)
def test_systematic_averages_to_exact_in_loss_and_gradient(mixture, missing, monkeypatch):
    """Without posterior noise the loss depends on the drawn subsets alone: their average is a finite sum."""
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: torch.zeros(rows, width).to(like))
    toy, rows, draws = LinearGaussian(), 6, 600
    values = toy.draw(rows)
    present = torch.ones(rows, 3, dtype=torch.bool)
    if missing:
        present = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0]]).bool()
        values["a"] = torch.where(present[:, :1], values["a"], torch.nan)
    batch = Batch(values, present)
    for weight in toy.weight.values():
        weight.requires_grad_()

    def loss_and_gradient(allocation, generator=None):
        loss = objectives.elbo(toy, batch, mixture, allocation=allocation, generator=generator).loss
        return torch.cat([loss.detach()[None], *(g.flatten() for g in torch.autograd.grad(loss, toy.weight.values()))])

    exact = loss_and_gradient("exact")
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([loss_and_gradient("systematic", generator) for _ in range(draws)])
    error = 4.5 * drawn.std(0) / draws**0.5 + 1e-9
    assert ((drawn.mean(0) - exact).abs() <= error).all()
    assert drawn.std(0).max() > 0, "the allocation is random"


@pytest.mark.parametrize("make", [subsets.mvae, subsets.mmvae, lambda names: mixtures[-1]])
def test_missing_data_follow_the_rule_term_by_term(make, sigma_points):
    toy = LinearGaussian()
    values, mixture = toy.draw(1), make(NAMES)
    present = torch.tensor([[True, False, True]])
    bound = objectives.elbo(
        toy, Batch(sigma_points(values), present.expand(4, 3)), mixture, allocation="exact", beta=0.5
    )
    experts, expected, total = toy.encode(Batch(values)), 0.0, 0.0
    for term in mixture.terms:
        left = torch.tensor([n in term.given for n in NAMES]) & present[0]
        if not left.any():
            continue
        posterior = product_of_experts(experts, left, term.prior_expert)
        z = posterior.rsample(noise.normal(None, 4, 2, posterior.mean))
        log_likelihood = sum(toy.decode({n: z})[n].log_prob(values[n]) for n in ("a", "c")).mean()
        expected += term.weight * (-log_likelihood + 0.5 * kl_to_prior(posterior).squeeze())
        total += term.weight
    torch.testing.assert_close(bound.loss, expected / total)


def test_absent_values_reach_neither_loss_nor_gradient():
    names, table = ("a", "b"), Modality("a", (3,), likelihoods.Normal(1.0))
    modalities = (table, Modality("b", (2,), likelihoods.Laplace(0.5)))
    torch.manual_seed(0)
    built = {m.name: networks.build("mlp", m, 4) for m in modalities}
    model = MultimodalVAE(modalities, built, subsets.mopoe(names), 4)
    present = torch.tensor([[True, False], [True, True], [False, True]])
    results = []
    for filler in (torch.nan, 1e30):
        values = {"a": torch.ones(3, 3), "b": torch.ones(3, 2)}
        values = {n: torch.where(present[:, i : i + 1], v, filler) for i, (n, v) in enumerate(values.items())}
        generator = torch.Generator().manual_seed(0)
        bound = objectives.elbo(model, Batch(values, present), model.mixture, allocation="exact", generator=generator)
        gradients = torch.autograd.grad(bound.loss, list(model.parameters()))
        assert all(g.isfinite().all() for g in gradients)
        assert bound.log_likelihood[0, 1] == 0
        results.append((bound.loss, *gradients))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


def test_modality_weights_scale_the_loss_but_not_the_reported_nats(sigma_points):
    toy = LinearGaussian()
    batch, weights = Batch(sigma_points(toy.draw(5))), torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
    plain = objectives.elbo(toy, batch, subsets.mvae(NAMES))
    weighted = objectives.elbo(toy, batch, subsets.mvae(NAMES), weights=weights)
    torch.testing.assert_close(weighted.distortion, plain.distortion)
    torch.testing.assert_close(weighted.loss, -(plain.log_likelihood @ weights).mean() + plain.rate)


class Table:
    """Two binary modalities of a joint table; the code of x_m is (m, x_m), sharp or blurred, and decoded by Bayes."""

    names = ("a", "b")

    def __init__(self, table: Tensor, noise: float) -> None:
        self.table, self.noise, self.prior = table, noise, StandardNormal(2)

    def encode(self, batch: Batch, wanted=None) -> Gaussian:
        """Latent: which modality (far apart), and its value, with sd `noise`."""
        codes = [
            torch.stack([torch.full((len(v),), 100.0 * m), v[:, 1]], -1) for m, v in enumerate(batch.values.values())
        ]
        mean = torch.stack(codes).double()
        return Gaussian(mean, torch.full_like(mean, 2 * math.log(self.noise)))

    def decode(self, codes: dict[str, Tensor]) -> dict[str, OneHotCategorical]:
        z = next(iter(codes.values()))
        which = (z[:, 0] > 50).long()
        log_weight = (
            -0.5 * ((z[:, 1:] - torch.tensor([0.0, 1.0])) / self.noise) ** 2
        )  # of each value of the encoded one
        joint = torch.stack([self.table, self.table.T])[which]  # (row, encoded value, other value)
        both = log_weight.softmax(-1)[:, :, None] * joint / joint.sum((1, 2), keepdim=True)
        both = both / both.sum((1, 2), keepdim=True)
        encoded, other = both.sum(2), both.sum(1)
        first = torch.where((which == 0)[:, None], encoded, other)
        second = torch.where((which == 0)[:, None], other, encoded)
        return {"a": OneHotCategorical(first), "b": OneHotCategorical(second)}


@pytest.mark.parametrize("noise", [0.01, 0.3, 2.0])
def test_distortion_is_at_least_the_generative_discrepancy(noise):
    """Paper, eq. 52: D >= sum_A w_A H(X_notA | X_A); reached by a code that keeps x_A, and only by such a one."""
    table = torch.tensor([[0.45, 0.05], [0.1, 0.4]], dtype=torch.float64)
    delta = sum(-(table * (table / table.sum(1 - axis, keepdim=True)).log()).sum().item() for axis in (0, 1)) / 2
    cells = [(a, b) for a in (0, 1) for b in (0, 1) for _ in range(round(1000 * table[a, b].item()))]
    eye = torch.eye(2, dtype=torch.float64)
    batch = Batch({name: eye[[cell[m] for cell in cells]] for m, name in enumerate(("a", "b"))})
    bound = objectives.elbo(
        Table(table, noise),
        batch,
        subsets.mmvae(("a", "b")),
        allocation="exact",
        generator=torch.Generator().manual_seed(0),
    )
    assert bound.distortion.item() >= delta - 1e-9
    if noise == 0.01:
        assert bound.distortion.item() == pytest.approx(delta, abs=1e-6)
    else:
        assert bound.distortion.item() > delta + 0.01


def test_s_must_be_over_the_modalities_of_the_model():
    toy = LinearGaussian()
    for mixture in (subsets.mopoe(("c", "b", "a")), subsets.custom([(("a",), 1.0)])):
        with pytest.raises(InputError, match="the model over a, b, c"):
            objectives.elbo(toy, Batch(toy.draw(3)), mixture)


@pytest.mark.parametrize("allocation", ["exact", "systematic"])
def test_a_row_that_no_term_encodes_is_named(allocation):
    toy, only_a = LinearGaussian(), subsets.custom([(("a",), 1.0)], NAMES)
    present = torch.tensor([[True, True, True], [False, True, True]])
    with pytest.raises(InputError, match="row 1 has nothing that a term of S encodes"):
        objectives.elbo(toy, Batch(toy.draw(2), present), only_a, allocation=allocation)


def test_terms_without_a_target_in_a_row_drop_out():
    """Neither their likelihood nor their KL counts; a modality that no term predicts has likelihood 0."""
    toy, values = LinearGaussian(), LinearGaussian().draw(6)
    terms = [Term(("a",), 1.0, target=("a",)), Term(("a",), 1.0, target=("b",))]
    present = torch.ones(6, 3, dtype=torch.bool)
    present[:, 1] = False
    how = {"allocation": "exact"}
    both = objectives.elbo(
        toy, Batch(values, present), subsets.custom(terms, NAMES), generator=torch.Generator().manual_seed(0), **how
    )
    alone = objectives.elbo(
        toy, Batch(values, present), subsets.custom(terms[:1], NAMES), generator=torch.Generator().manual_seed(0), **how
    )
    torch.testing.assert_close(both.kl, alone.kl)
    assert both.log_likelihood[:, 1:].abs().sum() == 0


@pytest.mark.parametrize("beta", [-1.0, -1e-9])
def test_negative_beta_is_refused(beta):
    with pytest.raises(InputError, match="beta"):
        objectives.elbo(LinearGaussian(), Batch(LinearGaussian().draw(2)), subsets.mvae(NAMES), beta=beta)


def test_systematic_needs_a_mixture():
    with pytest.raises(InputError, match="exact"):
        objectives.elbo(LinearGaussian(), Batch(LinearGaussian().draw(2)), subsets.mvae_plus(NAMES))


class Constant(nn.Module):
    """An encoder that gives the same extreme outputs for every row."""

    def __init__(self, mean: float, logvar: float) -> None:
        super().__init__()
        self.outputs = nn.Parameter(torch.tensor([mean, logvar]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(value.expand(len(x), 4) for value in self.outputs)


@pytest.mark.parametrize("make", [subsets.mvae, subsets.mmvae, subsets.mopoe, subsets.mvae_plus])
@pytest.mark.parametrize("mean", [-1e30, 0.0, 1e6])
@pytest.mark.parametrize("logvar", [-1e30, -100.0, 100.0, 1e30])
def test_objective_and_gradient_are_finite_for_any_encoder_output(make, mean, logvar):
    modalities = tuple(Modality(n, (3,), likelihoods.Normal(0.5)) for n in NAMES)
    built = {n: (Constant(mean, logvar), nn.Linear(4, 3)) for n in NAMES}
    model = MultimodalVAE(modalities, built, make(NAMES), 4)
    batch = Batch({n: torch.zeros(4, 3) for n in NAMES})
    bound = objectives.elbo(model, batch, model.mixture, beta=100.0, allocation="exact")
    gradients = torch.autograd.grad(bound.loss, list(model.parameters()))
    assert bound.loss.isfinite()
    assert all(g.isfinite().all() for g in gradients)


MEMBERS = [subsets.mvae, subsets.mmvae, subsets.mopoe, subsets.mvae_plus]
EXTREME = [(subsets.mmvae, 1e-4), (subsets.mvae, 100.0)]


@pytest.mark.parametrize(
    ("make", "beta"),
    slow_unless(lambda *case: case in EXTREME, itertools.product(MEMBERS, [1e-4, 1.0, 100.0])),
)
def test_every_member_trains_at_every_beta(make, beta):
    _train(make, beta, steps=100)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [9.0, 100.0])
def test_mvae_trains_long_at_large_beta(beta):
    _train(subsets.mvae, beta, steps=2000)


def _train(make, beta: float, steps: int) -> None:
    """At the default learning rate: always finite, and better than at the start."""
    torch.manual_seed(0)
    modalities = tuple(Modality(n, (3,), likelihoods.Laplace(0.75)) for n in NAMES)
    model = MultimodalVAE(modalities, {m.name: networks.build("mlp", m, 8) for m in modalities}, make(NAMES), 8)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-4)
    batch = Batch({n: v.float() for n, v in LinearGaussian().draw(64).items()})
    allocation = "systematic" if model.mixture.is_bound else "exact"
    losses = []
    for _ in range(steps):
        bound = objectives.elbo(model, batch, model.mixture, beta=beta, allocation=allocation)
        losses.append(bound.loss.item())
        optimiser.zero_grad()
        bound.loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        optimiser.step()
    assert all(math.isfinite(loss) for loss in losses)
    assert sum(losses[-10:]) < sum(losses[:10])
