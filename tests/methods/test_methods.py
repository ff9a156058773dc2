"""The table of methods, what a run minimises, and a fitted prior from training to scores."""

import inspect
import itertools
import json
import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

import polyvae as pv
from polyvae import Batch, InputError, noise, objectives, subsets
from polyvae.cli import main
from polyvae.methods import METHODS, cost, file_of
from polyvae.methods.mvae_plus_random import elbo_with_random_subsets
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from polyvae.subsets import Listed, Term
from support.arrays import tables_with_gaps
from support.slow import slow_unless

NAMES = ("m0", "m1", "m2")
TOY = pv.RunConfig(dataset="toy", modalities=3, latent_dim=3, epochs=2, train_size=120, test_size=40, batch_size=40)


def planned(**changes: object) -> object:
    return make_plan(TOY.with_(metrics="bound", **changes)).settings


def test_a_config_overrides_what_a_method_says():
    settings = planned(method="mmvae_official")
    assert (settings.objective, settings.samples, settings.allocation) == ("dreg_looser_official", 30, "exact")
    assert (settings.prior, settings.family.kind, settings.family.scale) == ("learned_laplace", "laplace", "softmax")
    settings = planned(method="mmvae", objective="iwae", objective_samples=3, prior="gmm", posterior="laplace")
    assert (settings.objective, settings.samples, settings.allocation) == ("iwae", 3, "systematic")
    assert (settings.prior, settings.components, settings.family.kind) == ("gmm", 50, "laplace")
    assert planned(method="mvae_plus").allocation == "exact"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "vimco"}, "unknown objective 'vimco'"),
        ({"objective_samples": 4}, "elbo draws one sample"),
        ({"method": "mvae_plus", "objective": "iwae"}, "not all terms of mvae_plus predict everything"),
        ({"method": "mvae_plus_random", "objective": "elbo"}, "has its own"),
        ({"method": "mopoe", "posterior": "laplace"}, "--posterior laplace: S needs products"),
        ({"method": "mmvae_official", "posterior": "normal", "prior": "cauchy"}, "--prior cauchy is unknown"),
        ({"prior_components": 4}, "--prior-components applies to the priors gmm"),
        ({"method": "unimodal_dreg"}, "m0"),
        ({"method": "crmvae", "objective": "iwae"}, "has its own"),
        ({"method": "mvtcae", "method_options": "alpha=2"}, r"--method-options alpha=2.0: it must be in \[0, 1\]"),
        ({"method": "jmvae", "method_options": "alpha=-1"}, "alpha=-1.0: it must be at least 0"),
        ({"method": "mmvm", "method_options": "a=.5"}, "no option 'a'"),
        ({"method": "mvtcae", "only": "m0"}, "method mvtcae compares modalities, but there is only one"),
        ({"method": "jmvae", "posterior": "laplace"}, "--posterior laplace: S needs products"),
        ({"method": "mmjsd", "posterior": "laplace"}, "--posterior laplace: method mmjsd multiplies posteriors"),
        ({"method": "jnf", "method_options": "leapfrog=0"}, "leapfrog=0: it must be at least 1"),
        ({"method": "jnf", "method_options": "transforms=0"}, "transforms=0: it must be from 1 to 100"),
        ({"method": "jnf", "method_options": "step_size=0"}, "step_size=0.0: it must be above 0"),
        ({"method": "jnf", "method_options": "features=3"}, "no option 'features'"),
        ({"method": "jnf_dcca", "method_options": "features=0"}, "features=0: it must be at least 1"),
        ({"method": "telbo", "only": "m0"}, "method telbo compares modalities, but there is only one"),
        ({"method": "idmvae", "batch_size": 1}, "--batch-size 1: method idmvae compares rows"),
        ({"method": "helvae", "posterior": "laplace"}, "method helvae pools Normal posteriors"),
        ({"method": "mvtcae", "objective_samples": 8}, "method mvtcae has its own"),
        ({"method": "mvtcea"}, "did you mean mvtcae"),
        ({"method": "mmjsd", "prior": "gmm"}, "--prior gmm: a term of mmjsd assumes"),
        ({"method": "jmvae", "prior": "gmm"}, r"--prior gmm: method jmvae divides by N\(0, I\) at test time"),
        ({"method": "telbo", "prior": "learned_normal"}, "--prior learned_normal: method telbo divides"),
        ({"method": "mvtcae_over_messages", "prior": "gmm"}, "method mvtcae_over_messages divides"),
    ],
)
def test_what_cannot_go_together_is_refused_before_compute(changes, message):
    with pytest.raises(InputError, match=message):
        planned(**changes)


def test_objectives_enter_the_run_id_and_defaults_do_not():
    ids = {TOY.with_(**changes).run_id() for changes in ({}, {"objective": "iwae"}, {"prior": "flow"})}
    assert len(ids) == 3
    assert TOY.run_id() == TOY.with_(objective="auto", prior="auto", posterior="auto", objective_samples=None).run_id()


def test_revised_arithmetic_enters_the_id_and_others_keep_theirs():
    """So that no run whose encoders were trained with w^2 is taken for one of the published code."""

    def tail(method: str) -> dict[str, object]:
        plan = make_plan(TOY.with_(method=method, metrics="none"))
        assert plan.run_id == plan.config.run_id(plan.identity)
        return {name: value for name, value in plan.identity.items() if name != "data"}

    assert tail("mmvae_official") == {"objective_revision": 2}
    assert tail("code_vae") == {"method_revision": 2}
    assert tail("mmvae") == tail("mopoe") == {}


def test_random_subsets_average_to_all_of_them(monkeypatch):
    """Without posterior noise, the mean over the pairs drawn is the mean over all pairs."""
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: torch.zeros(rows, width).to(like))
    config = TOY.with_(modalities=4, method="mvae_plus_random", metrics="none")
    plan = make_plan(config)
    model = plan.build()
    batch, names = plan.test.batch(slice(0, 10)), model.names
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        how = {"allocation": "exact", "beta": 0.5}
        drawn = torch.stack(
            [elbo_with_random_subsets(model, batch, plan.mixture, generator=generator, **how).loss for _ in range(500)]
        )
        base = objectives.elbo(model, batch, plan.mixture, **how).loss
        given = [a for size in (2, 3) for a in itertools.combinations(names, size)]
        terms = [Term(a, 1.0, target=a, prior_expert=True) for a in given]
        every = objectives.elbo(model, batch, Listed(names, tuple(terms)), **how).loss
    error = drawn.std() / len(drawn) ** 0.5
    assert drawn.mean().item() == pytest.approx((base + 2 * every / len(given)).item(), abs=4.5 * error.item())
    assert error > 0


def test_of_two_modalities_there_are_no_random_subsets():
    plan = make_plan(TOY.with_(modalities=2, method="mvae_plus_random", metrics="none"))
    model, batch = plan.build(), plan.test.batch(slice(0, 10))
    found = [
        function(model, batch, plan.mixture, allocation="exact", generator=torch.Generator().manual_seed(0)).loss
        for function in (elbo_with_random_subsets, objectives.elbo)
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.mixture])
def test_the_cost_of_a_method_is_what_it_does(name, monkeypatch):
    """Rows through encoders and decoders in one step, counted (random terms come on top)."""
    method = METHODS[name]
    config = TOY.with_(method=name, metrics="none", only="m0" if method.is_single else None)
    plan = make_plan(config)
    model = plan.build()
    batch, counted = Batch({n: v[:30] for n, v in plan.test.batch(slice(0, 40)).values.items()}), {"in": 0, "out": 0}
    joint = model.joint.encoders.values() if hasattr(model, "joint") else ()
    coders = next((getattr(model, part) for part in ("autoencoders", "vaes") if hasattr(model, part)), model)
    for kind, modules in (("in", [*coders.encoders.values(), *joint]), ("out", coders.decoders.values())):
        for module in modules:
            module.register_forward_hook(
                lambda m, i, o, kind=kind: counted.__setitem__(kind, counted[kind] + len(i[0]))
            )
    extra = name == "mvae_plus_random"
    stages = list(zip(method.stages, stages_of(plan, model), strict=True))
    with torch.no_grad():  # the run's own stage; without one, the stage that trains encoders and decoders
        (counted_in,) = [loss for row, loss in stages if row.objective is None][:1] or [
            loss for _, loss in stages if {*coders.decoders.parameters()} <= {*loss.parameters}
        ][:1]
        counted_in.loss(batch, torch.Generator().manual_seed(0))
    encoded, decoded = cost(method, NAMES)
    assert counted["in"] / 30 == pytest.approx(encoded, rel=0.25)
    assert counted["out"] / 30 > decoded if extra else counted["out"] / 30 == decoded


def test_the_official_methods_run_resume_and_load(tmp_path):
    for changes in ({"method": "mmvae_official"}, {"method": "unimodal_dreg", "only": "m1"}):
        config = TOY.with_(objective_samples=4, latent_dim=6, metrics="bound,log_likelihood,latent", **changes)
        result = pv.run(config, tmp_path)
        assert result.record.resolved.objective == "dreg_looser_official"
        assert all(np.isfinite(value) for value in result.metrics.values())
        model = result.load()
        assert model.family.kind == "laplace"
        assert model.prior.logits.abs().max() > 0, "the prior has learned"


@pytest.mark.parametrize(
    "method",
    slow_unless(
        lambda method: method in ("jmvae", "mvtcae_over_messages", "mmvae_plus"),
        ["jmvae", "telbo", "mvtcae_over_messages", "mmvm", "mmvae_plus", "mmvae_plusplus"],
    ),
)
def test_methods_of_terms_are_trained_on_gaps_scored_and_loaded(method, tmp_path):
    arrays = tables_with_gaps(120)
    np.savez(tmp_path / "mine.npz", **arrays)
    config = pv.RunConfig(dataset="arrays", data=str(tmp_path / "mine.npz"), method=method, latent_dim=2, epochs=2)
    result = pv.run(config.with_(metrics="bound,objective,log_likelihood,imputation"), tmp_path / "runs")
    assert {"bound/loss", "objective/loss", "log_likelihood/joint"} <= set(result.metrics)
    assert all(np.isfinite(value) for value in result.metrics.values())
    assert result.record.resolved.objective is None
    assert result.record.resolved.is_bound is (method in ("jmvae", "telbo"))
    model = result.load()
    assert type(model) is pv.models.MODELS[METHODS[method].model]
    rows = Batch({name: torch.from_numpy(arrays[name][:5]) for name in NAMES})
    for given in (NAMES, NAMES[:1], NAMES[1:]):
        assert all(v.isfinite().all() for v in model.generate(rows, given).values())


@pytest.mark.parametrize("prior", ["gmm", "vamp", "flow"])
def test_a_run_learns_its_prior(prior, tmp_path):
    result = pv.run(TOY.with_(method="mopoe", prior=prior, metrics="bound"), tmp_path)
    fresh = make_plan(TOY.with_(method="mopoe", prior=prior)).build()
    learned = result.load()
    moved = [not torch.equal(a, b) for a, b in zip(fresh.prior.parameters(), learned.prior.parameters(), strict=True)]
    assert any(moved)
    assert learned.generate(4)["m0"].isfinite().all()


def test_a_prior_is_fitted_used_and_scored(tmp_path, capsys):
    store, out = str(tmp_path / "runs"), tmp_path / "drawn.npz"
    result = pv.run(TOY.with_(metrics="bound", epochs=4), store)
    before = dict(result.metrics)
    main(["fit-prior", result.run_id, "--kind", "gmm", "--components", "2", "--store", store])
    assert "log density of held-out codes" in capsys.readouterr().out
    main(["generate", result.run_id, "--prior", "gmm", "--count", "7", "--out", str(out), "--store", store, "--quiet"])
    assert np.load(out)["m0"].shape[0] == 7
    stale = {"prior/gmm/bound/gone": 1.0, "prior/gmm/latent/rate/m0": 2.0, "prior/flow/bound/gone": 3.0}
    pv.RunStore(store).finish(replace(result.record, metrics=before | stale))
    main(["evaluate", result.run_id, "--prior", "gmm", "--metrics", "bound", "--store", store, "--quiet"])
    scores = json.loads((result.folder / "record.json").read_text())["metrics"]
    assert scores["prior/gmm/bound/rate"] < before["bound/rate"], "codes are likelier under a prior fitted to them"
    assert {key: value for key, value in scores.items() if not key.startswith("prior/")} == before
    assert scores.keys() & stale.keys() == stale.keys() - {"prior/gmm/bound/gone"}, "what was scored again is replaced"


def test_bad_use_of_fitted_priors_is_named(tmp_path, capsys):
    store = str(tmp_path / "runs")
    run_id = pv.run(TOY.with_(metrics="none"), store).run_id
    for arguments, message in (
        (["generate", run_id, "--prior", "flow"], "polyvae fit-prior"),
        (["generate", run_id, "--prior", "gmm", "--given", "m0"], "leave out --given"),
        (["fit-prior", run_id, "--components", "0"], "--components is 0"),
        (["fit-prior", run_id, "--components", "90"], "too few for 90 components"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, "--store", store])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_every_s_is_listed_with_its_objective(capsys):
    main(["methods"])
    shown = capsys.readouterr().out
    assert set(METHODS) <= set(shown.split())
    assert subsets.mmvae(NAMES) == METHODS["mmvae_official"].mixture(NAMES)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_shown_with_its_source_formula_options_and_defaults(name, capsys):
    main(["methods", name])
    shown, method = capsys.readouterr().out, METHODS[name]
    assert f" source       {method.source}" in shown
    assert str(inspect.getdoc(file_of(method))) in shown
    for field in fields(method.options) if method.options else ():
        value = re.search(rf"\b{field.name}=([^,\s]+)", shown)[1]
        if isinstance(field.default, float):
            assert float(value) == pytest.approx(field.default, rel=1e-3)
        else:
            assert value == str(field.default)
