"""What is said of the user's own arrays, and the marks of missing values that are understood."""

import numpy as np
import pytest
import torch

import polyvae as pv
from polyvae.config import RunConfig
from polyvae.datasets import load
from polyvae.datasets.own.doubts import spread_of
from polyvae.datasets.own.new_rows import load_like
from polyvae.datasets.own.reading import read_parts
from polyvae.errors import InputError
from polyvae.runs.plan import make_plan

ROWS = 60
RNG = np.random.default_rng(7)
OTHER = RNG.standard_normal((ROWS, 2))
GONE = np.arange(ROWS) % 5 == 2


def table(width: int = 3) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((ROWS, width)) + [170, 60, 5][:width]


def said(**arrays) -> dict[str, str]:
    return load("arrays", data={"other": OTHER, **arrays}).info["warnings"]


def test_medians_and_spreads_are_those_of_numpy_to_the_last_bit():
    """Tables that are scaled by them have their run ids from them."""
    for rows in (1, 2, 5, 60, 61):
        column = RNG.standard_normal((rows, 40)) * 10.0 ** RNG.integers(-5, 5, 40)
        column[:, :10] = RNG.integers(0, 3, (rows, 10))
        column[RNG.random(column.shape) < RNG.random(40) * (rows > 2)] = np.nan
        column[0, np.isnan(column).all(0)] = 1
        median, spread = spread_of(column)
        assert np.array_equal(median, np.nanmedian(column, 0))
        low, high = np.nanquantile(column, (0.25, 0.75), axis=0)
        usual = high > low
        assert np.array_equal(spread[usual], ((high - low) / 1.349)[usual])
        low, high = np.nanquantile(column, (0.05, 0.95), axis=0)
        rest = ~usual & (high > low)
        assert np.array_equal(spread[rest], ((high - low) / 3.29)[rest])


class NAType:
    """As pandas.NA: it equals nothing, and is neither true nor false."""

    def __eq__(self, other):
        return self

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None


def with_mark(values, mark):
    column = np.array(values, dtype=object)
    column[GONE] = mark
    return column


NUMBERS = RNG.integers(0, 99, ROWS).astype(float)
TEXTS = [f"report number {i} is clear" for i in range(ROWS)]


@pytest.mark.parametrize("mark", [None, float("nan"), NAType()], ids=["None", "NaN", "NA"])
def test_objects_with_marks_of_missing_values_are_strings_or_numbers_with_rows_that_lack_them(mark):
    for values, kind in ((TEXTS, "U"), (NUMBERS.tolist(), "f"), (NUMBERS.astype(int).tolist(), "i")):
        parts = read_parts({"x": with_mark(values, mark), "other": OTHER})
        assert parts.values["x"].dtype.kind == kind
        assert (parts.present[:, 0] == ~GONE).all()
        assert (parts.values["x"][~GONE] == np.array(values)[~GONE]).all()


def test_rows_of_nan_and_masked_rows_are_absent():
    x = table()
    x[GONE] = np.nan
    assert (read_parts({"x": x, "other": OTHER}).present[:, 0] == ~GONE).all()
    masked = np.ma.masked_array(
        np.where(GONE[:, None], -9999, np.arange(ROWS)[:, None]), mask=np.repeat(GONE[:, None], 1, 1)
    )
    parts = read_parts({"x": masked, "other": OTHER})
    assert (parts.present[:, 0] == ~GONE).all()
    assert parts.values["x"].dtype.kind == "i"
    given = {"x": table(), "x.mask": ~GONE, "other": OTHER}
    given["x"][0] = np.nan  # absent by its mark, present by its mask
    assert (read_parts(given).present[:, 0] == ~(GONE | (np.arange(ROWS) == 0))).all()


def test_numpy_strings_with_missing_ones_are_text():
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("NumPy before 2.0 has no StringDType")
    column = np.array(TEXTS, dtype=np.dtypes.StringDType(na_object=np.nan))
    column[GONE] = np.nan
    assert (read_parts({"x": column, "other": OTHER}).present[:, 0] == ~GONE).all()


@pytest.mark.parametrize("value", [b"bytes", {}, [1]], ids=str)
def test_other_objects_are_refused_with_what_to_do(value):
    column = np.empty(ROWS, object)
    column[:] = [value] * ROWS
    with pytest.raises(InputError, match=r"'x' has dtype object and holds .*astype\(str\).*astype\(float\)"):
        read_parts({"x": column, "other": OTHER})


@pytest.mark.parametrize("mark", [None, float("nan")])
def test_a_missing_label_is_named(mark):
    with pytest.raises(InputError, match="'label' is missing in row 2"):
        read_parts({"x": OTHER, "label": with_mark([0, 1] * (ROWS // 2), mark)})


def test_labels_of_minus_one_are_said_to_be_a_class():
    labels = np.arange(ROWS) % 3
    labels[GONE] = -1
    assert "12 rows have the label -1" in said(label=labels)["label"]
    assert "label" not in said(label=np.where(GONE, -1, 1))
    assert "label" not in said(label=np.arange(ROWS) % 3)


def test_ordinary_tables_and_texts_are_not_doubted():
    heavy = np.exp(np.random.default_rng(2).standard_normal((ROWS, 3)))
    found = said(x=table(), heavy=heavy, counts=RNG.poisson(0.3, (ROWS, 4)) * 2, text=np.array(TEXTS))
    assert found.pop("counts").startswith("it holds only the numbers 0, 1, 2, ..."), "only counts get a hint"
    assert found == {}


def test_a_wild_value_is_named_by_row_and_feature():
    x = table()
    x[17, 1] = 60e6
    text = said(x=x)["x"]
    assert "row 17, feature 1 is 6e+07, far from the rest (about 60" in text
    assert "--scaling robust" in text
    trained = load("arrays", data={"x": table(), "other": OTHER}).modalities
    new = load_like({"x": x}, trained)
    assert "row 17, feature 1 is 6e+07" in new.info["warnings"]["x"]
    assert load_like({"x": table()}, trained).info["warnings"] == {}


def test_rows_and_columns_go_by_their_names_where_they_have_some():
    x = np.column_stack([table(), np.full(ROWS, 3.5)])
    x[1, 1], x[GONE, 2] = 60e6, -999
    named = {".ids": np.array([f"cell {row}" for row in range(ROWS)]), "x.features": np.array(["a", "CD3", "c", "d"])}
    text = said(x=x, **named)["x"]
    assert "row 1 (id 'cell 1'), 'CD3' is 6e+07" in text
    assert "'c' is -999 in 12 rows" in text
    assert "1 of 4 features ('d') are constant" in text
    x[:, 1] = np.nan
    with pytest.raises(InputError, match="modality 'x', 'CD3' is missing in every training row"):
        said(x=x, **named)


def test_robust_scaling_is_not_moved_by_a_wild_value():
    x = table()
    x[17, 1] = 60e6
    data = load("arrays", data={"x": x, "other": OTHER}, scaling="robust")
    units = data.modalities[0].transform
    assert abs(units.mean[1] - 60) < 0.5
    assert 0.5 < units.sd[1] < 1.5
    values = data.batch(slice(None)).values["x"]
    assert float(values.abs().max()) <= units.limit == 10
    again = type(data.modalities[0]).from_json(data.modalities[0].to_json())
    assert again == data.modalities[0]
    assert torch.equal(again.transform(torch.tensor([[170.0, 60e6, 5.0]]))[0, 1], torch.tensor(10.0))
    with pytest.raises(InputError, match="unknown scaling"):
        load("arrays", data={"x": x, "other": OTHER}, scaling="none")


def test_codes_of_missing_values_are_named():
    x = table()
    x[GONE, 2] = -999
    assert "feature 2 is -999 in 12 rows" in said(x=x)["x"]


def test_constant_columns_are_named():
    x = np.column_stack([table(), np.full(ROWS, 3.5)])
    assert "1 of 4 features (3) are constant in the training rows" in said(x=x)["x"]


def test_texts_that_are_cut_are_counted():
    long = np.array([*TEXTS[:-2], "word " * 70, "word " * 32])
    assert "2 of 60 texts are cut after 31 words or marks: the longest has 70; train with" in said(text=long)["text"]
    assert said(text=np.array([*TEXTS[:-1], "word " * 31])) == {}


def test_texts_are_as_long_as_wanted(tmp_path):
    """At the length that the warning names nothing is cut, and the sentence comes back from a trained model's units."""
    long = " ".join(["word", "other"] * 35)
    np.savez(tmp_path / "d.npz", text=np.array([*TEXTS[:-9], *[long] * 9]), other=OTHER)
    data = load("arrays", data=tmp_path / "d.npz", text_length=71)
    assert "text" not in data.info["warnings"]
    assert long in data.modalities[0].vocabulary.decode(data.values["text"])
    small = RunConfig(dataset="arrays", data=str(tmp_path / "d.npz"), metrics="none", epochs=1, latent_dim=2, threads=1)
    model = pv.load(pv.run(small.with_(text_length=71), tmp_path).folder)
    assert model.generate(1)["text"].shape == (1, 71)


def test_texts_that_pandas_made_of_missing_ones_are_counted():
    assert "2 texts or classes read '<NA>', 'nan'" in said(text=np.array([*TEXTS[:-2], "nan", "<NA>"]))["text"]


def test_robust_scaling_is_another_run_and_the_standard_one_is_as_before(tmp_path):
    np.savez(tmp_path / "d.npz", x=table(), other=OTHER)
    config = RunConfig(dataset="arrays", data=str(tmp_path / "d.npz"), metrics="none")
    plain, robust = make_plan(config), make_plan(config.with_(scaling="robust"))
    assert plain.run_id != robust.run_id
    assert robust.modalities[0].transform.limit == 10
    assert plain.modalities[0].transform.to_json().keys() == {"mean", "sd", "from_zero"}
