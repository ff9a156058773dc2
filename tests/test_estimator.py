"""The estimator: scikit-learn's own checks, units, forms of data, what a row may lack."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from polyvae import InputError, MultimodalVAEImputer
from polyvae.models.contract import NotDefined

TINY = {"epochs": 1, "latent_dim": 2, "batch_size": 256, "draws": 4, "patience": None, "device": "cpu"}
VIEWS = {"rna": slice(0, 4), "protein": slice(4, 6)}


def table(rows: int = 60, seed: int = 1) -> np.ndarray:
    """Six columns that share one hidden number."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 1)) @ rng.uniform(1, 2, (1, 6)) + 0.3 * rng.standard_normal((rows, 6))


def imputer(**settings) -> MultimodalVAEImputer:
    return MultimodalVAEImputer(**{**TINY, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def fitted() -> MultimodalVAEImputer:
    return imputer(views=VIEWS, epochs=3, draws=50).fit(table())


@parametrize_with_checks([MultimodalVAEImputer(**TINY)])
def test_it_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_the_density_is_in_the_units_of_the_data():
    """p(ax) = p(x) / a for each cell: in other units the same fit is the same model. By 8 floats scale exactly."""
    x = table()
    plain, scaled = imputer(views=VIEWS).fit(x), imputer(views=VIEWS).fit(8 * x)
    x[3, 4:], x[5, 1] = np.nan, np.nan
    shift = plain.score_samples(x) - scaled.score_samples(8 * x)
    counts = (~np.isnan(x)).sum(1)
    np.testing.assert_allclose(shift, counts * np.log(8), rtol=1e-9)
    assert plain.score(x) == pytest.approx(plain.score_samples(x).mean())


def test_more_draws_tighten_the_likelihood(fitted):
    """The expectation of the log of a mean of K weights grows with K (Burda et al. 2016)."""
    few, many = (deepcopy(fitted).set_params(draws=draws).score(table(100, seed=2)) for draws in (1, 500))
    assert few < many


def test_a_row_scores_the_same_alone_and_beside_rows_that_have_more():
    model, x = imputer(method="mmvae", views=VIEWS).fit(table()), table(4, seed=2)
    x[1, :4], x[2, 4:] = np.nan, np.nan
    np.testing.assert_allclose(model.score_samples(x), [model.score(row[None]) for row in x], rtol=1e-12)


def test_observed_cells_stay_and_what_lacks_is_filled_in(fitted):
    x = table(seed=3)
    x[::2, 4:], x[1, 0] = np.nan, np.nan
    missing = np.isnan(x)
    mean, low, high = fitted.impute(x, return_interval=True)
    for filled in (mean, low, high):
        assert np.array_equal(filled[~missing], x[~missing])
        assert np.isfinite(filled).all()
    assert (low[missing] < mean[missing]).all()
    assert (mean[missing] < high[missing]).all()
    assert np.array_equal(fitted.impute(x), mean)


def test_what_is_learned_fills_in_better_than_the_mean():
    x, unseen = table(400), table(200, seed=1)
    model = imputer(views=VIEWS, epochs=25, batch_size=64, learning_rate=3e-3, draws=20).fit(x)
    lacking = unseen.copy()
    lacking[:, 4:] = np.nan
    errors = (model.impute(lacking) - unseen)[:, 4:], (x.mean(0) - unseen)[:, 4:]
    by_model, by_mean = (np.sqrt(np.square(error).mean()) for error in errors)
    assert by_model < 0.5 * by_mean


def test_the_random_state_makes_it_the_same_model_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    x = table()
    first, again, other = (imputer(random_state=seed).fit(x) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.transform(x), again.transform(x))
    np.testing.assert_array_equal(first.sample(3), again.sample(3))
    assert not np.allclose(first.transform(x), other.transform(x))
    assert not list(tmp_path.iterdir())


def test_it_is_quiet_unless_asked(capsys):
    imputer().fit(table())
    assert capsys.readouterr() == ("", "")
    imputer(verbose=True, epochs=2).fit(table())
    assert "step 2 of 2: loss" in capsys.readouterr().out


def test_a_frame_comes_back_as_a_frame_and_views_are_named_by_its_columns():
    values = table().astype(np.float64)
    values[::3, 4] = np.nan
    names = [f"c{i}" for i in range(6)]
    views = {"rna": names[:4], "protein": names[4:]}
    plain = imputer(views=VIEWS).fit(values).impute(values)
    frame = pd.DataFrame(values, columns=names, index=np.arange(60) + 7)
    model = imputer(views=views).fit(frame)
    assert list(model.feature_names_in_) == names
    pd.testing.assert_frame_equal(model.impute(frame), pd.DataFrame(plain, columns=names, index=frame.index))
    shown = pl.DataFrame(values, schema=names)
    assert imputer(views=views).fit(shown).impute(shown).equals(pl.DataFrame(plain, schema=names))


def test_it_works_in_a_pipeline_and_is_cross_validated():
    x = table()
    y = x[:, 0] > 0
    classifier = make_pipeline(StandardScaler(), imputer(views=VIEWS, epochs=3), LogisticRegression())
    assert classifier.fit(x, y).predict(x).shape == (60,)
    scores = cross_validate(imputer(views=VIEWS), pd.DataFrame(x), cv=2)["test_score"]
    assert np.isfinite(scores).all()
    copy = clone(imputer(views=VIEWS, settings={"likelihood_scale": ".5"}))
    assert copy.get_params()["views"] == VIEWS
    assert copy.set_params(method="mvae").fit(x).record_.config.method == "mvae"
    assert copy.record_.config.likelihood_scale == ".5"


@pytest.fixture(scope="module")
def by_name() -> tuple[MultimodalVAEImputer, dict]:
    rng = np.random.default_rng(0)
    words = np.array(["a red bird", "one blue bird sings", "the grey bird"])
    kinds = np.arange(30) % 3
    data = {
        "image": rng.integers(0, 255, (30, 6, 5), np.uint8),
        "kind": kinds,
        "text": words[kinds],
        "frame": pd.DataFrame(rng.standard_normal((30, 3)), columns=list("abc")),
        "one": np.eye(3, dtype=np.float32)[kinds],
        "sparse": sparse.csr_array(rng.standard_normal((30, 2))),
        "kind.mask": kinds > 0,
        "text.mask": np.arange(30) > 4,
    }
    return imputer().fit(data), data


def test_modalities_by_name_come_back_in_the_form_they_came_in(by_name):
    model, data = by_name
    filled, low, _ = model.impute(data, return_interval=True)
    assert list(filled) == ["image", "kind", "text", "frame", "one", "sparse"]
    assert np.array_equal(filled["image"], data["image"])
    assert filled["image"].dtype == np.uint8
    assert np.array_equal(filled["kind"][data["kind.mask"]], data["kind"][data["kind.mask"]])
    assert set(filled["kind"]) <= {0, 1, 2}
    assert np.array_equal(filled["text"][5:], data["text"][5:])
    assert all(isinstance(text, str) for text in filled["text"].tolist())
    pd.testing.assert_frame_equal(filled["frame"], data["frame"])
    assert np.array_equal(filled["one"], data["one"])
    assert np.array_equal(low["sparse"], data["sparse"].toarray())
    drawn = model.sample(4)
    assert {name: value.shape for name, value in drawn.items()} == {
        "image": (4, 6, 5), "kind": (4,), "text": (4,), "frame": (4, 3), "one": (4, 3), "sparse": (4, 2)
    }  # fmt: skip


def test_columns_by_other_names_are_refused_and_not_read_as_those_of_fit(by_name):
    model, data = by_name
    with pytest.raises(InputError, match="'frame': column 1 is 'c', but was 'b' in fit; give the columns of fit in"):
        model.transform({"frame": data["frame"][["a", "c", "b"]]})
    plain = {"frame": data["frame"].to_numpy()}
    np.testing.assert_array_equal(model.transform(plain), model.transform({"frame": data["frame"]}))


def test_a_series_comes_back_as_a_series():
    index = pd.RangeIndex(7, 37)
    kinds, ages = ["a", "b", None] * 10, table(30)[:, 0]
    pandas = {"kind": pd.Series(kinds, index, name="sort"), "age": pd.Series(ages, index, name="years")}
    polars = {"kind": pl.Series("sort", kinds), "age": pl.Series("years", ages)}
    model = imputer().fit(pandas)
    for given in (pandas, polars):
        filled = model.impute(given)
        assert filled["kind"].to_list()[:2] == ["a", "b"]
        assert set(filled["kind"]) == {"a", "b"}
        assert [series.name for series in filled.values()] == ["sort", "years"]
    assert filled["age"].equals(polars["age"])
    pd.testing.assert_series_equal(model.impute(pandas)["age"], pandas["age"])


def test_of_one_hot_classes_the_likeliest_is_imputed():
    """Class 1 in 57 of 60 rows."""
    kinds = np.eye(3)[[0, 2, 0] + [1] * 57]
    x = np.hstack([table(), kinds])
    views = {"rna": slice(0, 6), "kind": slice(6, 9)}
    model = imputer(views=views, epochs=5, batch_size=10, learning_rate=0.02).fit(x)
    x[10:, 6:] = np.nan
    for filled in model.impute(x, return_interval=True):
        np.testing.assert_array_equal(filled[:, 6:], kinds)


def test_rows_may_lack_whole_modalities(by_name):
    model, data = by_name
    given = {"frame": data["frame"].iloc[:5]}
    assert model.transform(given).shape == (5, 2)
    filled = model.impute(given)
    assert filled["image"].shape == (5, 6, 5)
    assert filled["kind"].dtype.kind == "i"
    assert np.isfinite(model.score_samples(given)).all()


@pytest.mark.filterwarnings("ignore")
def test_the_modalities_of_a_mudata_are_its_own(fitted):
    mudata, anndata = pytest.importorskip("mudata"), pytest.importorskip("anndata")
    x = table().astype(np.float32)
    rows = np.array([f"cell{i}" for i in range(60)])
    parts = {"rna": (x[:50, :4], rows[:50]), "protein": (sparse.csr_matrix(x[10:, 4:]), rows[10:])}
    made = {name: anndata.AnnData(value, obs=pd.DataFrame(index=at)) for name, (value, at) in parts.items()}
    data = mudata.MuData(made)
    order = [int(name.removeprefix("cell")) for name in data.obs_names]
    seen = {name: np.isin(rows, at)[:, None] for name, (_, at) in parts.items()}
    whole = {name: np.where(here, x[:, VIEWS[name]], np.nan)[order] for name, here in seen.items()}
    model = imputer().fit(data)
    np.testing.assert_array_equal(model.transform(data), imputer().fit(whole).transform(whole))
    turned = mudata.MuData({name: part[:, ::-1].copy() for name, part in made.items()})
    with pytest.raises(InputError, match=r"column 0 is '\d', but was '0' in fit"):
        model.transform(turned)


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ({"a": slice(0, 3)}, "column 3 is in 0 views"),
        ({"a": slice(0, 6), "b": [0]}, "column 0 is in 2 views"),
        ({"a": ["rna"]}, "names column 'rna'"),
        ({"a": "rna"}, "names column 'rna'"),
        ({"a": slice(0, 6), "b": 0}, "column 0 is in 2 views"),
    ],
)
def test_views_name_every_column_once(views, said):
    with pytest.raises(InputError, match=said):
        imputer(views=views).fit(table())


@pytest.mark.parametrize("column", [0, np.int64(0), "gene one"])
def test_one_column_may_stand_without_a_list(column):
    frame = pd.DataFrame(table(), columns=["gene one", *"bcdef"])
    assert imputer(views={"a": column, "b": slice(1, 6)}).fit(frame).views_ == {"a": [0], "b": [1, 2, 3, 4, 5]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"settings": {"epochs": 5}}, "settings: epochs is set by a parameter; say epochs=5"),
        ({"settings": {"seed": 5}}, "settings: seed is set by a parameter; say random_state=5"),
        ({"epochs": "3"}, "epochs is '3'; it must be int"),
        ({"latent_dim": 0}, "latent_dim is 0; it must be at least 1"),
        ({"method": "mvae", "settings": {"likelihood_scale": "x"}}, "likelihood_scale "),
    ],
)
def test_errors_name_parameters_and_not_the_flags_of_the_command_line(settings, said):
    with pytest.raises(InputError, match=f"^{said}"):
        imputer(views=VIEWS, **settings).fit(table())


def test_a_library_needs_counts_without_gaps():
    counts = np.random.default_rng(0).poisson(5, (60, 6)).astype(np.float64)
    model = imputer(views=VIEWS, settings={"likelihood": "rna=negative_binomial", "library": "rna"}).fit(counts)
    rna, protein = model.model_.modalities
    assert rna.likelihood.library == np.median(counts[:, :4].sum(1))
    assert protein.has_gaps
    gaps = counts.copy()
    gaps[0, 4], gaps[1, :4] = np.nan, np.nan
    assert np.isfinite(model.transform(gaps)).all()
    gaps[0, 0] = np.nan
    with pytest.raises(InputError, match="'rna', row 0: values are not finite"):
        model.transform(gaps)
    with pytest.raises(InputError, match="library rna: single values are missing"):
        clone(model).fit(gaps)


def test_what_was_fitted_in_one_form_is_asked_in_the_same(fitted, by_name):
    with pytest.raises(InputError, match="fitted on one table"):
        fitted.transform({"rna": table()[:, :4]})
    with pytest.raises(InputError, match="by name"):
        by_name[0].transform(table())
    with pytest.raises(InputError, match="views are columns of one table"):
        imputer(views=VIEWS).fit({"rna": table()})
    with pytest.raises(InputError, match="no observed modality"):
        fitted.transform(np.full((2, 6), np.nan))


def test_a_model_without_a_joint_posterior_says_so():
    model = imputer(method="mld", settings={"method_options": "steps=5"}, views=VIEWS).fit(table())
    assert np.isfinite(model.impute(np.where(np.arange(6) > 3, np.nan, table())[:10])).all()
    with pytest.raises(NotDefined):
        model.transform(table())


def test_codes_are_what_all_decoders_read_and_not_the_private_ones():
    """Private codes of a modality that no row has would be the same in all rows."""
    model, x = imputer(method="mmvae_plus", views=VIEWS).fit(table()), table(5)
    x[:, 4:] = np.nan
    codes = model.transform(x)
    assert codes.shape == (5, 2) == (5, len(model.get_feature_names_out()))
    assert (np.ptp(codes, 0) > 0).all()


def test_codes_are_double_and_need_no_gradient(fitted):
    assert next(fitted.model_.parameters()).dtype == torch.float64
    assert fitted.transform(table()).dtype == np.float64


def test_the_python_of_the_page_runs():
    page = (Path(__file__).parent.parent / "docs" / "sharing.md").read_text()
    names: dict = {}
    exec(page.split("```python\n")[1].split("```")[0].replace("epochs=20", "epochs=2"), names)
    assert names["codes"].shape == (200, 6)  # of 6 features
    assert np.isfinite(names["filled"]).all()


def test_intervals_are_those_calibrated_on_the_held_out_rows():
    model, x = imputer(views=VIEWS, epochs=3).fit(table(200)), table(20, seed=5)
    x[:, 4:] = np.nan
    _, low, high = model.impute(x, return_interval=True)
    factors = model.calibration_.of(["rna"], "protein").numpy()
    model.calibration_ = None
    _, plain_low, plain_high = model.impute(x, return_interval=True)
    np.testing.assert_allclose((high - low)[:, 4:], factors * (plain_high - plain_low)[:, 4:], rtol=1e-5)
