"""From the files that people have to what a model makes of them, in the form that came in."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

import polyvae as pv
from polyvae import imputation
from polyvae.cli import main, use
from polyvae.cli.use import out_like
from polyvae.errors import InputError
from polyvae.imputation import rows_at_once
from polyvae.likelihoods import Normal
from polyvae.modality import Modality

ROWS = 90
RNG = np.random.default_rng(11)
Z = RNG.standard_normal((ROWS, 2))
CELLS = [f"cell {row:02d}" for row in range(ROWS)][::-1]
SEEN = np.arange(ROWS) % 3 > 0
TYPES = np.array(["B", "CD4 T"])[(Z[:, 0] > 0).astype(int)]


def table() -> pl.DataFrame:
    numbers = {f"rna.g{i}": column for i, column in enumerate((Z @ RNG.standard_normal((2, 4))).T)}
    frame = pl.DataFrame({"id": CELLS, "label": TYPES, **numbers, "protein.CD3": Z[:, 0], "protein.CD4": Z[:, 1]})
    frame = frame.with_columns(pl.when(pl.Series(SEEN)).then(pl.col("^protein.*$")), kind=pl.Series(TYPES), age=41)
    holes = pl.int_range(ROWS) % 7 == 3
    return frame.with_columns(
        pl.when(~holes).then(pl.col("rna.g1")), pl.when(~holes).then(pl.col("kind")), age=pl.int_range(ROWS) % 60
    )


def run(data, *flags) -> str:
    flags = [*("--method", "mvae", "--epochs", "2", "--latent-dim", "2", "--metrics", "none"), *flags]
    main(["run", "--data", data, *flags])
    return next(Path("runs").glob("arrays-*")).name


@pytest.fixture(scope="module", params=[".csv", ".tsv", ".parquet"])
def trained(request, tmp_path_factory):
    """(folder, its file, a run on it)"""
    folder, name = tmp_path_factory.mktemp("trained"), f"cells{request.param}"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        frame = table()
        if request.param == ".parquet":
            frame.write_parquet(name)
        else:
            frame.write_csv(name, separator={".csv": ",", ".tsv": "\t"}[request.param])
        return folder, name, run(name, "--quiet")


def read(name: str) -> pl.DataFrame:
    if name.endswith(".parquet"):
        return pl.read_parquet(name)
    return pl.read_csv(name, separator="\t" if name.endswith(".tsv") else ",")


def test_what_is_imputed_has_the_rows_and_columns_that_came_in(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained[0])
    suffix = Path(trained[1]).suffix
    main(["impute", trained[2], "--data", trained[1], "--draws", "5"])
    files = [f"imputed{field}{suffix}" for field in ("", ".sd", ".low", ".high")]
    assert " ".join(files) in capsys.readouterr().out
    given, (filled, sd, low, high) = read(trained[1]), map(read, files)
    assert filled.columns == low.columns == high.columns == given.columns
    assert sd.columns == [column for column in given.columns if column != "kind"]
    assert low["kind"].equals(filled["kind"])
    assert filled["id"].to_list() == CELLS
    for column in given.columns:
        seen = given[column].is_not_null()
        assert filled[column].null_count() == 0
        assert filled[column].filter(seen).to_list() == given[column].filter(seen).to_list()
        if column.startswith(("rna", "protein")):
            assert sd[column].is_between(0, 0).to_list() == seen.to_list()
            assert (low[column].filter(~seen) < high[column].filter(~seen)).all()
    assert filled["age"].dtype == pl.Int64
    assert set(filled["kind"]) == {"B", "CD4 T"}
    again = pv.datasets.load("arrays", data=files[0])
    assert again.modalities[0].feature_names == ("g0", "g1", "g2", "g3")


def test_rows_that_lack_nothing_do_not_go_through_the_model(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    seen = []

    def watched(model, batch, **options):
        seen.append(batch)
        return imputation.impute(model, batch, **options)

    monkeypatch.setattr(use, "impute_batch", watched)
    main(["impute", trained[2], "--data", trained[1], "--draws", "3", "--out", "some.npz", "--quiet"])
    frame = read(trained[1])
    lacking = sum(any(value is None for value in row) for row in frame.rows())
    assert sum(len(batch.present) for batch in seen) == lacking < ROWS
    whole = frame.drop_nulls()
    whole.write_csv("whole.csv")
    main(["impute", trained[2], "--data", "whole.csv", "--draws", "3", "--out", "same.csv", "--quiet"])
    assert pl.read_csv("same.csv").equals(pl.read_csv("whole.csv").cast({"age": pl.Int64}))


def test_codes_are_those_of_the_model_by_row_and_subset(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained[0])
    model = pv.load(f"runs/{trained[2]}")
    rows = pv.datasets.load("arrays", data=trained[1], test_size=1).with_modalities(model.modalities)
    place = {name: row for row, name in enumerate(rows.ids.tolist())}
    for given, flags in ((None, []), (["protein"], ["--given", "protein"])):
        main(["embed", trained[2], "--data", trained[1], *flags])
        found = pl.read_parquet("codes.parquet")
        assert found.columns == ["id", "label", "z0", "z1"]
        assert (found["id"].to_list(), found["label"].to_list()) == (CELLS, TYPES.tolist())
        codes = found.select("z0", "z1").to_numpy()
        has_code = SEEN if given else np.ones(ROWS, bool)
        assert (np.isnan(codes).any(1) == ~has_code).all()
        known = [row for row, name in enumerate(CELLS) if has_code[row] and name in place]
        batch = rows.batch([place[CELLS[row]] for row in known])
        with torch.no_grad():
            np.testing.assert_allclose(codes[known], model.embed(batch, given), rtol=1e-4, atol=1e-5)
    assert "30 rows have nothing of protein: their codes are NaN" in capsys.readouterr().out
    main(["embed", trained[2], "--out", "codes.csv"])
    assert re.match(r"codes\.csv: \d+ rows, the run's test rows \(--data names others\), ", capsys.readouterr().out)
    test = pv.datasets.load("arrays", data=trained[1], split="test")
    assert pl.read_csv("codes.csv")["id"].to_list() == test.ids.tolist()


def test_what_is_generated_has_the_columns_of_the_data_and_the_ids_of_what_was_given(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    main(["generate", trained[2], "--given", "protein", "--targets", "rna,kind", "--data", trained[1], "--quiet"])
    found = read(f"generated{Path(trained[1]).suffix}")
    assert found.columns == ["id", "rna.g0", "rna.g1", "rna.g2", "rna.g3", "kind"]
    assert found["id"].to_list() == np.array(CELLS)[SEEN].tolist()
    assert set(found["kind"]) <= {"B", "CD4 T"}
    main(["generate", trained[2], "--count", "4", "--out", "prior.csv", "--quiet"])
    assert pl.read_csv("prior.csv").shape == (4, 8)


def test_names_of_columns_stay_with_what_is_written_as_npz(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    main(["impute", trained[2], "--data", trained[1], "--draws", "3", "--out", "o.npz", "--quiet"])
    with np.load("o.npz") as made:
        assert made[".ids"].tolist() == CELLS
        assert made["label"].tolist() == TYPES.tolist()
        assert made["rna.features"].tolist() == ["g0", "g1", "g2", "g3"]
        assert made["kind.features"].tolist() == ["B", "CD4 T"]


def test_columns_in_another_order_come_back_as_they_were_given(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    frame = read(trained[1])
    names = ["id", "protein.CD4", "protein.CD3", "rna.g3", "rna.g1", "rna.g0", "rna.g2", "kind", "age"]
    frame.select(names).write_csv("other.csv")
    main(["impute", trained[2], "--data", "other.csv", "--draws", "3", "--out", "back.csv", "--quiet"])
    back = pl.read_csv("back.csv")
    for name in names:
        seen = frame[name].is_not_null()
        assert back[name].filter(seen).to_list() == frame[name].filter(seen).to_list()


def test_new_rows_of_one_view_are_a_file_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for view in ("rna", "protein"):
        columns = {name: name.removeprefix(f"{view}.") for name in table().columns if name.startswith(view)}
        table().select("id", *columns).rename(columns).write_csv(f"{view}.csv")
    name = run("rna.csv,protein.csv", "--threads", "1", "--quiet")
    main(["impute", name, "--data", "rna.csv", "--draws", "3", "--quiet"])
    main(["embed", name, "--data", "rna.csv", "--out", "codes.csv", "--quiet"])
    filled = pl.read_csv("imputed.csv")
    assert filled["id"].to_list() == CELLS
    assert filled.select("^protein.*$").null_count().sum_horizontal().item() == 0
    assert pl.read_csv("codes.csv")["z0"].null_count() == 0
    pl.read_csv("rna.csv").with_columns(note=pl.lit("a word")).write_csv("rna.csv")
    main(["embed", name, "--data", "rna.csv", "--out", "same.csv"])
    assert capsys.readouterr().err == "rna.csv: the model does not know note; ignored.\n"
    assert pl.read_csv("same.csv").equals(pl.read_csv("codes.csv"))


def test_a_covariate_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = table().drop("kind").with_columns(batch=pl.int_range(ROWS) % 2 + 1)
    frame.write_csv("cells.csv")
    name = run("cells.csv", "--covariate", "batch", "--quiet")
    main(["impute", name, "--data", "cells.csv", "--draws", "3", "--quiet"])
    main(["embed", name, "--data", "cells.csv", "--out", "codes.csv", "--quiet"])
    filled, codes = pl.read_csv("imputed.csv"), pl.read_csv("codes.csv")
    assert set(filled.columns) == set(frame.columns)
    assert filled["batch"].to_list() == codes["batch"].to_list() == frame["batch"].to_list()
    assert filled["protein.CD3"].null_count() == 0


def test_what_each_column_is_taken_for_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table().write_csv("cells.csv")
    run("cells.csv", "--threads", "1")
    said = capsys.readouterr().out
    assert "protein: table (2,), normal(learned scale), standardised, weight 1" in said
    assert "kind: classes (2: B, CD4 T), categorical, weight 1" in said
    main(["data", "info", "--data", "cells.csv"])
    assert '"CD4 T": ' in capsys.readouterr().out


@pytest.mark.parametrize("data", ["rna.csv,protein.csv", "."])
def test_no_file_of_the_data_is_written_over(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rna.csv", "protein.csv"):
        Path(name).write_text("id,x\n1,2\n")
    with pytest.raises(InputError, match=r"--out protein\.csv would replace a file of --data"):
        out_like(Path("protein.csv"), "imputed", data, ())
    assert out_like(Path("filled.csv"), "imputed", data, ()) == Path("filled.csv")
    with pytest.raises(InputError, match=r"--out \S+ would replace a file of --data"):
        out_like(tmp_path, "imputed", f"{tmp_path / 'x.npy'},{tmp_path / 'y.npy'}", ())


@pytest.mark.parametrize(("width", "draws"), [(3, 50), (20_000, 50), (20_000, 1000), (10**6, 50)])
def test_what_is_held_while_imputing_does_not_grow_with_columns_or_draws(width, draws):
    views = [Modality(name, (width // 2,), Normal(None)) for name in "xy"]
    rows = rows_at_once(SimpleNamespace(modalities=views), draws, 100)
    assert 1 <= rows <= 100
    assert rows == 1 or rows * draws * width <= imputation.MOST_VALUES
