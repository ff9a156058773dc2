"""Regularisers on experts: closed forms, plain loops, missing modalities, and what of a run they reach."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

import polyvae as pv
from polyvae import Batch, InputError, subsets
from polyvae.gaussian import Gaussian
from polyvae.methods import METHODS
from polyvae.methods.method import Method
from polyvae.objectives import Contrast, OfTerms
from polyvae.objectives.regularisers import nt_xent
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from polyvae.training import parallel
from objectives.test_terms import NAMES, PATTERNS, batch_of, kind_of, model_of, result, with_gaps

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


def in_loops(means, present, temperature):
    """A mean over rows; of each row over its pairs; of each pair over both directions. means: (modality, batch, z)."""
    modalities, rows, _ = means.shape
    total = 0.0
    for row in range(rows):
        losses = []
        for m, n in itertools.combinations(range(modalities), 2):
            able = [r for r in range(rows) if present[r, m] and present[r, n]]
            if row not in able:
                continue
            for source, target in ((m, n), (n, m)):
                scores = {
                    (view, r): float(torch.cosine_similarity(means[source, row], means[view, r], dim=0)) / temperature
                    for view in (m, n)
                    for r in able
                    if (view, r) != (source, row)
                }
                losses.append(math.log(sum(map(math.exp, scores.values()))) - scores[target, row])
        total += sum(losses) / max(1, len(losses))
    return total / rows


@pytest.mark.parametrize("lacking", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_contrast_is_what_plain_loops_say(lacking, share):
    model = model_of()
    batch = with_gaps(batch_of(model), PATTERNS) if lacking else batch_of(model)
    experts = model.encode(batch)
    expected = in_loops(experts.mean[..., : round(2 * share)].detach(), batch.present, 0.4)
    assert Contrast(0.4, share)(model, batch, experts).item() == pytest.approx(expected)


def test_what_is_no_temperature_and_no_share_is_refused():
    for options in ({"temperature": 0.0}, {"share": 0.0}, {"share": 1.1}):
        with pytest.raises(InputError, match=f"{next(iter(options))}="):
            Contrast(**options)


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
    monkeypatch.setattr("polyvae.noise.normal", lambda source, rows, width, like: like.new_zeros(rows, width))
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
    monkeypatch.setattr("polyvae.noise.normal", lambda source, rows, width, like: like.new_zeros(rows, width))
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


def test_histories_and_records_name_them_and_the_bound_does_not_hold_them(tmp_path):
    config = TOY.with_(method="mvtcae_contrast", method_options="contrast=3", validation_fraction=0.2)
    run = pv.run(config.with_(metrics="bound,objective"), tmp_path)
    for line in map(json.loads, (run.folder / "history.jsonl").read_text().splitlines()):
        for means in (line, line["validation"]):
            expected = means["distortion"] + means["rate"] + 3 * means["regulariser"]["contrast"]
            assert means["loss"] == pytest.approx(expected, rel=1e-5)
    scores = run.metrics
    assert 0 < scores["regulariser/contrast"] < math.log(79) + 10
    assert {key for key in scores if key.startswith("bound/")} == {
        "bound/loss", "bound/distortion", "bound/rate", *(f"bound/log_likelihood/m{i}" for i in range(3))
    }  # fmt: skip
    assert scores["bound/loss"] == pytest.approx(scores["bound/distortion"] + scores["bound/rate"])


def test_several_processes_are_refused(monkeypatch):
    plan = make_plan(TOY.with_(method="mvtcae_contrast", metrics="none"))
    monkeypatch.setattr(parallel, "team", lambda: parallel.Team(0, 2))
    with pytest.raises(InputError, match="method mvtcae_contrast compares all rows of a batch; train it in one"):
        stages_of(plan, plan.build())


def test_a_method_with_regularisers_needs_a_recipe():
    with pytest.raises(InputError, match="'mine' has regularisers and no recipe"):
        Method("mine", subsets.mmvae, "", "", regularisers=lambda options: ())


@pytest.mark.parametrize("option", ["contrast=-1", "temperature=0", "share=2"])
def test_options_are_checked_before_compute(option):
    with pytest.raises(InputError, match=f"--method-options {option.split('=')[0]}="):
        make_plan(TOY.with_(method="mvtcae_contrast", method_options=option))
