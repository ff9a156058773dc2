"""A model that is no joint VAE goes through everything that a run is used for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import polyvae as pv
from polyvae import noise
from polyvae.cli import main
from polyvae.models import TrainableModel, is_joint
from polyvae.objectives import Bound

CONFIG = pv.RunConfig(
    dataset="symbols", modalities=3, method="private_codes", train_size=300, test_size=80, epochs=1, latent_dim=3
)


class PrivateCodes(TrainableModel):
    """Every target has its own code: the mean symbol of what is given, beside private noise. No S, no posterior."""

    def __init__(self, blueprint):
        super().__init__()
        self.modalities = blueprint.modalities
        self.names = tuple(m.name for m in blueprint.modalities)
        width = blueprint.modalities[0].shape[0]
        self.width, self.decoders = width, nn.ModuleDict({name: nn.Linear(width + 2, width) for name in self.names})

    def prior_codes(self, count, generator=None):
        like = self.decoders[self.names[0]].weight
        shown = torch.full((count, self.width), 1 / self.width).to(like)
        return self._private(shown, self.names, generator)

    def posterior_codes(self, batch, given, targets, generator=None):
        seen = batch.present & torch.tensor([name in set(given) for name in self.names])
        values = torch.stack([batch.values[name] for name in self.names], 1) * seen[..., None]
        return self._private(values.sum(1) / seen.sum(1, keepdim=True).clamp(min=1), targets, generator)

    def _private(self, shown, targets, generator):
        standard = noise.normal(generator, len(shown), 2 * len(self.names), shown).chunk(len(self.names), -1)
        return {name: torch.cat([shown, standard[self.names.index(name)]], -1) for name in targets}

    def decode(self, codes):
        return {
            m.name: m.distribution(self.decoders[m.name](codes[m.name])) for m in self.modalities if m.name in codes
        }


def reconstruction(model, batch, mixture, *, beta, weights, generator):
    """Cross-entropy of every modality given all; beta weighs nothing here."""
    likelihoods = model.decode(model.posterior_codes(batch, model.names, model.names, generator))
    scores = torch.stack([likelihoods[name].log_prob(batch.values[name]) for name in model.names], -1)
    scores = torch.where(batch.present, scores, 0.0)
    loss, kl = -(scores * weights).sum(-1).mean(), scores.new_zeros(len(scores))
    return Bound(loss, scores, kl, -scores.sum(-1).mean(), kl.mean())


@pytest.fixture(autouse=True)
def registered():
    """The model and its method, for the time of a test."""
    pv.models.register("private_codes", PrivateCodes)
    stages = (pv.methods.Stage(objective=reconstruction),)
    method = replace(pv.methods.METHODS["mmvae"], name="private_codes", model="private_codes", stages=stages)
    pv.methods.register(method)
    yield
    del pv.models.MODELS["private_codes"], pv.methods.METHODS["private_codes"]


@pytest.fixture
def run(tmp_path):
    return pv.run(CONFIG, tmp_path / "runs")


def test_it_is_trained_scored_and_loaded(run):
    assert not is_joint(run.load())
    assert json.loads((run.folder / "model.json").read_text())["kind"] == "private_codes"
    assert run.metrics["objective/loss"] > 0
    for name in ("bound", "latent", "linear_probe", "log_likelihood"):
        assert name in run.notes, f"{name} has no meaning for a model without a joint posterior"
    batch = pv.datasets.load("symbols", split="test", modalities=3, size=5).batch(slice(None))
    codes = [
        model.posterior_codes(batch, ("m0",), ("m1",), noise.RowNoise(0, "test", tuple(range(5))))
        for model in (
            run.load(),
            pv.load(run.folder),
        )
    ]
    assert torch.equal(codes[0]["m1"], codes[1]["m1"])
    assert torch.equal(run.load().generate(7)["m2"].sum(-1).round(), torch.ones(7))


def test_the_commands_use_it(run, tmp_path, capsys):
    store, data = ["--store", str(run.folder.parent)], tmp_path / "rows.npz"
    test = pv.datasets.load("symbols", split="test", modalities=3, size=6)
    np.savez(data, **{name: test.values[name].numpy() for name in ("m0", "m1")})
    main(["evaluate", run.run_id, "--metrics", "imputation", *store])
    main(["generate", run.run_id, "--count", "4", "--out", str(tmp_path / "g.npz"), *store])
    main(["generate", run.run_id, "--given", "m0", "--count", "4", "--out", str(tmp_path / "c.npz"), *store])
    main(["impute", run.run_id, "--data", str(data), "--out", str(tmp_path / "i.npz"), *store])
    main(["report", "--out", str(tmp_path / "report"), *store])
    assert np.load(tmp_path / "g.npz")["m0"].shape == np.load(tmp_path / "c.npz")["m0"].shape == (4, 16)
    assert np.load(tmp_path / "i.npz")["m2.class"].shape == (6,)
    assert "private_codes" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize("command", [["fit-prior"], ["theory", "audit"]], ids=lambda words: words[-1])
def test_what_needs_one_latent_space_says_so(run, command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*command, run.run_id, "--store", str(run.folder.parent)])
    assert exit_.value.code == 2
    assert "no joint posterior" in capsys.readouterr().err


def test_a_kind_that_nobody_registered_is_named(run):
    del pv.models.MODELS["private_codes"]
    try:
        with pytest.raises(pv.InputError, match=r"kind of model 'private_codes'.*--plugin"):
            pv.load(run.folder)
    finally:
        pv.models.register("private_codes", PrivateCodes)
