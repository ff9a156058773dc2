"""The audit of trained runs: every certified line, on laws whose entropies are known."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import polyvae as pv
from polyvae import datasets, subsets, theory
from polyvae.audits import audit as audits
from polyvae.audits.floors import add_floors
from polyvae.audits.laws import law_named, truth_of
from polyvae.report import figures, write_report
from polyvae.report.reading import read_runs
from polyvae.runs.finished import plan_of
from polyvae.runs.store import RunStore

QUICK = pv.RunConfig(
    dataset="symbols",
    network="mlp",
    latent_dim=3,
    epochs=8,
    learning_rate=3e-3,
    train_size=3000,
    metrics="none",
    threads=1,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


FAST = {("mopoe", 1.0), ("mvae", 0.2)}
TRAINED = [(method, beta) for beta in (1.0, 0.2) for method in ("mvae", "mmvae", "mopoe", "mvae_plus")]


@pytest.mark.parametrize(
    ("method", "beta"),
    [pytest.param(*run, marks=() if run in FAST else pytest.mark.slow) for run in TRAINED],
)
def test_trained_runs_respect_every_line(store, method, beta):
    result = pv.run(QUICK.with_(method=method, beta=beta), store)
    found = pv.audit(result)
    S = getattr(subsets, method.removesuffix("_plus"))(("m0", "m1", "m2"))
    law = law_named("symbols")
    assert found.delta == pytest.approx(theory.discrepancy(law, S))
    assert found.log_evidence == pytest.approx(-law.entropies.joint)
    assert {line.number for line in found.lines} == ({2, 3, 6} if beta == 1 else {2, 3, 4, 6})
    assert not found.violated
    parts = [(part.weight, part.measured) for part in found.by_subset]
    assert found.measured.distortion == pytest.approx(sum(w * m.distortion for w, m in parts))
    assert found.measured.rate == pytest.approx(sum(w * m.rate for w, m in parts))


def test_the_measured_bound_is_that_of_enumeration(store):
    """Distortion and rate against the objective on many rows of the law; complete rows leave the error of z alone."""
    result = pv.run(QUICK.with_(method="mopoe"), store)
    found, model = pv.audit(result, rows=300), result.load()
    rows = pv.datasets.load("symbols", split="test", size=20_000, seed=0)
    with __import__("torch").no_grad():
        bound = pv.objectives.elbo(model, rows.batch(slice(None)), model.mixture, allocation="exact")
    error = bound.log_likelihood.sum(-1).std() / np.sqrt(20_000)
    assert found.measured.distortion == pytest.approx(float(bound.distortion), abs=5 * float(error))
    assert found.measured.rate == pytest.approx(float(bound.rate), abs=5 * float(bound.kl.std()) / np.sqrt(20_000))
    assert found.measured.rate_error == pytest.approx(0, abs=1e-6)


def test_a_violated_line_is_an_error(store, monkeypatch):
    result = pv.run(QUICK.with_(method="mmvae"), store)

    def wrong(plan):
        found = truth_of(plan)
        h = found.entropies
        return replace(found, entropies=theory.Entropies(h.names, h.values * 3))

    monkeypatch.setattr(audits, "truth_of", wrong)
    with pytest.raises(pv.RunError, match="violates line"):
        pv.audit(result)


@pytest.mark.slow
def test_gaussian_runs_are_held_to_what_is_certain_of_densities(store):
    result = pv.run(QUICK.with_(dataset="toy", method="mopoe", modalities=2, epochs=20), store)
    found = pv.audit(result, rows=2000)
    assert {line.number for line in found.lines} == {2, 6}
    assert found.lines[-1].bound >= found.lines[0].bound
    law = law_named("toy", modalities=2)
    gaps = [law.encoder_gap([law.names.index(n) for n in part.given]) for part in found.by_subset]
    for part, gap in zip(found.by_subset, gaps, strict=True):  # H(X) + gap is the optimum for the true decoder
        assert part.measured.total(1) >= law.entropies.joint
        assert gap >= -1e-9


@pytest.mark.parametrize("likelihood", ["laplace", "laplace_8bit"])
def test_images_are_scored_by_bytes(store, likelihood):
    config = QUICK.with_(
        dataset="polymnist", modalities=2, method="mmvae", likelihood=likelihood, epochs=2, train_size=400, test_size=50
    )
    result = pv.run(config, store)
    found = pv.audit(result, rows=100)
    assert found.is_exact
    assert {line.number for line in found.lines} == ({2, 3, 6, 7} if likelihood == "laplace" else {2, 3, 6})
    six = max(line.bound for line in found.lines if line.number == 6)
    assert six > 100 * found.delta  # for a decoder that factorises over pixels line 3 is nearly empty
    assert plan_of(result.folder).modalities[0].likelihood == result.load().modalities[0].likelihood


def test_floors_of_records_are_those_of_an_audit_and_reach_the_report(store, tmp_path):
    config = QUICK.with_(
        dataset="polymnist", modalities=2, method="mmvae", metrics="bound", epochs=2, train_size=400, test_size=50
    )
    result = pv.run(config, store)
    own = RunStore(tmp_path)
    shutil.copytree(result.folder, own.folder(result.run_id))
    (own.folder(result.run_id) / "model.safetensors").unlink()  # the record is enough
    (floor,) = add_floors(own)
    truth = truth_of(replace(plan_of(result.folder), sampler=datasets.sampler("polymnist", modalities=2, split="test")))
    for name, other in (("m0", "m1"), ("m1", "m0")):  # seen in one of two subsets
        seen, unseen = truth.least_losses((name,))[name], truth.least_losses((other,))[name]
        assert floor.by_modality[name] == pytest.approx((seen + unseen) / 2)
    assert floor.floor == pytest.approx(sum(floor.by_modality.values()))
    assert floor.distortion == result.metrics["bound/distortion"] > floor.floor > 0
    assert floor.delta == pytest.approx(theory.discrepancy(truth.entropies, subsets.mmvae(("m0", "m1"))))
    groups, _ = read_runs(own)
    reached = {name: curves["MMVAE"][0] for name, curves in figures.floors(groups[0]).items()}
    assert {name: point.floor for name, point in reached.items()} == floor.by_modality
    assert sum(point.distortion for point in reached.values()) == pytest.approx(floor.distortion)
    assert reached["m0"].distortion == -result.metrics["bound/log_likelihood/m0"]
    write_report(own, tmp_path / "report")
    assert list((tmp_path / "report/figures").glob("floors-*.png"))


def test_floors_are_added_to_what_others_have_added_meanwhile(store, tmp_path, monkeypatch):
    result = pv.run(QUICK.with_(dataset="polymnist", modalities=2, metrics="bound", train_size=64, test_size=16), store)
    own = RunStore(tmp_path)
    own.folder(result.run_id).mkdir()
    own.finish(result.record)

    def others_add(plan):
        own.finish(replace(result.record, metrics=result.metrics | {"coherence/joint": 0.5}))
        return truth_of(plan)

    monkeypatch.setattr("polyvae.audits.floors.truth_of", others_add)
    (floor,) = add_floors(own)
    metrics = own.record(result.run_id).metrics
    assert (metrics["bound/floor"], metrics["coherence/joint"]) == (floor.floor, 0.5)


def test_records_of_other_data_have_no_floor(store, tmp_path):
    result = pv.run(QUICK.with_(dataset="polymnist", modalities=2, metrics="bound", train_size=64, test_size=16), store)
    own = RunStore(tmp_path)
    own.folder(result.run_id).mkdir()
    resolved = replace(result.record.resolved, data="elsewhere")
    own.finish(replace(result.record, resolved=resolved))
    said = []
    assert add_floors(own, say=said.append) == ()
    assert "data that differ" in said[0]


def test_what_cannot_be_audited_is_said_before_compute(store, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", a=rng.standard_normal((60, 2)), b=rng.standard_normal((60, 2)))
    own = pv.run(QUICK.with_(dataset="arrays", data=str(tmp_path / "own.npz"), epochs=1, train_size=None), store)
    with pytest.raises(pv.InputError, match="theory estimate"):
        pv.audit(own)
    normal = QUICK.with_(
        dataset="polymnist", modalities=2, likelihood="normal", epochs=1, train_size=64, test_size=16, method="mvae"
    )
    with pytest.raises(pv.InputError, match="laplace_8bit"):
        pv.audit(pv.run(normal, store))
    with pytest.raises(pv.InputError, match="no run 'nothing'"):
        pv.audit("nothing", store=store)
    with pytest.raises(pv.InputError, match="no law is known"):
        law_named("cub")
    with pytest.raises(pv.InputError, match="no option 'scale'"):
        law_named("xor", scale=0.5)


def test_the_old_names_lead_to_the_new_ones():
    assert (pv.theory.audit, pv.theory.estimate) == (pv.audit, pv.estimate)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pv.theory.nothing  # noqa: B018
