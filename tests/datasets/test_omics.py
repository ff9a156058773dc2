"""AnnData and MuData files: the rows and matrices that these libraries say are there, sparse or dense, in and out."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from polyvae import archives
from polyvae.cli import main
from polyvae.datasets.own.reading import read_parts
from polyvae.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore")  # of pandas and anndata about each other
anndata, mudata, pandas = (pytest.importorskip(name) for name in ("anndata", "mudata", "pandas"))

ROWS = 80
RNG = np.random.default_rng(2)
Z = RNG.standard_normal((ROWS, 2))
COUNTS = RNG.poisson(1.0, (ROWS, 6)).astype(np.float32)
PROTEIN = (Z @ RNG.standard_normal((2, 3))).astype(np.float32)
CELLS = [f"cell{row:02d}" for row in range(ROWS)]
TYPES = np.array(["B", "CD4 T"])[np.arange(ROWS) % 2]
SEEN = np.arange(ROWS) % 4 > 0
RUN = ["--method", "mvae", "--epochs", "2", "--latent-dim", "2", "--metrics", "none", "--quiet"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rna(matrix=sparse.csr_matrix):
    obs = pandas.DataFrame({"kind": pandas.Categorical(TYPES), "batch": ["a", "b"] * (ROWS // 2)}, index=CELLS)
    data = anndata.AnnData(matrix(np.log1p(COUNTS)), obs=obs, var=pandas.DataFrame(index=[f"g{i}" for i in range(6)]))
    data.layers["counts"] = matrix(COUNTS)
    data.obsm["protein"] = pandas.DataFrame(PROTEIN, index=CELLS, columns=["CD3", "CD4", "CD19"])
    data.obsm["X_pca"] = Z
    return data


def protein():
    index = [cell for cell, seen in zip(CELLS, SEEN, strict=True) if seen]
    obs = pandas.DataFrame(index=index[::-1])
    return anndata.AnnData(PROTEIN[SEEN][::-1], obs=obs, var=pandas.DataFrame(index=["CD3", "CD4", "CD19"]))


def both():
    data = mudata.MuData({"rna": rna(), "protein": protein()})
    data.obs["label"] = pandas.Series(TYPES, index=CELLS).reindex(data.obs_names)
    return data


def test_sparse_equals_dense():
    for name, matrix in (("sparse", sparse.csr_matrix), ("columns", sparse.csc_matrix), ("dense", np.asarray)):
        rna(matrix).write_h5ad(f"{name}.h5ad")
        parts = read_parts(f"{name}.h5ad")
        assert list(parts.values) == ["X", "protein"], "X_pca is derived"
        np.testing.assert_array_equal(parts.values["X"], np.log1p(COUNTS))
        np.testing.assert_array_equal(parts.values["protein"], PROTEIN)
        assert parts.features == {"X": tuple(f"g{i}" for i in range(6)), "protein": ("CD3", "CD4", "CD19")}
        assert parts.ids.tolist() == CELLS


def test_a_toml_chooses_layers_obsm_and_columns_of_obs(tmp_path):
    rna().write_h5ad("d.h5ad")
    (tmp_path / "v.toml").write_text(
        'file = "d.h5ad"\nlabel = "kind"\n[views.counts]\nmatrix = "layers/counts"\n'
        '[views.pca]\nmatrix = "obsm/X_pca"\n'
        '[views.batch]\nclasses = "batch"\n'
    )
    parts = read_parts("v.toml")
    np.testing.assert_array_equal(parts.values["counts"], COUNTS)
    np.testing.assert_array_equal(parts.values["pca"], Z)
    assert parts.values["batch"].tolist() == ["a", "b"] * (ROWS // 2)
    assert parts.named_labels.tolist() == TYPES.tolist()
    (tmp_path / "v.toml").write_text('[views.x]\nfile = "d.h5ad"\nmatrix = "layers/raw"\n')
    with pytest.raises(InputError, match=r"no matrix .layers/raw.; it has X, layers/counts, obsm/X_pca"):
        read_parts("v.toml")


def test_modalities_of_mudata_are_joined_by_cell():
    both().write_h5mu("d.h5mu")
    names, parts = mudata.read_h5mu("d.h5mu").obs_names.tolist(), read_parts("d.h5mu")
    assert parts.ids.tolist() == names
    order = [CELLS.index(name) for name in names]
    np.testing.assert_array_equal(parts.values["rna"], np.log1p(COUNTS)[order])
    np.testing.assert_array_equal(parts.present[:, 1], SEEN[order])
    np.testing.assert_array_equal(parts.values["protein"][SEEN[order]], PROTEIN[order][SEEN[order]])
    assert parts.named_labels.tolist() == TYPES[order].tolist()


def test_a_matrix_that_is_too_large_when_dense_is_refused_before_it_is_made(monkeypatch):
    rna().write_h5ad("d.h5ad")
    most = COUNTS.nbytes - 1
    monkeypatch.setattr(archives.os, "sysconf", lambda name: 2 * most if name == "SC_PHYS_PAGES" else 1)
    with pytest.raises(InputError, match=r"d.h5ad: X, 80 x 6, made dense, .*this machine can take .*use fewer"):
        read_parts("d.h5ad")


def run(data):
    main(["run", "--data", data, *RUN])
    return next(Path("runs").glob("arrays-*")).name


def test_codes_and_what_is_imputed_stand_beside_the_cells_of_mudata(tmp_path):
    both().write_h5mu("d.h5mu")
    name = run("d.h5mu")
    main(["impute", name, "--data", "d.h5mu", "--quiet"])
    given, filled = mudata.read_h5mu("d.h5mu"), mudata.read_h5mu("imputed.h5mu")
    assert filled.obs_names.tolist() == given.obs_names.tolist()
    assert set(filled["protein"].layers) == {"imputed", "imputed_sd", "imputed_low", "imputed_high"}
    assert len(filled["protein"]) == ROWS
    known = given["protein"]
    np.testing.assert_array_equal(filled["protein"][known.obs_names].layers["imputed"], known.X)
    sd = pandas.Series(filled["protein"].layers["imputed_sd"].max(1), index=filled["protein"].obs_names)
    assert ((sd == 0) == sd.index.isin(known.obs_names)).all()
    np.testing.assert_allclose(filled["rna"].layers["imputed"], given["rna"].X.toarray())
    assert (filled.obs["label"] == given.obs["label"]).all()
    main(["embed", name, "--data", "d.h5mu", "--quiet"])
    main(["embed", name, "--data", "d.h5mu", "--out", "codes.npz", "--quiet"])
    codes, by_name = mudata.read_h5mu("codes.h5mu"), np.load("codes.npz")
    assert codes.obs_names.tolist() == by_name[".ids"].tolist()
    np.testing.assert_array_equal(codes.obsm["X_polyvae"], by_name["codes"])


def test_what_is_imputed_stands_beside_the_matrices_of_anndata():
    data = rna()
    data.obsm["protein"].iloc[::4] = np.nan
    data.write_h5ad("d.h5ad")
    main(["impute", run("d.h5ad"), "--data", "d.h5ad", "--quiet"])
    filled = anndata.read_h5ad("imputed.h5ad")
    np.testing.assert_allclose(filled.layers["imputed"], np.log1p(COUNTS))
    found = np.asarray(filled.obsm["protein_imputed"])
    np.testing.assert_array_equal(found[SEEN], PROTEIN[SEEN])
    assert np.isfinite(found).all()
    assert (filled.obsm["protein_imputed_sd"][~SEEN] > 0).all()


def test_files_that_came_in_otherwise_cannot_be_added_to(capsys):
    np.savez("d.npz", x=Z, y=PROTEIN)
    name = run("d.npz")
    for out in ("o.h5mu", "o.xlsx"):
        with pytest.raises(SystemExit):
            main(["impute", name, "--data", "d.npz", "--out", out])
    said = capsys.readouterr().err
    assert "--out o.h5mu: what is written is added to an input .h5mu file; use --data FILE.h5mu" in said
    assert "--out o.xlsx: name a .npz, .csv, .tsv, .parquet, .h5ad, .h5mu file" in said
