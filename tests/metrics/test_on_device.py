"""Metrics away from the CPU: a device is asked once a batch or a metric, and says what a CPU says."""

from dataclasses import replace
from importlib import import_module

import pytest
import torch

from polyvae import RunConfig, metrics, waiting
from polyvae.metrics.scoring import METRICS, Scoring
from polyvae.runs.evaluation import evaluation_of
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from support.operations import Operations

ROWS = 16
CONFIG = RunConfig(
    dataset="polymnist", modalities=3, train_size=80, test_size=ROWS, latent_dim=6, network="mlp", device="cpu"
)
# Whether images are finite: those of prior samples, those given each subset of a pass.
ASKED_A_BATCH = {"coherence": 2, "frechet": 2, "diversity": 4, "linear_probe": 0, "log_likelihood": 0, "latent": 0}


@pytest.fixture
def world(hasty, monkeypatch):
    """An untrained model, and what it is measured on: with judges that know nothing but do not hold back."""
    monkeypatch.setattr("polyvae.judges.extractors.TRUSTED_FROM", 0.0)
    plan = make_plan(CONFIG.with_(metrics="default,label_free"))
    torch.manual_seed(0)
    model = plan.build().eval()
    return model, evaluation_of(plan, stages_of(plan, model)[-1].loss), plan.metrics


@pytest.fixture
def copied(monkeypatch):
    """A list that grows with every copy to the host."""
    made = []
    for name in ("cpu", "tolist"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda x, f=original: made.append(f) or f(x))
    return made


def test_a_device_is_asked_as_often_however_much_is_drawn(world, copied, monkeypatch):
    monkeypatch.setattr(waiting, "is_free", lambda device: False)
    monkeypatch.setattr(import_module("polyvae.metrics.diversity"), "DRAWS", 3)
    likelihoods = import_module("polyvae.metrics.log_likelihood")
    monkeypatch.setattr(likelihoods, "blind_log_likelihood", lambda *data, **options: 0.0)
    model, evaluation, _ = world
    for name, each in ASKED_A_BATCH.items():
        asked = []
        for batches in (1, 1, 4):  # what is known from then on is asked for once
            on = replace(evaluation, batch_size=ROWS // batches, samples=2, cache=None)
            before = len(copied)
            with Operations() as operations, torch.no_grad():
                METRICS[name].measure(Scoring(model, on, [name]))
            asked.append(len(operations.asked()) + len(copied) - before)
        assert asked[2] - asked[1] == 3 * each, name
        assert asked[1] < 100, name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_scores_as_a_cpu(world):
    model, evaluation, names = world
    here, _ = metrics.evaluate(model, evaluation, names)
    moved = replace(evaluation, test=evaluation.test.to("cuda"), train=evaluation.train.to("cuda"), cache=None)
    there, _ = metrics.evaluate(model.to("cuda"), moved, names)
    assert there.keys() == here.keys()
    assert len(here) > 100
    assert {key: value for key, value in there.items() if value != pytest.approx(here[key], rel=1e-3, abs=1e-3)} == {}
