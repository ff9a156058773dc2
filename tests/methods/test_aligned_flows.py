"""aligned_flows: what each stage moves, its limits, its bound against an integral, and what is drawn at test time."""

import json
import math
from dataclasses import replace

import pytest
import torch
import zuko

import polyvae as pv
from polyvae import Batch, InputError, noise
from polyvae.methods import METHODS
from polyvae.methods.aligned_flows import draw_each, join
from polyvae.models.aligned import Direction
from polyvae.models.conditional_flow import ConditionalFlow
from polyvae.noise import RowNoise
from polyvae.objectives import elbo
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from polyvae.training.loop import exhausted, steps

SMALL = "aligned_dim=2,hidden=8,transforms=1,spread=.4"
TOY = pv.RunConfig(
    dataset="toy", modalities=3, method="aligned_flows", method_options=SMALL, train_size=48, test_size=12,
    batch_size=16, epochs=5, latent_dim=2, beta=0.5, metrics="none",
)  # fmt: skip
MOVES = {"contrast": ("aligners.", "heads."), "vaes": ("vaes.",), "flows": ("flows.", "prior.")}
PATTERNS = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).bool()


def made(**changes):
    """Plan, model and training rows of a tiny run."""
    plan = make_plan(TOY.with_(**changes))
    return plan, plan.build(), plan.train


def gradients(model, loss):
    """Name -> gradient of every parameter that has one."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def no_noise(monkeypatch):
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: torch.zeros(rows, width).to(like))


@pytest.mark.parametrize("stage", MOVES)
def test_a_stage_moves_its_own_networks_and_no_others(stage):
    plan, model, data = made()
    at = next(s for s in stages_of(plan, model) if s.name == stage)
    if at.prepare is not None:
        at.prepare(data)
    found = gradients(model, at.loss(data.batch(slice(0, 16)), torch.Generator().manual_seed(0)).loss)
    assert all(name.startswith(MOVES[stage]) for name in found)
    trained = {id(p) for p in at.parameters}
    assert {id(p) for name, p in model.named_parameters() if name.startswith(MOVES[stage])} == trained
    for name, _ in model.named_children():
        is_moved = any(key.startswith(name) and bool(value.any()) for key, value in found.items())
        assert is_moved == (f"{name}." in MOVES[stage]), name


@pytest.mark.parametrize("gaps", [False, True])
def test_vaes_are_those_of_independent_trainings(monkeypatch, gaps):
    """Loss and gradient are sums of the ELBOs of one VAE each, over the rows that have its modality."""
    no_noise(monkeypatch)
    plan, model, data = made()
    batch = data.batch(slice(0, 7))
    present = PATTERNS if gaps else torch.ones_like(PATTERNS)
    batch = Batch(batch.values, present)
    weights, beta = torch.tensor([1.0, 2.0, 0.5]), torch.tensor(0.7)
    bound = draw_each(model, batch, plan.mixture, beta=beta, weights=weights, generator=None)
    found, total = gradients(model, bound.loss), 0.0
    for index, name in enumerate(model.names):
        alone = make_plan(TOY.with_(method="unimodal", method_options=None, only=name, latent_dim=6))
        single, rows = alone.build(), present[:, index]
        single.encoders[name], single.decoders[name] = model.vaes.encoders[name], model.vaes.decoders[name]
        own = Batch({name: batch.values[name][rows]})
        part = elbo(single, own, single.mixture, beta=0.7, weights=weights[index : index + 1]).loss * (rows.sum() / 7)
        total += part.item()
        for key, value in gradients(single, part).items():
            torch.testing.assert_close(found[f"vaes.{key}"], value)
    assert bound.loss.item() == pytest.approx(total, rel=1e-5)


def test_the_conditional_density_integrates_to_one():
    torch.manual_seed(1)
    flow = ConditionalFlow(1, 3, 2, 8)
    flow.shift.fill_(0.4)
    flow.scale.fill_(1.7)
    w = torch.linspace(-15, 15, 6001)[:, None]
    for seed in range(3):
        given = torch.randn(3, generator=torch.Generator().manual_seed(seed)) * 2
        density = flow.log_prob(w, given.expand(len(w), 3)).exp().detach()
        assert float(torch.trapezoid(density, w[:, 0])) == pytest.approx(1.0, abs=1e-4)


def test_the_conditional_density_is_zukos_and_draws_are_its_inverse():
    torch.manual_seed(2)
    flow, whole = ConditionalFlow(3, 2, 2, 8), zuko.flows.NSF(3, 2, transforms=2, hidden_features=(8, 8))
    whole.transform.load_state_dict(flow.transform.state_dict())
    flow.scale.copy_(torch.tensor([0.5, 2.0, 3.0]))
    given, standard = torch.randn(6, 2), torch.randn(6, 3)
    w = flow.draw(standard, given)
    expected = whole(given * math.sqrt(2)).log_prob(w / flow.scale) - flow.scale.log().sum()
    torch.testing.assert_close(flow.log_prob(w, given), expected, rtol=1e-4, atol=1e-4)
    back, _ = flow.transform(given * math.sqrt(2)).call_and_ladj(w / flow.scale)
    torch.testing.assert_close(back, standard, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("has_both", [pytest.param(True, marks=pytest.mark.slow), False])
def test_the_bound_is_one_of_the_evidence(has_both):
    """Its exponential over many draws averages to p(X), which is integrated here on a grid of u and every w."""
    options = SMALL.replace("spread=.4", "spread=.8")
    likelihood = {"likelihood": "normal", "likelihood_scale": "2"}
    plan, model, data = made(modalities=2, latent_dim=1, method_options=options, **likelihood)
    for encoder in model.vaes.encoders.values():  # wide posteriors, so that few draws do
        encoder.apply(lambda layer: layer.logvar.bias.data.fill_(0.0) if hasattr(layer, "logvar") else None)
    model.freeze(data)
    draws, row = 40_000, data.batch([3])
    batch = Batch({n: v.expand(draws, *v.shape[1:]) for n, v in row.values.items()},
                  torch.tensor([[True, has_both]]).expand(draws, 2))  # fmt: skip
    with torch.no_grad():
        bound = join(model, batch, plan.mixture, generator=torch.Generator().manual_seed(0))
        found = (bound.log_likelihood.sum(-1) - bound.kl).double().logsumexp(0) - math.log(draws)
        side = torch.linspace(-4, 4, 81)
        u = torch.cartesian_prod(side, side)
        log_p = model.prior.log_prob(u).double()
        for name in model.names[: 1 + has_both]:
            centre, spread = float(model.flows[name].shift), float(model.flows[name].scale)
            w = centre + spread * torch.linspace(-6, 6, 161)
            value = row.values[name].expand(len(w), *row.values[name].shape[1:])
            likelihood = model.decode({name: w[:, None]})[name].log_prob(value).double()
            pairs_w, pairs_u = w[:, None].repeat(len(u), 1), u.repeat_interleave(len(w), 0)
            flow = model.flow(name).log_prob(pairs_w, pairs_u).view(len(u), len(w)).double()
            log_p += (flow + likelihood).logsumexp(1) + math.log(float(w[1] - w[0]))
        evidence = log_p.logsumexp(0) + 2 * math.log(float(side[1] - side[0]))
    assert float(found) == pytest.approx(float(evidence), abs=0.03)
    assert -float(bound.loss) < float(evidence)


@pytest.mark.parametrize("stage", range(3))
def test_what_a_row_lacks_is_as_if_it_did_not_exist(monkeypatch, stage):
    """In loss and gradient; weights depend on a modality's name and the seed."""
    no_noise(monkeypatch)
    plan, model, data = made()
    fewer_plan, fewer, _ = made(only="m0,m1")
    values = data.batch(slice(0, 9)).values
    batch = Batch(values, torch.tensor([True, True, False]).expand(9, 3))
    losses = [
        stages_of(p, m)[stage].loss(b, torch.Generator().manual_seed(0)).loss
        for p, m, b in ((plan, model, batch), (fewer_plan, fewer, Batch({n: values[n] for n in ("m0", "m1")})))
    ]
    torch.testing.assert_close(*losses)
    found, expected = (gradients(m, loss) for m, loss in zip((model, fewer), losses, strict=True))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
    assert not any(bool(value.any()) for name, value in found.items() if name not in expected)


@pytest.mark.parametrize("stage", range(3))
def test_every_pattern_is_finite_and_the_order_of_modalities_does_not_matter(monkeypatch, stage):
    no_noise(monkeypatch)
    plan, model, data = made()
    values = data.batch(slice(0, 7)).values
    order = ("m2", "m0", "m1")
    other_plan = make_plan(TOY)
    turned = replace(
        other_plan.blueprint,
        modalities=tuple(m for n in order for m in plan.modalities if m.name == n),
        mixture=METHODS["aligned_flows"].mixture(order),
    )
    other_plan = replace(other_plan, blueprint=turned)
    other = other_plan.build()
    shown = PATTERNS if stage < 2 else PATTERNS[4:].repeat(3, 1)[:7]  # of several, stage 3 draws one
    losses = [
        stages_of(p, m)[stage].loss(b, None).loss
        for p, m, b in (
            (plan, model, Batch(values, shown)),
            (other_plan, other, Batch({n: values[n] for n in order}, shown[:, [2, 0, 1]])),
        )
    ]
    assert bool(losses[0].isfinite())
    torch.testing.assert_close(*losses)


def test_what_is_given_is_drawn_from_its_own_posterior_and_the_rest_from_flows():
    _, model, data = made()
    model.eval()
    batch = data.batch(slice(0, 3))
    batch = Batch(batch.values, torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 1]]).bool())
    source = RowNoise(0, "test", (0, 1, 2), spread=0.0)
    codes = model.posterior_codes(batch, ("m0", "m1"), ("m2", "m0"), source)
    assert list(codes) == ["m2", "m0"]
    own = model.vaes.encode(batch).mean
    torch.testing.assert_close(codes["m0"][[0, 2]], own[0][[0, 2]])
    said = batch.present * torch.tensor([True, True, False])
    u = torch.nn.functional.normalize((model.directions(batch) * said.T[..., None]).sum(0), dim=-1)
    expected = {name: model.flow(name).draw(torch.zeros(3, 2), u) for name in ("m0", "m2")}
    torch.testing.assert_close(codes["m0"][1], expected["m0"][1])
    torch.testing.assert_close(codes["m2"], expected["m2"])
    with pytest.raises(InputError, match="row 1 has none of m0"):
        model.posterior_codes(batch, ("m0",), ("m2",))


def test_a_mixture_keeps_contradictions_and_a_mean_settles_them(monkeypatch):
    drawn = {}
    for combine in ("mean", "mixture"):
        _, model, data = made(method_options=f"{SMALL.replace('.4', '.001')},combine={combine}")
        model.eval()
        batch = data.batch(slice(0, 1))
        batch = Batch({name: value.expand(400, *value.shape[1:]) for name, value in batch.values.items()})
        monkeypatch.setattr(ConditionalFlow, "draw", lambda flow, standard, u: u)
        drawn[combine] = model.posterior_codes(batch, ("m0", "m1"), ("m2",), torch.Generator().manual_seed(0))["m2"]
        first, second = model.directions(batch)[:2, 0].detach()
    near = [(drawn["mixture"] - one).norm(dim=-1) < 0.01 for one in (first, second)]
    assert 150 < int(near[0].sum()) < 250
    assert int((near[0] ^ near[1]).sum()) == 400
    middle = torch.nn.functional.normalize(first + second, dim=-1)
    assert float((drawn["mean"] - middle).norm(dim=-1).max()) < 0.01


@pytest.mark.parametrize("given", [("m0",), ("m0", "m1")])
def test_a_product_weighs_draws_of_the_prior_by_what_the_contrast_says_of_them(monkeypatch, given):
    """Shares of three points under p(u) prod_m exp(u u_m / temperature), in closed form."""
    _, model, data = made(method_options=f"{SMALL},combine=product,temperature=.8")
    model.eval()
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]])
    monkeypatch.setattr(model.prior, "sample", lambda count, generator: points[torch.arange(count) % 3])
    monkeypatch.setattr(ConditionalFlow, "draw", lambda flow, standard, u: u)
    row = data.batch([0])
    batch = Batch({name: value.expand(4000, *value.shape[1:]) for name, value in row.values.items()})
    drawn = model.posterior_codes(batch, given, ("m2",), torch.Generator().manual_seed(0))["m2"]
    found = torch.stack([(drawn == point).all(-1).float().mean() for point in points])
    said = model.directions(row)[: len(given), 0].detach().sum(0)
    torch.testing.assert_close(found, (points @ said / 0.8).softmax(-1), atol=0.03, rtol=0)


def test_of_several_draws_the_one_is_kept_whose_value_is_nearest_to_u():
    """More draws hold the fewer ones, so what is kept fits better or is the same."""
    rows = tuple(range(12))
    fits, kept = [], []
    for count in (1, 2, 8):
        _, model, data = made(method_options=f"{SMALL.replace('.4', '1e-6')},best_of={count}")
        model.eval()
        batch = data.batch(slice(0, 12))
        codes = model.posterior_codes(batch, ("m0",), ("m1",), RowNoise(0, "test", rows))
        values = batch.values | {name: law.mean for name, law in model.decode(codes).items()}
        of_given, of_drawn, _ = model.directions(Batch(values)).detach()
        fits.append((of_given * of_drawn).sum(-1))
        kept.append(codes["m1"])
    for fewer, more in ((0, 1), (1, 2)):
        same = (kept[fewer] == kept[more]).all(-1)
        assert bool((same | (fits[more] > fits[fewer] - 1e-4)).all())
        assert 0 < int(same.sum()) < 12


def test_flows_read_codes_of_unit_spread():
    """After `freeze` the draws of training rows that have a modality have mean 0 and sd 1, u as the prior's flow."""
    _, model, data = made(train_size=1200)
    present = data.present.clone()
    present[::3, 0] = False
    data = replace(data, present=present)
    model.freeze(data)
    batch = data.batch(slice(None))
    own = model.vaes.encode(batch)
    w = own.rsample(torch.randn(own.mean.shape, generator=torch.Generator().manual_seed(0)))
    for flow, value, seen in zip(model.flows.values(), w, present.T, strict=True):
        standard = (value[seen] - flow.shift) / flow.scale
        torch.testing.assert_close(standard.mean(0), torch.zeros(2), atol=0.1, rtol=0)
        torch.testing.assert_close(standard.std(0), torch.ones(2), atol=0.1, rtol=0)


def test_directions_are_standardised_over_the_rows_that_count():
    """As nn.BatchNorm1d does it, in value and gradient; later by its running averages."""
    torch.manual_seed(0)
    own, batch_norm = Direction(5, 3), torch.nn.BatchNorm1d(5, affine=False)
    seen = torch.tensor([True] * 6 + [False] * 3)
    features = (3 + 2 * torch.randn(9, 5)).requires_grad_()
    found = own(features, seen)
    expected = torch.nn.functional.normalize(own.linear(batch_norm(features[seen])), dim=-1)
    torch.testing.assert_close(found[seen], expected)
    torch.testing.assert_close(*(torch.autograd.grad(v[:, 0].sum(), features)[0] for v in (found[seen], expected)))
    torch.testing.assert_close(own.mean, batch_norm.running_mean)
    before = own.mean.clone(), own.variance.clone()
    own(features, torch.zeros(9, dtype=torch.bool))  # a batch without the modality
    assert torch.equal(own.mean, before[0])
    assert torch.equal(own.variance, before[1])
    own.eval()(features, seen)
    assert torch.equal(own.mean, before[0])


def trained(folder, *stops):
    """Weights and history of a whole training, which is interrupted after these steps."""
    for stop in (*stops, None):
        plan, model, _ = made()
        taken = steps(model, stages_of(plan, model), plan.rows_at, plan.validation, plan.config, folder)
        if stop is None:
            exhausted(taken)
        else:
            for _ in range(stop):
                next(taken)
            taken.close()
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return model.state_dict(), [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_training_goes_on_where_it_stopped_in_any_stage(tmp_path):
    whole, history = trained(tmp_path / "whole")
    assert [line["stage"] for line in history] == ["contrast", "vaes", "vaes", "flows", "flows"]
    again, other = trained(tmp_path / "again", 2, 3, 6)  # in each stage
    assert history == other
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_run_is_scored_loaded_and_used(tmp_path):
    run = pv.run(TOY.with_(metrics="bound,log_likelihood,objective"), tmp_path)
    assert {"bound", "log_likelihood"} <= set(run.notes)  # not defined: there is no joint posterior of one z
    assert run.metrics["objective/loss"] > 0
    model = run.load()
    assert model.generate(5)["m1"].shape == (5, *model.modalities[1].shape)
    source = RowNoise(0, "test", (0,))
    row = pv.datasets.load("toy", split="test", modalities=3, size=1).batch([0])
    codes = [m.posterior_codes(row, ("m0",), ("m1",), source)["m1"] for m in (model, run.load())]
    assert torch.equal(*codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": "m0"}, "compares modalities, but there is only one"),
        ({"method_options": "spread=0"}, "spread=0.0: it must be above 0"),
        ({"method_options": "transforms=0"}, "transforms=0: it must be at least 1"),
        ({"method_options": "best_of=0"}, "best_of=0: it must be at least 1"),
        ({"method_options": "combine=max"}, "combine=max: it must be mean, mixture"),
        ({"prior": "gmm"}, "--prior: method aligned_flows trains its own kind of model"),
    ],
)
def test_what_cannot_be_is_refused_before_compute(changes, message):
    with pytest.raises(InputError, match=message):
        make_plan(TOY.with_(**changes))
