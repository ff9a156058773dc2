"""All metrics through one door: names, needs, notes, invariance, and what plug-ins add."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from polyvae import metrics, subsets
from polyvae.errors import InputError
from polyvae.judges import pretrained
from polyvae.metrics import Evaluation, coherence, frechet
from polyvae.metrics.scoring import METRICS, metric_names, unmet
from polyvae.objectives import elbo
from polyvae.priors import Centred
from support.linear import drawn, linear_model
from support.painters import CRITIC, JUDGE, NAMES, ROWS, MixturePainter, Painter, agreeing, painted, vae


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
        "swap",
        "code_probe",
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


def test_model_and_data_must_agree():
    with pytest.raises(InputError, match="m0, m1, m2, the data m0, m1"):
        coherence(Painter(), painted().select(["m0", "m1"]), JUDGE)


def test_names_stand_for_sets_of_metrics():
    assert metric_names("none") == ()
    assert "frechet_effnet" not in metric_names("all")
    assert "frechet_effnet" in metric_names("all", ["effnet"])
    assert set(metric_names("default")) == {name for name, metric in METRICS.items() if metric.is_default}
    assert metric_names("kid, bound") == ("kid", "bound")
    with pytest.raises(InputError, match="'fid'"):
        metric_names("bound,fid")


def test_what_a_metric_lacks_is_said():
    data = painted()
    assert unmet("coherence", data) is None
    assert "no labels" in unmet("coherence", replace(data, labels=None))
    assert "one class" in unmet("linear_probe", replace(data, labels=torch.ones(ROWS, dtype=torch.long)))
    assert "is an image" in unmet("frechet_effnet", drawn(linear_model(), 9))
    assert "is text" in unmet("captions", data)
    assert "at least 200" in unmet("frechet_limit", data)


def test_only_metrics_that_can_be_scored_are_announced():
    model, data, lines = vae(subsets.mopoe(NAMES)), painted(), []
    names = ["bound", "captions", "kid", "latent"]
    _, notes = metrics.evaluate(model, Evaluation(data, data, None), names, lines.append)
    assert lines == ["scoring bound (1 of 2)", "scoring latent (2 of 2)"]
    assert {"captions", "kid"} <= set(notes)


def test_one_pass_gives_what_each_metric_finds_alone():
    model, data = vae(subsets.mopoe(NAMES)), painted()
    found, _ = metrics.evaluate(model, Evaluation(data, data, JUDGE, seed=4), ["coherence", "frechet", "diversity"])
    assert found.items() >= metrics.coherence(model, data, JUDGE, seed=4).items()
    assert found.items() >= metrics.frechet(model, data, data, JUDGE, seed=4).items()
    assert found["diversity/digits/m0/m1"] > 0


@pytest.fixture
def own_entries():
    """Tables that forget afterwards what a test adds."""
    tables = (METRICS, pretrained.EXTRACTORS)
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def test_a_metric_of_a_plugin_is_measured_by_its_name(own_entries):
    mine = metrics.Metric(lambda s: {"rows/test": float(len(s.on.test))}, "rows", warnings=lambda f: {"rows/test": "!"})
    metrics.register("rows", mine)
    found, notes = metrics.evaluate(Painter(), Evaluation(painted(), painted()), ["rows"])
    assert (found, notes) == ({"rows/test": ROWS}, {"rows/test": "!"})
    assert "rows" in metric_names("default")
    with pytest.raises(InputError, match="there is a metric 'rows' already"):
        metrics.register("rows", mine)


def test_a_metric_of_a_plugin_cannot_overwrite_another(own_entries):
    metrics.register("mine", metrics.Metric(lambda s: {"coherence/joint": 1.0}, "not its own"))
    found, notes = metrics.evaluate(Painter(), Evaluation(painted(), painted()), ["mine"])
    assert found == {}
    assert "returned key 'coherence/joint'; keys are 'mine'" in notes["mine"]


def test_an_extractor_of_a_plugin_brings_its_frechet_distance(own_entries):
    pixels = pretrained.Pretrained(lambda images: images[:, :, ::7, ::7].flatten(1), "pixels", "none")
    metrics.register_extractor(
        "pixels", metrics.ExtractorSource(lambda: pixels, "Fréchet distance of pixels", lambda: True)
    )
    assert "pixels" in pretrained.installed()
    assert "frechet_pixels" in metric_names("all", pretrained.installed())
    evaluation = Evaluation(painted(), painted(), extractors={"pixels": pixels})
    found, _ = metrics.evaluate(Painter(), evaluation, ["frechet_pixels"])
    assert "frechet/pixels/unconditional/m0" in metrics.by_prior(found)
    assert "frechet/pixels/conditional/m1+m2/m0" not in metrics.by_prior(found)


def test_what_depends_on_the_prior_changes_with_it_and_nothing_else_does():
    data = agreeing(30)
    model = vae(subsets.mopoe(NAMES))
    evaluation = Evaluation(
        data, data, JUDGE, CRITIC, objective=lambda b, n: elbo(model, b, model.mixture, generator=n)
    )
    names = [name for name in metric_names("all") if name != "ood"]
    before, _ = metrics.evaluate(model, evaluation, names)
    model.prior = Centred(4, "normal", learned=True)
    model.prior.logits.data[0] += 2.0
    after, _ = metrics.evaluate(model, evaluation, names)
    changed = {key for key in before if not np.isclose(before[key], after.get(key, np.nan), rtol=1e-6, equal_nan=True)}
    by_prior = set(metrics.by_prior(before))
    assert changed <= by_prior | {key for key in before if key.startswith(("latent/mismatch", "latent/collapsed"))}
    assert changed >= {"bound/loss", "objective/loss", "latent/rate/m0", "log_likelihood/joint"}
    assert by_prior >= {"bound/loss", "objective/loss", "coherence/joint", "latent/rate/m0", "log_likelihood/joint"}
