"""Regularisers on experts: closed forms, plain loops, missing modalities, and what of a run they reach."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import polyvae as pv
from objectives.test_terms import NAMES, PATTERNS, batch_of, kind_of, model_of, no_noise, result, with_gaps
from polyvae import Batch, InputError, likelihoods, subsets
from polyvae.gaussian import Gaussian
from polyvae.methods import METHODS
from polyvae.methods.method import Method, Stage
from polyvae.modality import Modality
from polyvae.models.private import PrivateVAE, ReferenceVAE
from polyvae.objectives import Contrast, Cycle, OfTerms
from polyvae.objectives.regularisers import _before, nt_xent
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from polyvae.training import parallel

REGULARISED = [name for name, method in METHODS.items() if method.regularisers]
TOY = pv.RunConfig(dataset="toy", modalities=3, latent_dim=4, epochs=2, train_size=96, test_size=40, batch_size=24)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_of(rows):
    return torch.ones(rows, dtype=torch.bool)


def objective_of(name, **options):
    method = METHODS[name]
    return OfTerms(method.terms_for(options), method.regularisers_for(options))


# NT-Xent (T14).


def test_of_rows_that_are_all_alike_it_is_that_of_chance():
    row = random(1, 5)
    found = nt_xent(row.expand(7, 5), 3 * row.expand(7, 5), 0.3, all_of(7))
    torch.testing.assert_close(found, torch.full((7,), math.log(13), dtype=torch.float64))


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_of_partners_that_are_equal_and_orthogonal_to_all_others(temperature):
    rows = 6
    found = nt_xent(torch.eye(rows), 2 * torch.eye(rows), temperature, all_of(rows))
    torch.testing.assert_close(found, torch.full((rows,), math.log1p((2 * rows - 2) * math.exp(-1 / temperature))))


@pytest.mark.parametrize(("temperature", "captured"), [(1.0, 0.93), (0.5, 1.62), (0.2, 2.27), (0.1, 2.30)])
def test_ten_perfect_classes_lose_by_the_temperature(temperature, captured):
    """Means at the corners of a simplex, cosines 1 and -1/9; log(2B - 1) - loss is the information captured."""
    corners = torch.eye(10, dtype=torch.float64) - 0.1
    rows = corners.repeat(200, 1)
    gain = math.log(2 * len(rows) - 1) - nt_xent(rows, rows, temperature, all_of(len(rows))).mean().item()
    g = 10 / 9 / temperature
    assert gain == pytest.approx(math.log(10 * math.exp(g) / (math.exp(g) + 9)), abs=3e-3)
    assert gain == pytest.approx(captured, abs=7e-3)


def test_lengths_and_a_common_rotation_do_not_matter():
    first, second = random(9, 4), random(9, 4, seed=1)
    turned, _ = torch.linalg.qr(random(4, 4, seed=2))
    found = nt_xent(first, second, 0.2, all_of(9))
    lengths = random(9, 1, seed=3).exp()
    torch.testing.assert_close(nt_xent(lengths * first @ turned, 7 * second @ turned, 0.2, all_of(9)), found)


def test_under_mixed_precision_cosines_stay_precise():
    first, second = (random(9, 4, seed=seed).float() for seed in range(2))
    expected = nt_xent(first, second, 0.2, all_of(9))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nt_xent(first, second, 0.2, all_of(9)), expected)


def in_loops(first, second, temperature):
    """NT-Xent of each row of two views, a mean over both directions; lists of vectors."""
    views, losses = (first, second), []
    for row in range(len(first)):
        directions = []
        for own, other in ((0, 1), (1, 0)):
            scores = {
                (view, r): float(torch.cosine_similarity(views[own][row], vector, dim=0)) / temperature
                for view in (0, 1)
                for r, vector in enumerate(views[view])
                if (view, r) != (own, row)
            }
            directions.append(math.log(sum(map(math.exp, scores.values()))) - scores[other, row])
        losses.append(sum(directions) / 2)
    return losses


def mean_of(found, rows, times=None):
    """found: (row, loss) pairs; each row averages over what it has, and counts `times` as often."""
    by_row = [[loss for at, loss in found if at == row] for row in range(rows)]
    factors = [1] * rows if times is None else times
    return sum(n * sum(losses) / max(1, len(losses)) for n, losses in zip(factors, by_row, strict=True)) / rows


def contrast_in_loops(means, present, temperature, times=None):
    """means: (modality, batch, z)."""
    found = []
    for m, n in itertools.combinations(range(len(means)), 2):
        able = [row for row in range(len(present)) if present[row, m] and present[row, n]]
        losses = in_loops([means[m, row] for row in able], [means[n, row] for row in able], temperature)
        found += zip(able, losses, strict=True)
    return mean_of(found, len(present), times)


def squares(first, second, temperature):
    return [float((a - b).square().sum()) for a, b in zip(first, second, strict=True)]


@torch.no_grad()
def cycle_in_loops(model, batch, temperature, times=None, share=0.5, missed=in_loops):
    """At the means: no noise."""
    found, split = [], model.shared_dim
    for index, name in enumerate(model.names):
        able = [row for row in range(len(batch.present)) if batch.present[row, index]]
        codes = [model.encoders[name](batch.values[name][row])[0] for row in able]
        z, w = slice(split), slice(split, None)
        for own, other, weight in ((z, w, share), (w, z, 1 - share)):
            again = []
            for place, code in enumerate(codes):
                mixed = code.clone()
                mixed[other] = codes[place - 1][other]
                again.append(model.encoders[name](model.decoders[name](mixed))[0][own])
            losses = missed([code[own] for code in codes], again, temperature)
            found += [(row, 2 * weight * loss) for row, loss in zip(able, losses, strict=True)]
    return mean_of(found, len(batch.present), times)


def times(batch, is_asked):
    return batch.present.sum(-1).tolist() if is_asked else None


BATCHES = pytest.mark.parametrize("lacking", [False, True])


def batch_for(model, lacking):
    return with_gaps(batch_of(model), PATTERNS) if lacking else batch_of(model)


@BATCHES
@pytest.mark.parametrize(("share", "official"), [(1.0, False), (0.5, False), (1.0, True)])
def test_contrast_is_what_plain_loops_say(lacking, share, official):
    model = model_of()
    batch = batch_for(model, lacking)
    experts = model.encode(batch)
    means = experts.mean[..., : round(2 * share)].detach()
    expected = contrast_in_loops(means, batch.present, 0.4, times(batch, official))
    assert Contrast(0.4, share, official)(model, batch, experts).item() == pytest.approx(expected)


@BATCHES
@pytest.mark.parametrize(("official", "share"), [(False, 0.5), (True, 0.5), (False, 1.0), (False, 0.0), (True, 0.3)])
@pytest.mark.parametrize(("kind", "missed"), [("contrast", in_loops), ("square", squares)])
def test_a_cycle_is_what_plain_loops_say(lacking, official, share, kind, missed, monkeypatch):
    no_noise(monkeypatch)
    model = model_of(kind=PrivateVAE)
    batch = batch_for(model, lacking)
    expected = cycle_in_loops(model, batch, 0.4, times(batch, official), share, missed)
    cycle = Cycle(0.4, official, share, kind)
    assert cycle(model, batch, model.encode(batch)).item() == pytest.approx(expected, rel=1e-6)


def test_settings_out_of_range_are_refused():
    for kind, options in (
        (Contrast, {"temperature": 0.0}),
        (Cycle, {"temperature": -1.0}),
        (Cycle, {"cycle_share": -0.1}),
        (Contrast, {"share": 1.1}),
    ):
        with pytest.raises(InputError, match=f"--method-options {next(iter(options))}="):
            kind(**{name.removeprefix("cycle_"): value for name, value in options.items()})


# Cycles.


class Reads(nn.Module):
    """The values themselves as means, without spread."""

    def forward(self, values):
        return values, torch.full_like(values, -20.0)


class Draws(nn.Module):
    """What a decoder does with [z, w]."""

    def __init__(self, factors):
        super().__init__()
        self.factors = nn.Parameter(torch.tensor(factors))

    def forward(self, codes):
        return codes * self.factors


def painter(factors):
    """One modality of [z, w], two dimensions each."""
    spec = Modality("a", (4,), likelihoods.Normal(1.0))
    model = PrivateVAE([spec], {"a": (Reads(), Draws(factors))}, subsets.mmvae(("a",)), 4, private_dim=2)
    return model.double(), Batch({"a": random(6, 4)})


def test_a_cycle_of_a_decoder_that_draws_both_codes_finds_every_row_again(monkeypatch):
    no_noise(monkeypatch)
    model, batch = painter([1.0] * 4)
    z, w = batch.values["a"].split(2, -1)
    expected = (nt_xent(z, z, 0.2, all_of(6)) + nt_xent(w, w, 0.2, all_of(6))).mean() / 2
    torch.testing.assert_close(Cycle()(model, batch, model.encode(batch)), expected)
    assert Cycle(kind="square")(model, batch, model.encode(batch)) < 1e-12


def test_a_cycle_of_a_decoder_that_draws_w_alone_loses_z(monkeypatch):
    """Both mixed rows have z = 0 then, without an angle: chance, not less."""
    no_noise(monkeypatch)
    model, batch = painter([0.0, 0.0, 1.0, 1.0])
    z, w = batch.values["a"].split(2, -1)
    expected = (nt_xent(z, 0 * z, 0.2, all_of(6)) + nt_xent(w, w, 0.2, all_of(6))).mean() / 2
    torch.testing.assert_close(Cycle()(model, batch, model.encode(batch)), expected)
    assert nt_xent(z, 0 * z, 0.2, all_of(6)).mean() > math.log(11)
    lost = Cycle(kind="square")(model, batch, model.encode(batch))
    torch.testing.assert_close(lost, z.square().sum(-1).mean() / 2)


def test_the_row_before_is_the_last_one_that_has_the_modality():
    seen = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1]], dtype=torch.bool)
    found = _before(seen)
    assert [found[0, row] for row in (0, 1, 3)] == [3, 0, 1]
    assert found[1, 1] == 1
    assert [found[3, row] for row in (0, 2, 3)] == [3, 0, 2]
    assert found.min() == 0, "an index also where there is nothing"


def test_a_cycle_needs_private_codes():
    model = model_of()
    batch = batch_of(model)
    with pytest.raises(InputError, match="use the kind of model 'private'"):
        Cycle()(model, batch, model.encode(batch))


@BATCHES
def test_a_cycle_trains_encoders_and_decoders_of_what_is_there_and_no_reference(lacking):
    """T11."""
    model = model_of(kind=ReferenceVAE)
    batch = with_gaps(batch_of(model), [("a", "b")] * 4) if lacking else batch_of(model)
    Cycle()(model, batch, model.encode(batch), torch.Generator().manual_seed(0)).backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    moved = {name for name in reached if model.get_parameter(name).grad.any()}
    there = "ab" if lacking else "abc"
    parts = {f"{kind}.{name}" for kind in ("encoders", "decoders") for name in there}
    assert {".".join(name.split(".")[:2]).replace("modules_", "") for name in moved} == parts


def test_idmvae_without_its_regularisers_is_mmvae_plus():
    """T6, in loss and gradient."""
    model = model_of(kind=ReferenceVAE)
    functions = objective_of("idmvae", contrast=0.0, cycle=0.0), objective_of("mmvae_plus")
    for batch in (batch_for(model, False), batch_for(model, True)):
        found, expected = (
            result(model, function, batch, beta=2.5, generator=torch.Generator().manual_seed(0))
            for function in functions
        )
        torch.testing.assert_close(found, expected)


def test_of_one_modality_idmvae_without_cycle_is_the_vae_of_both_codes(monkeypatch):
    """T7, in loss and gradient, in expectation: here at the means, with the rate as it is sampled."""
    no_noise(monkeypatch)
    model = model_of(("a",), kind=ReferenceVAE)
    batch = batch_of(model)
    found = objective_of("idmvae", cycle=0.0)(model, batch, beta=0.7)
    assert found.regularisers["contrast"] == 0
    law = model.encode(batch)
    law = law.like(*(field[0] for field in law))
    likelihood = model.decode(law.mean)["a"].log_prob(batch.values["a"])
    rate = law.log_prob(law.mean) - model.prior.log_prob(law.mean)
    torch.testing.assert_close(found.loss, -(likelihood - 0.7 * rate).mean())


def test_on_complete_rows_the_official_regularisers_count_once_a_modality():
    model = model_of(kind=ReferenceVAE)
    batch = batch_of(model)
    official, paper = (
        objective_of(name)(model, batch, generator=torch.Generator().manual_seed(0)).regularisers
        for name in ("idmvae_official", "idmvae")
    )
    torch.testing.assert_close(official, {name: 3 * value for name, value in paper.items()})


# Missing modalities, and the objective as a whole.


@pytest.mark.parametrize("name", REGULARISED)
def test_without_weight_nothing_changes(name):
    """T6, in loss and gradient."""
    model, objective = model_of(make=METHODS[name].mixture, kind=kind_of(name)), objective_of(name)
    weightless = replace(objective, regularisers=[r._replace(weight=0.0) for r in objective.regularisers])
    without = replace(objective, regularisers=())
    for batch in (batch_of(model), with_gaps(batch_of(model), PATTERNS)):
        found, expected = (
            result(model, function, batch, generator=torch.Generator().manual_seed(0))
            for function in (weightless, without)
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", REGULARISED)
def test_the_loss_is_the_bound_and_the_weighted_regularisers(name):
    model = model_of(make=METHODS[name].mixture, kind=kind_of(name))
    batch, objective = batch_of(model), objective_of(name)
    bound = objective(model, batch, beta=0.7, allocation="exact")
    weights = {r.name: r.weight for r in objective.regularisers}
    assert bound.regularisers.keys() == weights.keys()
    assert all(value > 0 for value in bound.regularisers.values())
    added = sum(weights[key] * value for key, value in bound.regularisers.items())
    torch.testing.assert_close(bound.loss, bound.distortion + 0.7 * bound.rate + added)


@pytest.mark.parametrize("name", REGULARISED)
@pytest.mark.parametrize("given", PATTERNS, ids="".join)
def test_an_absent_modality_might_as_well_not_exist(name, given, monkeypatch):
    """T10: values and gradients are those of the model without it."""
    no_noise(monkeypatch)
    whole, part = (model_of(names, METHODS[name].mixture, kind_of(name)) for names in (NAMES, given))
    batch = batch_of(whole, 4)
    found = {}
    for key, model, rows in (
        ("whole", whole, with_gaps(batch, [given] * 4)),
        ("part", part, Batch({n: batch.values[n] for n in given})),
    ):
        model.zero_grad()
        bound = objective_of(name)(model, rows, allocation="exact")
        bound.loss.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        found[key] = {"loss": bound.loss.detach(), **bound.regularisers, **gradients}
        assert all(value.isfinite().all() for value in found[key].values())
    torch.testing.assert_close(found["whole"], found["part"])


@pytest.mark.parametrize("name", REGULARISED)
def test_the_order_of_modalities_does_not_matter(name, monkeypatch):
    """T10, with rows of every pattern."""
    no_noise(monkeypatch)
    losses = []
    for names in (NAMES, ("c", "a", "b")):
        model = model_of(names, METHODS[name].mixture, kind_of(name))
        values = batch_of(model_of()).values
        present = torch.tensor([[n in p for n in names] for p in PATTERNS])
        batch = Batch({n: values[n] for n in names}, present)
        losses.append(objective_of(name)(model, batch, allocation="exact").loss)
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("patterns", [[("a",), ("b",), ("c",)], [("a", "b")]], ids=["no pair", "no other row"])
def test_without_anything_to_compare_there_is_no_contrast(patterns):
    model = model_of()
    batch = with_gaps(batch_of(model), patterns)
    value = Contrast()(model, batch, model.encode(batch))
    value.backward()
    assert value == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


# Gradients (T11).


def test_contrast_trains_the_means_of_its_share_of_dimensions_and_nothing_else():
    model = model_of()
    model.latent_dim = 4
    experts = Gaussian(*(random(3, 7, 4, seed=seed).requires_grad_() for seed in range(2)))
    Contrast(share=0.5)(model, batch_of(model), experts).backward()
    assert experts.mean.grad[..., :2].all()
    assert not experts.mean.grad[..., 2:].any()
    assert experts.logvar.grad is None


def test_minimised_it_brings_the_views_of_a_row_together():
    first, second = random(8, 3).requires_grad_(), random(8, 3, seed=1).requires_grad_()
    optimiser = torch.optim.Adam([first, second], lr=0.05)
    for _ in range(200):
        loss = nt_xent(first, second, 0.2, all_of(8)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.5 < math.log(15)
    assert (torch.cosine_similarity(first, second) > 0.9).all()


# In runs.


@pytest.mark.parametrize("method", REGULARISED)
def test_histories_and_records_name_them_and_the_bound_does_not_hold_them(method, tmp_path):
    options = "contrast=3" if method == "mvtcae_contrast" else "contrast=3,cycle=2,private_dim=2"
    config = TOY.with_(method=method, method_options=options, validation_fraction=0.2, metrics="bound,objective")
    run = pv.run(config, tmp_path)
    factors = {"contrast": 3, "cycle": 2}
    for line in map(json.loads, (run.folder / "history.jsonl").read_text().splitlines()):
        for means in (line, line["validation"]):
            added = sum(factors[name] * value for name, value in means["regulariser"].items())
            assert means["loss"] == pytest.approx(means["distortion"] + means["rate"] + added, rel=1e-5)
    scores = run.metrics
    named = {key for key in scores if key.startswith("regulariser/")}
    assert named == {f"regulariser/{regulariser.name}" for regulariser in METHODS[method].regularisers_for({})}
    assert all(math.isfinite(value) for value in scores.values())
    assert {key for key in scores if key.startswith("bound/")} == {
        "bound/loss", "bound/distortion", "bound/rate", *(f"bound/log_likelihood/m{i}" for i in range(3))
    }  # fmt: skip
    assert scores["bound/loss"] == pytest.approx(scores["bound/distortion"] + scores["bound/rate"])
    assert run.load().names == ("m0", "m1", "m2")


CONTRASTIVE = TOY.with_(method="contrastive_plus", epochs=4, metrics="none")
SMALL = "private_dim=2,two_trunks=false"


def first_step(options):
    """(model, names of stages and their epochs, the bound of the first stage on a batch)."""
    plan = make_plan(CONTRASTIVE.with_(method_options=f"{SMALL},{options}"))
    model = plan.build()
    stages = stages_of(plan, model)
    bound = stages[0].loss(plan.train.batch(slice(0, 24)), torch.Generator().manual_seed(0))
    return model, {stage.name: stage.epochs for stage in stages}, bound


def test_contrastive_plus_is_first_aligned_by_contrast_alone():
    """The stage trains encoders of z, by the regulariser of the method, and takes its share of the epochs."""
    model, epochs, bound = first_step("alone=.25,contrast=7")
    assert epochs == {"contrast": 1, "together": 3}
    torch.testing.assert_close(bound.loss, 7 * bound.regularisers["contrast"])
    assert bound.regularisers.keys() == {"contrast"}
    assert bound.distortion == bound.rate == 0
    bound.loss.backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved
    assert all(name.startswith("encoders.") for name in moved)


def test_without_a_weight_or_a_share_contrast_alone_moves_nothing():
    """So that an ablation of the contrast has none in its first stage either."""
    model, _, bound = first_step("contrast=0")
    bound.loss.backward()
    assert not any(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)
    assert first_step("alone=0")[1] == {"together": 4}


def test_a_stage_of_a_regulariser_that_a_method_lacks_is_refused():
    plan = make_plan(CONTRASTIVE)
    plan = replace(plan, method=replace(plan.method, stages=(Stage("first", "contrsat"),)))
    with pytest.raises(InputError, match="stage 'first' minimises 'contrsat', not a regulariser of its method"):
        stages_of(plan, plan.build())


def test_several_processes_are_refused(monkeypatch):
    plan = make_plan(TOY.with_(method="mvtcae_contrast", metrics="none"))
    monkeypatch.setattr(parallel, "team", lambda: parallel.Team(0, 2))
    with pytest.raises(InputError, match="method mvtcae_contrast compares all rows of a batch; train it in one"):
        stages_of(plan, plan.build())


def test_a_method_with_regularisers_needs_a_recipe():
    with pytest.raises(InputError, match="'mine' has regularisers but no recipe"):
        Method("mine", subsets.mmvae, "", "", regularisers=lambda options: ())


@pytest.mark.parametrize(
    ("method", "option"),
    [
        *(("mvtcae_contrast", option) for option in ("contrast=-1", "temperature=0", "share=2", "alpha=2")),
        *(
            ("idmvae", option)
            for option in ("contrast=-1", "cycle=-1", "temperature=0", "private_dim=0", "cycle_kind=a")
        ),
    ],
)
def test_options_are_checked_before_compute(method, option):
    with pytest.raises(InputError, match=f"--method-options {option.split('=')[0]}="):
        make_plan(TOY.with_(method=method, method_options=option))
