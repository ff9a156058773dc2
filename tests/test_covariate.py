"""A covariate: codes need not hold it; every row is decoded at its own level, or at another one if that is asked."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from polyvae import InputError, Modality, RunConfig, likelihoods, load, priors, waiting
from polyvae.cli import main
from polyvae.covariate import Covariate, Levels, beside
from polyvae.dataset import MultimodalDataset
from polyvae.datasets import load as load_data
from polyvae.imputation import impute
from polyvae.methods import METHODS
from polyvae.models import MODELS
from polyvae.noise import RowNoise
from polyvae.objectives import OBJECTIVES
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of

TAKING = [name for name, method in METHODS.items() if MODELS[method.model].takes_covariate and name != "custom"]
BATCH = Covariate("batch", ("A", "B", "C"), (0.5, 0.3, 0.2))
CONFIG = RunConfig(network="mlp", latent_dim=3, validation_fraction=0.0, test_size=3, metrics="none", device="cpu")


def shifted(rows=800, seed=0):
    """Two tables of one z, and a batch that shifts both."""
    rng, law = np.random.default_rng(seed), np.random.default_rng(99)
    z, batch = rng.standard_normal((rows, 2)), rng.integers(0, 2, rows)
    tables = {}
    for name, width in (("rna", 6), ("surface", 4)):
        of_z, of_batch = law.standard_normal((2, width)), law.standard_normal(width)
        tables[name] = z @ of_z + 1.5 * batch[:, None] * of_batch + 0.3 * rng.standard_normal((rows, width))
    return tables | {"batch": np.where(batch == 1, "B", "A")}


def leveled(lacking=False, step=1):
    """12 rows at levels 0, step, 2 step, ... of three."""
    torch.manual_seed(0)
    specs = (Modality("a", (3,), likelihoods.Normal(0.5)), Modality("b", (2,), likelihoods.Normal(0.5)))
    present = torch.ones(12, 2, dtype=torch.bool)
    if lacking:
        present[::3, 0] = False
        present[1::3, 1] = False
    values = {m.name: torch.randn(12, *m.shape) for m in specs}
    return MultimodalDataset("mine", specs, values, present, levels=Levels(BATCH, step * torch.arange(12) % 3))


def model_of(plan):
    """Its model, with decoders that are deaf to codes: what they give is a function of the level."""
    model = plan.build()
    for decoder in model.decoders.values():
        with torch.no_grad():
            decoder[0].weight[:, : -len(BATCH.levels)] = 0.0
    return model


def law_at(model, level):
    """The likelihoods of `model_of` at a level, one-hot (1, level)."""
    return model.decode(beside(torch.zeros(1, model.latent_dim), level))


def scores_by_row(model, batch):
    """log likelihood (batch, modality) by `model_of`, each row by itself; 0 where it is absent."""
    rows = []
    for i, present in enumerate(batch.present):
        laws = law_at(model, batch.level[i : i + 1])
        each = torch.cat([law.log_prob(batch.values[name][i : i + 1]) for name, law in laws.items()])
        rows.append(torch.where(present, each, 0.0))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("lacking", "is_free"),
    [
        pytest.param(False, True, marks=pytest.mark.slow, id="whole-cpu"),
        pytest.param(False, False, marks=pytest.mark.slow, id="whole-accelerator"),
        pytest.param(True, True, id="lacking-cpu"),
        pytest.param(True, False, id="lacking-accelerator"),
    ],
)
@pytest.mark.parametrize(
    "changes",
    [
        *({"method": name} for name in TAKING if not name.startswith("unimodal")),
        *({"method": "mopoe", "objective": name} for name in OBJECTIVES),
        {"method": "mopoe", "allocation": "exact"},
    ],
    ids=lambda changes: "-".join(changes.values()),
)
def test_every_objective_decodes_every_row_at_its_own_level(changes, lacking, is_free, monkeypatch):
    """Scores are those of the levels, times weights that know nothing of levels."""
    monkeypatch.setattr(waiting, "is_free", lambda device: is_free)
    shares = []
    for step in (1, 2):
        data = leveled(lacking, step)
        plan = make_plan(CONFIG.with_(**changes), data)
        model, batch = model_of(plan), data.batch(slice(None))
        bound = stages_of(plan, model)[-1].loss(batch, torch.Generator().manual_seed(1))
        shares.append((bound.log_likelihood / scores_by_row(model, batch))[batch.present])
        bound.loss.backward()
        assert model.by_level.bias.grad.abs().sum() > 0, "encoders are told, too"
    torch.testing.assert_close(*shares, rtol=1e-4, atol=1e-5)


def test_importance_weights_are_those_of_the_level():
    found = []
    for step in (1, 2):
        data = leveled(True, step)
        model, batch = model_of(make_plan(CONFIG, data)), data.batch(slice(None))
        weights = model.log_weights(batch, ("a", "b"), ("a", "b"), 4, torch.Generator().manual_seed(0))
        found.append(weights - scores_by_row(model, batch).sum(-1))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", [name for name in TAKING if not name.startswith("unimodal")])
def test_what_is_filled_in_and_generated_is_that_of_the_level(method):
    data = leveled(lacking=True)
    model, batch = model_of(make_plan(CONFIG.with_(method=method), data)), data.batch(slice(None))
    at = {name: law_at(model, torch.eye(3)[i : i + 1])["a"].mean for i, name in enumerate(BATCH.levels)}
    own, missing = torch.cat(list(at.values()) * 4), ~batch.present[:, 0]
    torch.testing.assert_close(impute(model, batch, draws=3)["a"].mean[missing], own[missing])
    at_c = impute(model, batch, draws=3, level="C")["a"].mean
    torch.testing.assert_close(at_c[missing], at["C"].expand(12, -1)[missing])
    torch.testing.assert_close(at_c[~missing], batch.values["a"][~missing])
    torch.testing.assert_close(model.generate(batch, targets=["a"])["a"], own)
    torch.testing.assert_close(model.generate(4, level="B")["a"], at["B"].expand(4, -1))
    drawn = model.generate(4000, generator=torch.Generator().manual_seed(0))["a"]
    shares = [float((drawn - mean).abs().sum(-1).lt(1e-5).double().mean()) for mean in at.values()]
    np.testing.assert_allclose(shares, BATCH.shares, atol=0.03)
    if hasattr(model, "swapped_codes"):
        codes = model.swapped_codes(batch, data.rows([0] * 12).batch(slice(None)))
        torch.testing.assert_close(model.decode(codes)["a"].mean, own)


def test_the_level_of_a_sample_says_nothing_of_the_part_of_the_prior_that_its_code_is_from():
    model = make_plan(CONFIG, leveled()).build()
    model.prior = priors.make("gmm", 3, components=2)
    with torch.no_grad():
        model.prior.means.copy_(torch.tensor([[-9.0] * 3, [9.0] * 3]))
    rows = RowNoise(0, "samples", tuple(range(4000)))
    codes = model.prior_codes(4000, rows)["a"].double()
    assert torch.corrcoef(codes.T)[:3, 3:].abs().max() < 5 / 4000**0.5


def test_levels_and_codes_that_do_not_fit_are_refused():
    data = leveled()
    model, batch = model_of(make_plan(CONFIG, data)), data.batch(slice(None))
    with pytest.raises(InputError, match="batch 'D' is not one of those trained on: A, B, C"):
        model.generate(4, level="D")
    with pytest.raises(InputError, match="codes have 3 dimensions; decoders read 3 beside the 3 levels of a covariate"):
        model.decode(torch.zeros(2, 3))
    untold = make_plan(CONFIG, replace(data, levels=None)).build()
    with pytest.raises(InputError, match="decoders read 3 beside no covariate"):
        untold.generate(batch)


def accuracy(plan, new):
    """Of a logistic regression of the batch on codes of one half of the rows, on the other half, once trained."""
    model, data, noise = plan.build(), plan.train, torch.Generator().manual_seed(0)
    optimiser, stage = torch.optim.Adam(model.parameters(), 3e-3), stages_of(plan, model)[-1]
    for _ in range(12):
        for rows in torch.randperm(len(data), generator=noise).split(64):
            optimiser.zero_grad()
            stage.loss(data.batch(rows), noise).loss.backward()
            optimiser.step()
    codes, batch = model.posterior(new.batch(slice(None))).sample(noise).detach().numpy(), new.levels.index.numpy()
    half = len(batch) // 2
    return LogisticRegression().fit(codes[:half], batch[:half]).score(codes[half:], batch[half:])


@pytest.mark.parametrize("method", [pytest.param("mvae", marks=pytest.mark.slow), "mopoe"])
def test_codes_do_not_hold_a_pure_shift_that_is_told(method):
    """Without the covariate the batch is read from codes; with it, no better than by guessing."""
    told = load_data("arrays", data=shifted(), covariate="batch", test_size=3)
    new = load_data("arrays", data=shifted(2000, seed=1), covariate="batch", test_size=3)
    config = CONFIG.with_(method=method, latent_dim=2)
    base = np.bincount(new.levels.index).max() / len(new)
    assert accuracy(make_plan(config, replace(told, levels=None)), new) > 0.9
    assert accuracy(make_plan(config, told), new) < base + 0.05


def test_a_covariate_from_a_file_to_what_is_filled_in(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", **shifted(300))
    place = ["--store", str(tmp_path / "runs")]
    settings = ["--epochs", "30", "--latent-dim", "2", "--batch-size", "32", "--learning-rate", "0.003", "--quiet"]
    told = ["--data", str(tmp_path / "d.npz"), "--covariate", "batch", "--metrics", "bound,imputation"]
    main(["run", "--dataset", "arrays", *told, *place, *settings])
    name = next((tmp_path / "runs").glob("arrays-*")).name
    content = json.loads((tmp_path / "runs" / name / "model.json").read_text())
    assert (content["covariate"]["name"], content["covariate"]["levels"]) == ("batch", ["A", "B"])
    assert load(tmp_path / "runs" / name).names == ("rna", "surface"), "it is no modality"
    assert (tmp_path / "runs" / name / "views.json").exists()
    new, filled = shifted(60, seed=2), {}
    np.savez(tmp_path / "new.npz", **new, **{"surface.mask": np.zeros(60, bool)})
    np.savez(tmp_path / "bare.npz", rna=new["rna"])
    impute_new = ["impute", name, *place, "--data", str(tmp_path / "new.npz"), "--out", str(tmp_path / "o.npz")]
    for level in ("A", "B"):
        main([*impute_new, "--covariate", f"batch={level}"])
        filled[level] = np.load(tmp_path / "o.npz")["surface"]
    seen = shifted(2000)
    means = [seen["surface"][seen["batch"] == level].mean(0) for level in ("A", "B")]
    np.testing.assert_allclose((filled["B"] - filled["A"]).mean(0), means[1] - means[0], atol=0.4)
    out = ["--out", str(tmp_path / "g.npz")]
    main(["generate", name, *place, *out, "--count", "5", "--covariate", "batch=B"])
    main(["evaluate", name, *place, "--metrics", "log_likelihood", "--quiet"])
    capsys.readouterr()
    for arguments, words in (
        ([*impute_new, "--covariate", "donor=B"], "the covariate batch, as in batch=LEVEL"),
        ([*impute_new, "--covariate", "batch=Z"], "'Z' is not one of those trained on: A, B"),
        (
            ["generate", name, *place, *out, "--given", "rna", "--data", str(tmp_path / "bare.npz")],
            "'batch' is not in the data",
        ),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": None}, "'batch' is not in the data"),
        ({"batch": np.linspace(0, 1, 40)}, "one word or integer per row"),
        ({"batch": np.array(["A"] * 39 + [None], object)}, "missing in row 39"),
        ({"batch": np.array([f"row {i}" for i in range(40)])}, "no training row has batch 'row "),
        ({"rna": None, "surface": None}, "hold only batch"),
    ],
)
def test_covariates_that_are_none_are_refused(changes, words):
    data = {key: value for key, value in (shifted(40) | changes).items() if value is not None}
    with pytest.raises(InputError, match=words):
        load_data("arrays", data=data, covariate="batch")


def test_methods_and_networks_that_cannot_be_told_are_refused():
    for method in set(METHODS) - {*TAKING, "custom"}:
        with pytest.raises(InputError, match=f"method {method} takes none"):
            make_plan(CONFIG.with_(method=method), leveled())
    with pytest.raises(InputError, match="--covariate is about --data; leave it out"):
        make_plan(CONFIG.with_(covariate="batch"), leveled())
    own = {"a": (torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))}
    with pytest.raises(InputError, match="your own networks"):
        make_plan(CONFIG, leveled(), own)


def test_levels_go_with_their_rows_and_with_the_identity_of_the_data():
    data = leveled()
    chosen = data.rows([5, 0, 7]).select(["b"])
    assert chosen.batch(slice(None)).level.argmax(-1).tolist() == [2, 0, 1]
    moved = replace(data, levels=Levels(BATCH, data.levels.index.flip(0)))
    assert len({part.fingerprint for part in (data, replace(data, levels=None), moved)}) == 3
    assert Covariate.from_json(json.loads(json.dumps(BATCH.to_json()))) == BATCH
    with pytest.raises(InputError, match="levels of 5 rows"):
        replace(data, levels=Levels(BATCH, torch.zeros(5).long()))
