"""JNF and TELBO: stages that leave other weights alone, posteriors that are exact where all else is, and runs."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import zuko
from torch import nn

import polyvae as pv
from polyvae import Batch, likelihoods, noise, priors, subsets
from polyvae.cli import main
from polyvae.gaussian import Gaussian, picked
from polyvae.methods import METHODS
from polyvae.methods.jnf import correlate, follow
from polyvae.modality import Modality
from polyvae.models import MODELS, FlowOptions, NotDefined, code_draws
from polyvae.models.flowing import JointFlowVAE
from polyvae.noise import RowNoise
from polyvae.objectives import alone, elbo_of_terms
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from polyvae.theory import LinearGaussian
from polyvae.training import parallel
from polyvae.training.loop import exhausted, steps
from support.arrays import tables_with_gaps
from support.training import same

STAGED = ("telbo", "jnf", "jnf_dcca")
FLOWS = ("jnf", "jnf_dcca")
NAMES = ("m0", "m1", "m2")
PATTERNS = [p for size in (1, 2, 3) for p in itertools.combinations(NAMES, size)]
CONFIG = pv.RunConfig(
    dataset="toy", modalities=3, train_size=40, test_size=20, batch_size=16, epochs=4, latent_dim=3, metrics="none"
)
SHORT = "iterations=2,leapfrog=1,step_size=.1"


def config_of(method, **changes):
    return CONFIG.with_(method=method, **({"method_options": SHORT} if method.startswith("jnf") else {}) | changes)


def built(method, names=NAMES, weights=None):
    """A small model of these modalities in this order; weights: of a model with them and others."""
    plan = make_plan(config_of(method))
    specs = {m.name: m for m in plan.modalities}
    blueprint = pv.models.Blueprint(
        tuple(specs[n] for n in names),
        subsets.whole(names),
        3,
        dict.fromkeys(names, "mlp"),
        kind="joint_flows",
        options=plan.blueprint.options,
    )
    model = pv.models.build(blueprint)
    if weights is not None:
        model.load_state_dict({key: weights[key] for key in model.state_dict()})
    return model.eval(), plan.test.batch(slice(0, 7))


# Exact posteriors of x_m = a_m z + noise.

FACTORS, SD = (1.0, -0.7, 0.5, 1.5), 0.9
FOUR = ("m0", "m1", "m2", "m3")


class Known(nn.Module):
    """Times a matrix of known gains, with a known variance."""

    def __init__(self, gain, variance):
        super().__init__()
        self.gain, self.logvar = torch.as_tensor(gain, dtype=torch.float64), math.log(variance)

    def forward(self, values, present=None):
        read = torch.cat(list(values.values()), -1) if isinstance(values, dict) else values
        mean = (read @ self.gain)[:, None]
        return mean, torch.full_like(mean, self.logvar)


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, z):
        return self.factor * z


class Same(nn.Module):
    """The flow that changes nothing."""

    def forward(self):
        return self

    def call_and_ladj(self, z):
        return z, z.new_zeros(len(z))

    def inv(self, base):
        return base


def exact(names=FOUR, **options):
    """JNF's model with exact posteriors given one and given all modalities, and the law that they are exact for."""
    law = LinearGaussian(tuple([[f]] for f in FACTORS[: len(names)]), SD)
    specs = [Modality(n, (1,), likelihoods.Normal(SD)) for n in names]
    pairs = {}
    for i, name in enumerate(names):
        gain, covariance = law.posterior([i])
        pairs[name] = Known(gain[0], covariance.item()), Times(FACTORS[i])
    gain, covariance = law.posterior()
    joint = Known(gain[0], covariance.item())
    chains = FlowOptions(**options)
    flows = {n: Same() for n in names}
    return JointFlowVAE(specs, pairs, subsets.whole(names), 1, joint=joint, flows=flows, options=chains).double(), law


@pytest.mark.parametrize("given", [FOUR[:2], ("m0", "m2", "m3"), ("m1",), FOUR], ids="".join)
def test_the_posterior_of_a_subset_is_exact_where_those_of_one_are(given):
    """T3: p^(1 - |A|) prod q_m, of three with the power -2 that published code lacks."""
    model, law = exact(iterations=20, leapfrog=4, step_size=0.25)
    rows = 6000
    x = torch.tensor([0.9, -1.2, 0.4, 2.0], dtype=torch.float64)
    batch = Batch({n: value.expand(rows, 1) for n, value in zip(FOUR, x, strict=True)})
    z = model.posterior_codes(batch, given, ("m0",), torch.Generator().manual_seed(0))["m0"]
    places = [FOUR.index(n) for n in given]
    gain, covariance = law.posterior(places)
    error = math.sqrt(covariance.item() / rows)
    assert z.mean().item() == pytest.approx((gain[0] @ x[places].numpy()).item(), abs=4 * error)
    assert z.var().item() == pytest.approx(covariance.item(), rel=4 * math.sqrt(2 / rows))


def test_the_least_divergence_is_the_information_in_the_other_modalities():
    """T4: E KL(q_X || q_m) = I(z; x without x_m | x_m), half the log of the ratio of variances, summed over m."""
    model, law = exact()
    rows = law.draw(40_000, np.random.default_rng(0))
    batch = Batch({n: torch.from_numpy(value) for n, value in rows.items()})
    found = follow(model, batch, model.mixture, generator=torch.Generator().manual_seed(0))
    variances = [law.posterior([i])[1].item() for i in range(4)]
    expected = sum(0.5 * math.log(v / law.posterior()[1].item()) for v in variances)
    assert found.loss.item() == pytest.approx(expected, abs=4 * found.kl.std().item() / 200)
    assert found.rate == found.loss


def test_flows_that_follow_an_exact_joint_encoder_become_exact(monkeypatch):
    """The best q_m of an affine flow over a linear encoder has the moments of p(z | x_m).

    Six rows have exactly the second moments of x and of the noise of z, which is all that the loss depends on.
    """
    names = FOUR[:2]
    model, law = exact(names)
    points = math.sqrt(3) * torch.cat([torch.eye(3), -torch.eye(3)]).double()
    values = points[:, :2] @ torch.linalg.cholesky(torch.from_numpy(law.covariance())).T
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: points[:, 2:].to(like))
    torch.manual_seed(0)
    for name in names:
        model.encoders[name] = Linear().double()
        model.flows[name] = zuko.flows.MAF(1, transforms=1).transform.double()
    taught = [*model.encoders.parameters(), *model.flows.parameters()]
    optimiser = torch.optim.LBFGS(taught, max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe")
    batch = Batch({n: values[:, i : i + 1] for i, n in enumerate(names)})

    def step():
        optimiser.zero_grad()
        loss = follow(model, batch, model.mixture).loss
        loss.backward()
        return loss

    optimiser.step(step)
    probes = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    experts = model.encode(Batch(dict.fromkeys(names, probes)))
    for i, name in enumerate(names):
        gain, variance = (value.item() for value in law.posterior([i]))
        base = picked(experts, i)
        flow = model.flows[name]()
        mean, apart = flow.inv(base.mean), flow.inv(base.mean + (0.5 * base.logvar).exp()) - flow.inv(base.mean)
        torch.testing.assert_close(mean, gain * probes, rtol=0, atol=2e-4)
        torch.testing.assert_close(apart.square(), torch.full_like(apart, variance), rtol=1e-3, atol=0)
        z = torch.tensor([[0.3], [0.1]], dtype=torch.float64)
        known = Gaussian(gain * probes, torch.full_like(probes, math.log(variance))).log_prob(z)
        torch.testing.assert_close(model.log_density(experts, name, z), known, rtol=0, atol=1e-3)


class Linear(nn.Module):
    """A linear mean, and one log variance."""

    def __init__(self):
        super().__init__()
        self.mean, self.logvar = nn.Linear(1, 1), nn.Parameter(torch.zeros(1))

    def forward(self, values):
        return (mean := self.mean(values)), self.logvar.expand_as(mean)


def test_densities_of_flows_integrate_to_one_and_are_those_of_their_draws():
    """In two dimensions, on a grid."""
    torch.manual_seed(3)
    flow = zuko.flows.MAF(2, transforms=2, hidden_features=(16,)).transform.double()
    model, _ = exact(FOUR[:2])
    model.flows["m0"] = flow
    model.latent_dim = 2
    experts = Gaussian(torch.zeros(2, 1, 2).double(), torch.full((2, 1, 2), -1.0).double())
    side = torch.linspace(-8, 8, 401, dtype=torch.float64)
    z = torch.cartesian_prod(side, side)
    wide = Gaussian(*(field.expand(2, len(z), 2) for field in experts))
    density = model.log_density(wide, "m0", z).exp()
    area = (side[1] - side[0]) ** 2
    assert (density.sum() * area).item() == pytest.approx(1, abs=1e-3)
    base = picked(experts, 0).rsample(torch.randn(20_000, 2, dtype=torch.float64))
    draws = flow().inv(base)
    torch.testing.assert_close(draws.mean(0), (density[:, None] * z).sum(0) * area, rtol=0, atol=0.03)


def test_the_second_stage_of_telbo_is_attained_by_exact_posteriors():
    """Then each ELBO is log p(x_m), of which the mean is minus the entropy; a wider q_m stays below."""
    model, law = exact()
    rows = law.draw(40_000, np.random.default_rng(1))
    batch = Batch({n: torch.from_numpy(value) for n, value in rows.items()})
    noises = torch.Generator().manual_seed(0)
    found = elbo_of_terms(model, batch, alone, generator=noises)
    each = found.kl - found.log_likelihood.sum(-1)
    best = sum(law.entropy([i]) for i in range(4))
    assert found.loss.item() == pytest.approx(best, abs=4 * each.std().item() / 200)
    model.encoders["m0"].logvar += 1.0
    assert elbo_of_terms(model, batch, alone, generator=noises).loss > best + 0.1


# Stages.


def test_the_first_stage_is_jmvae_without_followers():
    plans = {
        m: make_plan(config_of(m, **({"method_options": "alpha=0"} if m == "jmvae" else {})))
        for m in ("jmvae", *STAGED)
    }
    found = {}
    for method, plan in plans.items():
        model = plan.build()
        stage = next(s for s in stages_of(plan, model) if s.name in ("joint", "train"))
        bound = stage.loss(plan.train.batch(slice(0, 16)), torch.Generator().manual_seed(0))
        bound.loss.backward()
        taught = {n: p.grad for n, p in model.named_parameters() if n.startswith(("joint.", "decoders."))}
        found[method] = bound.loss, taught
    for method in STAGED:
        torch.testing.assert_close(found[method], found["jmvae"], rtol=0, atol=0)


def trained(folder, config, stop_at=()):
    """(model, history, what was seen after each step: stage's name, weights, names of those with a gradient)."""
    plan = make_plan(config)
    seen = []
    for last in (*stop_at, None):
        model = plan.build()
        stages = stages_of(plan, model)
        taken = steps(model, stages, plan.rows_at, plan.validation, config, folder)
        for done, _ in enumerate(taken, 1):
            with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
            seen.append(({n: p.detach().clone() for n, p in model.named_parameters()}, with_gradient))
            if done == last:
                taken.close()
                break
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return model, [{k: v for k, v in line.items() if k != "seconds"} for line in lines], stages, seen


@pytest.mark.parametrize("method", STAGED)
def test_a_stage_changes_no_other_weight_and_all_of_its_own(method, tmp_path):
    """T11, momentum of earlier stages included."""
    model, history, stages, seen = trained(tmp_path, config_of(method))
    names = {id(p): n for n, p in model.named_parameters()}
    count = 2  # steps an epoch
    assert [line["stage"] for line in history] == [s.name for s in stages for _ in range(s.epochs)]
    assert len(seen) == count * len(history)
    before = {n: p.detach().clone() for n, p in make_plan(config_of(method)).build().named_parameters()}
    at = 0
    for stage in stages:
        own = {names[id(p)] for p in stage.parameters}
        at += count * stage.epochs
        after = seen[at - 1][0]
        changed = {n for n, value in after.items() if not torch.equal(value, before[n])}
        assert changed == own
        assert seen[at - 1][1] == own
        before = after
    taught = set().union(*({names[id(p)] for p in stage.parameters} for stage in stages))
    assert taught == set(names.values())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("method", STAGED)
def test_a_run_resumed_around_the_ends_of_stages_is_the_uninterrupted_one(method, tmp_path):
    config = config_of(method)
    whole = trained(tmp_path / "whole", config)
    stopped = trained(tmp_path / "stopped", config, stop_at=(1, 1, 1, 3))
    same(whole[:2], stopped[:2])


def test_what_a_user_froze_stays_frozen(tmp_path):
    plan = make_plan(config_of("jnf"))
    model = plan.build()
    model.decoders["m0"].requires_grad_(False)
    frozen = {n: p.clone() for n, p in model.decoders["m0"].named_parameters()}
    stages = stages_of(plan, model)
    exhausted(steps(model, stages, plan.rows_at, None, plan.config, tmp_path))
    assert not any(p.requires_grad for p in model.decoders["m0"].parameters())
    assert all(torch.equal(p, frozen[n]) for n, p in model.decoders["m0"].named_parameters())


def test_what_a_stage_does_not_train_is_as_it_is_used(tmp_path):
    """In the stage of the flows the joint encoder drops nothing and keeps its statistics, and encoders train."""
    config = config_of("jnf")
    names = make_plan(config).train.names

    class Own(torch.nn.Sequential):
        def forward(self, values):
            return super().forward(values).chunk(2, -1)

    def pair(shape):
        features = torch.numel(torch.empty(shape))
        norm, drop = torch.nn.BatchNorm1d(features), torch.nn.Dropout()
        encoder = Own(torch.nn.Flatten(), norm, drop, torch.nn.Linear(features, 2 * config.latent_dim))
        return encoder, torch.nn.Sequential(torch.nn.Linear(config.latent_dim, features), torch.nn.Unflatten(1, shape))

    pairs = {m.name: pair(m.shape) for m in make_plan(config).modalities}
    plan = make_plan(config, own=pairs)
    model, seen = plan.build(), {}
    parts = {"encoders": model.encoders[names[0]], "joint": model.joint.encoders[names[0]]}
    for kind, encoder in parts.items():
        for layer in (encoder[1], encoder[2]):
            layer.register_forward_hook(lambda layer, i, o, kind=kind: seen.setdefault(kind, []).append(layer.training))
    stages = stages_of(plan, model)
    exhausted(steps(model, stages[:1], plan.rows_at, None, plan.config, tmp_path / "joint"))
    assert all(seen.pop("joint"))
    kept = parts["joint"][1].running_mean.clone()
    exhausted(steps(model, stages[1:], plan.rows_at, None, plan.config, tmp_path / "flows"))
    assert not any(seen["joint"])
    assert all(seen["encoders"])
    assert torch.equal(parts["joint"][1].running_mean, kept)


# What rows lack, and the order of modalities.


@pytest.mark.parametrize("given", PATTERNS, ids="".join)
def test_an_absent_modality_might_as_well_not_exist(given):
    """T10, of the stages that are no recipes: loss and gradient."""
    model, batch = built("jnf_dcca")
    part, _ = built("jnf_dcca", given, model.state_dict())
    present = torch.tensor([[n in given for n in NAMES]]).expand(7, 3)
    whole_rows, part_rows = Batch(batch.values, present), Batch({n: batch.values[n] for n in given})
    for objective in (follow, correlate):
        if objective is correlate and len(given) == 1:
            continue  # no pair to correlate: nothing is left
        losses, gradients = [], []
        for one, rows in ((model, whole_rows), (part, part_rows)):
            one.zero_grad()
            found = objective(one, rows, one.mixture, generator=RowNoise(0, "test", tuple(range(7))))
            found.loss.backward()
            losses.append(found.loss.detach())
            gradients.append({n: p.grad for n, p in one.named_parameters() if p.grad is not None and p.grad.any()})
        assert losses[0].isfinite()
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_the_order_of_modalities_does_not_matter():
    model, batch = built("jnf_dcca")
    order = ("m2", "m0", "m1")
    other, _ = built("jnf_dcca", order, model.state_dict())
    present = torch.tensor([[n in p for n in NAMES] for p in PATTERNS])
    turned = Batch({n: batch.values[n] for n in order}, present[:, [2, 0, 1]])
    source = RowNoise(0, "test", tuple(range(7)))
    for objective in (follow, correlate):
        found = [
            objective(m, b, m.mixture, generator=source).loss
            for m, b in ((model, Batch(batch.values, present)), (other, turned))
        ]
        torch.testing.assert_close(*found, rtol=1e-5, atol=1e-4)
    rows = ((model, Batch(batch.values, present)), (other, turned))
    codes = [m.posterior_codes(b, NAMES, ("m1",), source)["m1"] for m, b in rows]
    torch.testing.assert_close(*codes, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", FLOWS)
def test_a_draw_depends_on_what_is_given_and_on_the_row_alone(method):
    model, batch = built(method)
    source = RowNoise(0, "test", tuple(range(7)))
    present = torch.tensor([[n in p for n in NAMES] for p in PATTERNS])
    gaps = model.posterior_codes(Batch(batch.values, present), NAMES, ("m0",), source)["m0"]
    for row, given in enumerate(PATTERNS):
        asked = code_draws(model, batch, given, ("m0",))(source)["m0"]
        torch.testing.assert_close(asked[row], gaps[row])
        some = Batch({n: value[[row]] for n, value in batch.values.items()})
        alone = model.posterior_codes(some, given, ("m0",), RowNoise(0, "test", (row,)))["m0"]
        torch.testing.assert_close(alone[0], asked[row], rtol=1e-4, atol=1e-5)
    whole = model.posterior(batch).sample(source)
    torch.testing.assert_close(code_draws(model, batch, NAMES, ("m0",))(source)["m0"], whole)
    with pytest.raises(NotDefined, match="no closed form"):
        model.posterior(batch, ("m0", "m1"))
    with pytest.raises(pv.InputError, match="row 0 has none of m2"):
        model.posterior_codes(Batch(batch.values, present), ("m2",), NAMES)


@pytest.mark.slow
def test_deep_cca_learns_what_modalities_share(tmp_path):
    config = config_of(
        "jnf_dcca", dataset="symbols", train_size=512, batch_size=256, epochs=40, method_options="features=3"
    )
    _, history, _, _ = trained(tmp_path, config)
    losses = [line["loss"] for line in history if line["stage"] == "features"]
    assert losses[-1] < losses[0] - 1  # minus a sum of 9 correlations
    assert losses[-1] > -9


def test_features_are_standardised_over_all_rows_that_have_them(tmp_path):
    """Exactly: the last stage, which leaves features as they are, begins with a pass over them."""
    config = config_of("jnf_dcca")
    model, *_ = trained(tmp_path, config)
    plan = make_plan(config)
    data = plan.train
    present = (torch.arange(len(data))[:, None] + torch.arange(3)) % 4 > 0
    for rows in (data, replace(data, present=present)):
        if rows is not data:
            model.standardise(rows)
        for index, name in enumerate(NAMES):
            encoder = model.encoders[name].eval()
            found = encoder.features(rows.batch(slice(None)).values[name])[rows.present[:, index]]
            torch.testing.assert_close(encoder.shift, found.mean(0), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(encoder.scale, found.std(0, correction=0), rtol=1e-3, atol=1e-5)


def test_the_rule_over_subsets_keeps_the_prior_that_was_trained():
    """Another prior, fitted afterwards, is for samples without input; then the law of z given some stays exact."""
    model, _ = exact(iterations=20, leapfrog=4, step_size=0.25)
    batch = Batch({n: torch.full((5, 1), 0.5, dtype=torch.float64) for n in FOUR})

    def drawn(one):
        return one.posterior_codes(batch, FOUR[:3], ("m0",), torch.Generator().manual_seed(0))["m0"]

    before = drawn(model)
    model.prior = priors.make("gmm", 1, components=2).double()
    for one in (model, model.scored_by(model.modalities)):
        assert one.prior.describe()["kind"] == "gmm"
        torch.testing.assert_close(drawn(one), before, rtol=0, atol=0)
    assert not any("kept" in key for key in model.state_dict())


def test_features_of_jnf_contrast_find_each_other_and_nothing_else_is_trained_with_them():
    """The value is NT-Xent in a loop over pairs, of the rows that have both; its stage trains features alone."""
    plan = make_plan(config_of("jnf_contrast", method_options=f"{SHORT},temperature=.5"))
    model, batch = plan.build(), plan.train.batch(slice(0, 12))
    batch = Batch(batch.values, torch.tensor([[n in p for n in NAMES] for p in (*PATTERNS, *PATTERNS[:5])]))
    units = {n: nn.functional.normalize(model.encoders[n].features(batch.values[n]), dim=-1) for n in NAMES}
    of_rows = torch.zeros(12, 3)
    for index, (a, b) in enumerate(itertools.combinations(range(3), 2)):
        rows = [i for i in range(12) if batch.present[i, a] and batch.present[i, b]]
        both = torch.cat([units[NAMES[a]][rows], units[NAMES[b]][rows]])
        log_share = (both @ both.T / 0.5).fill_diagonal_(-torch.inf).log_softmax(-1)
        each = -torch.stack([log_share.diagonal(len(rows)), log_share.diagonal(-len(rows))]).mean(0)
        of_rows[rows, index] = each
    pairs = (batch.present.sum(-1) * (batch.present.sum(-1) - 1) / 2).clamp(min=1)
    stage = stages_of(plan, model)[0]
    loss = stage.loss(batch, None).loss
    torch.testing.assert_close(loss, (of_rows.sum(-1) / pairs).mean())
    loss.backward()
    moved = {id(p) for p in model.parameters() if p.grad is not None}
    assert moved == {*map(id, stage.parameters)} == {id(p) for e in model.encoders.values() for p in e.of_features()}
    with pytest.raises(pv.InputError, match=r"temperature=0\.0: it must be above 0"):
        make_plan(config_of("jnf_contrast", method_options="temperature=0"))


def test_features_are_not_trained_by_a_team(monkeypatch):
    team = parallel.Team(rank=0, size=2)
    monkeypatch.setattr(parallel, "team", lambda: team)
    plan = make_plan(config_of("jnf_dcca"))
    with pytest.raises(pv.InputError, match="method jnf_dcca compares all rows of a batch; train it in one process"):
        stages_of(plan, plan.build())
    stages_of(make_plan(config_of("jnf")), make_plan(config_of("jnf")).build())


# Runs.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = config_of("jnf_dcca", dataset="symbols", train_size=120, test_size=40, metrics="default,objective")
    return pv.run(config, tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
def test_a_run_is_scored_where_its_posteriors_are_known_and_says_where_not(run):
    given_all = "m0+m1+m2"
    assert {"bound/loss", "objective/loss", "log_likelihood/joint", "log_likelihood/unconditional"} <= set(run.metrics)
    assert {f"linear_probe/{given_all}", f"latent/rate/{given_all}", "coherence/conditional/m0+m1/m2"} <= set(
        run.metrics
    )
    assert {f"log_likelihood/conditional/{g}" for g in ("m0", "m0+m1")} <= set(run.metrics)
    assert not {"linear_probe/m0", "latent/rate/m0", "log_likelihood/joint_from/m0"} & set(run.metrics)
    for name in ("linear_probe", "latent", "log_likelihood"):
        assert "can only be drawn" in run.record.doubts[name], "there are numbers, so it is not undefined"
    assert all(np.isfinite(value) for value in run.metrics.values())
    assert run.record.resolved.is_bound


@pytest.mark.slow
def test_its_model_is_loaded_and_the_commands_use_it(run, tmp_path):
    model = run.load()
    assert type(model) is MODELS["joint_flows"]
    assert model.options == METHODS[run.record.config.method].options(iterations=2, leapfrog=1, step_size=0.1)
    store, data = ["--store", str(run.folder.parent)], tmp_path / "rows.npz"
    test = pv.datasets.load("symbols", split="test", modalities=3, size=6)
    np.savez(data, **{name: test.values[name].numpy() for name in ("m0", "m1")})
    main(["evaluate", run.run_id, "--metrics", "coherence_from_means", *store, "--quiet"])
    main(["fit-prior", run.run_id, "--components", "2", *store])
    main(["generate", run.run_id, "--prior", "gmm", "--count", "4", "--out", str(tmp_path / "g.npz"), *store])
    main(["generate", run.run_id, "--given", "m0,m1", "--count", "4", "--out", str(tmp_path / "c.npz"), *store])
    main(["impute", run.run_id, "--data", str(data), "--out", str(tmp_path / "i.npz"), *store])
    main(["theory", "audit", run.run_id, "--rows", "200", *store])
    main(["report", "--out", str(tmp_path / "report"), *store])
    assert np.load(tmp_path / "g.npz")["m0"].shape == np.load(tmp_path / "c.npz")["m0"].shape == (4, 16)
    assert np.load(tmp_path / "i.npz")["m2.class"].shape == (6,)


@pytest.mark.slow
def test_gaps_in_all_splits(tmp_path):
    arrays = tables_with_gaps(120)
    np.savez(tmp_path / "mine.npz", **arrays)
    config = pv.RunConfig(
        dataset="arrays", data=str(tmp_path / "mine.npz"), method="jnf", method_options=SHORT, latent_dim=2, epochs=3
    )
    result = pv.run(config.with_(metrics="bound,objective,log_likelihood"), tmp_path / "runs")
    assert {"objective/loss", "log_likelihood/joint", "log_likelihood/conditional/m0+m1"} <= set(result.metrics)
    assert "no closed form" in result.notes["bound"]
    assert "log_likelihood/unconditional" not in result.metrics
    rows = Batch({n: torch.from_numpy(arrays[n][:6]) for n in NAMES}, torch.tensor([[1, 1, 0], [0, 0, 1]] * 3).bool())
    filled = pv.impute(result.load(), rows, draws=2)
    assert all(part.isfinite().all() for one in filled.values() for part in one)
    main(["fit-prior", result.run_id, "--components", "2", "--store", str(tmp_path / "runs")])
