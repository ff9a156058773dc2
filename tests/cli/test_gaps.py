"""Tables of which single cells are missing: trained on, filled in, scored on what is there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import polyvae as pv
from polyvae.cli import main
from polyvae.cli.use import _trust
from polyvae.datasets import load
from polyvae.datasets.own.new_rows import load_like
from polyvae.datasets.own.reading import read_parts
from polyvae.likelihoods import Bernoulli, Categorical, Laplace, Normal, with_gaps
from polyvae.modality import Modality
from polyvae.pictures.preview import describe, preview
from support.stores import put

ROWS = 300
RNG = np.random.default_rng(3)
Z = RNG.standard_normal((ROWS, 2))
WHOLE = Z @ RNG.standard_normal((2, 6)) + 0.1 * RNG.standard_normal((ROWS, 6))
HOLES = RNG.random(WHOLE.shape) < 0.1
HOLES[:, 0] &= HOLES[:, 1:].any(1)
TABLE = np.where(HOLES, np.nan, WHOLE)
LABEL = (Z[:, 0] > 0).astype(int)
SETTINGS = [*("--latent-dim", "4", "--batch-size", "16", "--learning-rate", "0.003", "--threads", "1", "--quiet")]


@pytest.mark.parametrize("likelihood", [Normal(None), Normal(0.5), Laplace(None), Laplace(2.0), Bernoulli()], ids=repr)
def test_what_is_missing_is_not_scored(likelihood):
    params = torch.randn(7, 2, 3) if likelihood.parameters == 2 else torch.randn(7, 3)
    params.requires_grad_()
    value = torch.rand(7, 3).round()
    holes = torch.rand(7, 3) < 0.4
    law = likelihood(params, 1)
    found = with_gaps(law).log_prob(value.masked_fill(holes, torch.nan))
    each = law.base_dist.log_prob(value)
    torch.testing.assert_close(found, each.masked_fill(holes, 0.0).sum(-1))
    (gradient,) = torch.autograd.grad(found.sum(), params)
    assert bool(gradient.isfinite().all())
    torch.testing.assert_close(with_gaps(law).log_prob(value), law.log_prob(value))
    with pytest.raises(pv.InputError, match="single missing values"):
        with_gaps(Categorical()(torch.randn(7, 3), 1))


def test_a_table_with_gaps_says_so_and_a_whole_one_is_as_before():
    data = load("arrays", data={"x": TABLE, "y": Z})
    assert [m.has_gaps for m in data.modalities] == [True, False]
    assert "has_gaps" not in data.modalities[1].to_json()
    assert Modality.from_json(data.modalities[0].to_json()) == data.modalities[0]
    used = load("arrays", data={"x": TABLE, "row": np.arange(ROWS)[:, None]}).values["row"].long()[:, 0].numpy()
    np.testing.assert_allclose(data.modalities[0].transform.mean, np.nanmean(TABLE[used], 0))
    assert (
        load("arrays", data={"x": np.where(HOLES, np.nan, WHOLE > 0), "y": Z}).modalities[0].likelihood == Bernoulli()
    )


def test_gaps_are_trained_on_filled_in_and_scored(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x=TABLE, y=Z + 0.05 * RNG.standard_normal(Z.shape), label=LABEL)
    place = ["--data", str(tmp_path / "d.npz"), "--store", str(tmp_path / "runs")]
    names = "bound,imputation,linear_probe,log_likelihood"
    main(["run", "--dataset", "arrays", *place, *SETTINGS, "--epochs", "40", "--metrics", names])
    run = next((tmp_path / "runs").glob("arrays-*"))
    record = pv.RunStore(run.parent).record(run.name)
    assert record.is_done
    assert record.metrics["imputation/y/x/rmse"] < 0.5 * record.metrics["imputation/mean/x/rmse"]
    assert {"linear_probe/joint", "log_likelihood/joint", "bound/loss", "imputation/y/x/coverage"} <= set(
        record.metrics
    )
    capsys.readouterr()
    main(["impute", str(run), "--data", str(tmp_path / "d.npz"), "--out", str(tmp_path / "out.npz")])
    assert f"300 rows, 0 missing modalities and {HOLES.sum()} single values filled in" in capsys.readouterr().out
    with np.load(tmp_path / "out.npz") as out:
        assert (out["x"][~HOLES] == WHOLE[~HOLES]).all()
        assert (out["x.sd"][~HOLES] == 0).all()
        assert (out["x.sd"][HOLES] > 0).all()
        error = np.sqrt(np.mean((out["x"] - WHOLE)[HOLES] ** 2))
    again = read_parts(tmp_path / "out.npz")
    assert (np.isnan(again.values["x"]) == HOLES).all()
    assert error < 0.5 * np.sqrt(np.mean((np.nanmean(TABLE, 0) - WHOLE)[HOLES] ** 2))


def test_gaps_can_be_looked_at_and_are_refused_where_none_were_learned(tmp_path):
    data = load("arrays", data={"x": TABLE, "y": Z})
    assert np.isfinite(describe(data)["modalities"][0]["range"]).all()
    preview(data, tmp_path / "x.png", 5)
    whole = load("arrays", data={"x": WHOLE, "y": Z}).modalities
    with pytest.raises(pv.InputError, match="row 0: values are not finite"):
        load_like({"x": np.array([[np.nan, 1, 1, 1, 1, 1]])}, whole)
    empty = TABLE.copy()
    empty[:, 3] = np.nan
    with pytest.raises(pv.InputError, match="feature 3 is missing in every training row"):
        load("arrays", data={"x": empty, "y": Z})


def test_pseudo_inputs_have_no_gaps(tmp_path):
    np.savez(tmp_path / "mine.npz", a=TABLE, b=WHOLE)
    config = pv.RunConfig(dataset="arrays", data=str(tmp_path / "mine.npz"), prior="vamp", prior_components=10)
    result = pv.run(config.with_(epochs=1, latent_dim=2, metrics="none"), tmp_path / "runs")
    assert bool(result.load().prior.inputs["a"].isfinite().all())


def test_a_doubt_is_told_also_where_a_table_is_filled_in_from_some_of_the_others(tmp_path):
    """As where no test row is complete."""
    store = pv.RunStore(tmp_path)
    run_id = put(store, metrics={"imputation/a/c/rmse": 1.1, "imputation/mean/c/rmse": 1.0})
    store.finish(replace(store.record(run_id), notes={"imputation/a/c/rmse": "no better than the mean"}))
    doubt, *verdict = _trust(("a", "b", "c"), store.folder(run_id))
    assert doubt == "c: no better than the mean"
    assert "the column mean is better than" in verdict[0]
    assert "on c given a" in verdict[0]
