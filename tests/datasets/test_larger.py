"""Data larger than memory: read by batch, they are what they are in memory, and little of them is ever held."""

import os
import re
import shlex
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from polyvae import archives, dataset, file_rows, run
from polyvae.cli import main, use
from polyvae.config import RunConfig
from polyvae.datasets import load
from polyvae.datasets.own import writers
from polyvae.datasets.own.columns import interpret
from polyvae.datasets.own.new_rows import load_like, with_given
from polyvae.datasets.own.reading import read_parts
from polyvae.errors import InputError
from polyvae.file_rows import FileRows, parts
from polyvae.runs.plan import make_plan


def own(rows=240):
    """A table with gaps that not all rows have, one without, pictures, and labels."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((rows, 2))
    genes = (shared @ rng.standard_normal((2, 7)) * 3 + rng.standard_normal((rows, 7)) + 5).astype(np.float32)
    genes[rng.random((rows, 7)) < 0.1] = np.nan
    return {
        "genes": genes,
        "genes.mask": rng.random(rows) > 0.2,
        "protein": shared @ rng.standard_normal((2, 4)) + rng.standard_normal((rows, 4)) - 100,
        "photo": rng.integers(0, 256, (rows, 8, 8), dtype=np.uint8),
        "label": rng.integers(0, 3, rows),
    }


def saved(folder, arrays):
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.fixture
def small_memory(monkeypatch):
    """5 kB for data, and 100 values of them at a time."""
    monkeypatch.setenv("POLYVAE_MEMORY", "5e-6")
    monkeypatch.setattr(file_rows, "MOST", 100)


def file_of(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    found = archives.open_npy(tmp_path / "x.npy")
    assert isinstance(found, FileRows)
    return found


@pytest.mark.parametrize("dtype", ["float32", ">f8", "float16", "int64", "uint8", "bool"])
def test_rows_of_a_file_are_those_of_the_array(tmp_path, dtype, monkeypatch):
    monkeypatch.setattr(file_rows, "MOST", 20)
    rng = np.random.default_rng(0)
    array = (rng.integers(0, 200, (30, 2, 3)) > 80).astype(dtype) * np.arange(6).reshape(2, 3).astype(dtype)
    rows = file_of(tmp_path, array)
    assert (rows.shape, rows.dtype, rows.ndim, rows.size, len(rows)) == ((30, 2, 3), array.dtype, 3, 180, 30)
    order, mask = rng.permutation(30)[:17], rng.random(30) > 0.5
    for places in (order, mask, slice(4, 9), slice(None), slice(3, 3), np.array([5, 5, 2]), order[:0]):
        assert np.array_equal(rows[places], array[places])
        chosen = rows.chosen(places)
        assert np.array_equal(chosen[:], array[places])
        assert np.array_equal(chosen[::2][:3], array[places][::2][:3])
    assert np.array_equal(rows.chosen(order)[np.array([3, 0])], array[order][[3, 0]])
    wide = rows.stored(np.float32, (6,))
    assert np.array_equal(wide[order], array[order].reshape(17, 6).astype(np.float32))
    told = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, start, size, advice: told.append((start, size, advice)))
    rows.expect(order)
    content, size = (tmp_path / "x.npy").read_bytes(), array[0].nbytes
    assert {(size, os.POSIX_FADV_WILLNEED)} == {(width, advice) for _, width, advice in told}
    assert [content[start : start + size] for start, _, _ in told] == [row.tobytes() for row in array[np.sort(order)]]
    assert [len(part) for part in parts(rows)] == [3] * 10
    assert np.array_equal(np.concatenate(list(parts(rows, order))), array[order])


def test_a_file_that_changes_below_is_named(tmp_path):
    rows = file_of(tmp_path, np.ones((100, 3)))
    os.truncate(tmp_path / "x.npy", 500)
    with pytest.raises(InputError, match=r"x\.npy can no longer be read \(it has become shorter\); put the file back"):
        rows[np.array([1, 99])]
    (tmp_path / "x.npy").unlink()
    with pytest.raises(InputError, match=r"x\.npy can no longer be read \(No such file or directory\)"):
        rows[:2]


def test_what_lies_column_by_column_is_refused_with_the_fix(tmp_path, small_memory):
    folder = saved(tmp_path / "own", {"x": np.asfortranarray(np.random.default_rng(0).random((300, 4)))})
    with pytest.raises(InputError, match=r"x\.npy is too large .* stored by column; save numpy\.ascontiguousarray"):
        load("arrays", data=folder)


def test_a_limit_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv("POLYVAE_MEMORY", "much")
    with pytest.raises(InputError, match="POLYVAE_MEMORY is 'much'; give a number of gigabytes, such as 8"):
        archives.most_memory()


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_rows_in_files_are_the_same_data(tmp_path, split, scaling, monkeypatch):
    folder = saved(tmp_path / "own", own())
    memory = load("arrays", data=folder, split=split, scaling=scaling)
    monkeypatch.setenv("POLYVAE_MEMORY", "5e-6")
    if scaling == "standard":  # medians are of fewer rows where fewer are held
        monkeypatch.setattr(file_rows, "MOST", 100)
    files = load("arrays", data=folder, split=split, scaling=scaling)
    assert set(files.in_files) == {"genes", "protein", "photo"}
    assert not memory.in_files
    assert files.modalities == memory.modalities  # means and deviations to the last bit
    assert files.fingerprint == memory.fingerprint
    assert files.info["warnings"] == memory.info["warnings"]
    some = torch.randperm(len(files))[:20]
    for a, b in ((files, memory), (files.rows(some), memory.rows(some)), (files.select(["photo", "genes"]), memory)):
        one, other = (data.batch(slice(0, 15)) for data in (a, b))
        assert all(
            value.allclose(other.values[name], equal_nan=True, rtol=0, atol=0) for name, value in one.values.items()
        )
    assert files.held().fingerprint == memory.fingerprint
    assert not files.held().in_files
    new = load_like(folder, files.modalities)
    assert set(new.in_files) == set(files.in_files)
    whole = torch.arange(len(new)).flip(0)
    everything = load_like(own(), memory.modalities)
    assert all(
        value.allclose(everything.batch(whole).values[name], equal_nan=True, rtol=0, atol=0)
        for name, value in new.batch(whole).values.items()
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(a folder of tables, a store with a run on them in memory)."""
    folder = tmp_path_factory.mktemp("larger")
    tables = saved(folder / "own", {name: array for name, array in own(120).items() if name != "photo"})
    np.save(tables / ".ids.npy", np.array([f"c{row}" for row in range(120)]))
    return tables, run(config_of(tables), folder / "store")


def config_of(folder):
    sizes = {"epochs": 2, "batch_size": 32, "latent_dim": 2, "learning_rate": 1e-3}
    return RunConfig(dataset="arrays", data=str(folder), metrics="bound", **sizes)


def test_a_run_is_the_same_run_on_rows_in_files(trained, tmp_path, small_memory, monkeypatch):
    folder, memory = trained
    told, read, as_it_was = [], [], FileRows.__getitem__

    def logged(rows, places):
        read.extend([places.tolist()] if isinstance(places, np.ndarray) else [])
        return as_it_was(rows, places)

    monkeypatch.setattr(FileRows, "__getitem__", logged)
    monkeypatch.setattr(FileRows, "expect", lambda rows, places: told.append((len(read), places.tolist())))
    files = run(config_of(folder), tmp_path)
    batches = [(at, rows) for at, rows in told if len(rows) == 32]
    assert batches
    assert all(rows in read[at + 2 : at + 4] for at, rows in batches)  # after the batch of the step, of two tables
    assert files.run_id == memory.run_id
    assert files.record.resolved.sha256 == memory.record.resolved.sha256
    assert files.metrics == pytest.approx(memory.metrics, nan_ok=True)
    assert files.notes == memory.notes


@pytest.mark.parametrize("block", [10**6, 150])
def test_codes_and_what_is_imputed_are_written_in_parts(trained, tmp_path, small_memory, monkeypatch, block):
    """One part holds what the rows in memory have; in several, draws differ, and nothing else does."""
    folder, memory = trained
    place = [memory.run_id, "--store", str(memory.folder.parent), "--data", str(folder), "--quiet"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(use, "BLOCK", block)
    monkeypatch.setattr(dataset, "MOST_HELD_ROWS", 10)  # which is about samples alone
    main(["impute", *place, "--draws", "40"])
    main(["embed", *place])
    monkeypatch.setenv("POLYVAE_MEMORY", "1")
    main(["impute", *place, "--draws", "40", "--out", "whole.npz"])
    main(["embed", *place, "--out", "whole"])
    monkeypatch.setattr(file_rows, "MOST", 10**6)
    codes = {name: np.load(name / "codes.npy") for name in map(Path, ("codes", "whole"))}
    assert np.allclose(codes[Path("codes")], codes[Path("whole")], atol=1e-6)
    assert np.load("codes/.ids.npy")[:2].tolist() == ["c0", "c1"]
    given = {key: np.load(folder / f"{key}.npy") for key in ("genes", "genes.mask", "protein", "label")}
    with np.load("whole.npz") as whole:
        parts_of = {path.name.removesuffix(".npy"): np.load(path) for path in Path("imputed").iterdir()}
        assert set(parts_of) == set(whole.files)
        for key, array in whole.items():
            assert (parts_of[key].dtype, parts_of[key].shape) == (array.dtype, array.shape)
            if block > 10**5 or key in ("label", ".ids", "protein", "protein.sd", "genes.mask"):
                assert np.array_equal(parts_of[key], array)
        seen = given["genes.mask"][:, None] & ~np.isnan(given["genes"])
        assert np.array_equal(parts_of["genes"][seen], given["genes"][seen])
        spread = whole["genes.sd"][~seen]
        assert (np.abs(parts_of["genes"] - whole["genes"])[~seen] < 1.5 * spread).all()  # sqrt(2 / 40) sd, 6.7 times
    monkeypatch.setenv("POLYVAE_MEMORY", "5e-6")
    with pytest.raises(InputError, match=r"'genes' was filled in, as 'genes\.sd' beside it says, and is too large"):
        load("arrays", data="imputed")


@pytest.mark.parametrize("dtype", ["float16", ">f8", "bool", "int32"])
def test_parts_are_of_one_type_whichever_of_them_are_filled_in(tmp_path, dtype):
    given, filled = np.ones((5, 2), dtype), np.full((5, 2), 0.5, np.float32)
    seen = np.arange(5) < 4
    made = [{"x": with_given(filled[at], given[at], seen[at]), "x.mask": seen[at]} for at in (slice(3), slice(3, 5))]
    writers.write_parts(tmp_path, made, 5, {})
    assert np.array_equal(np.load(tmp_path / "x.npy"), with_given(filled, given, seen))
    assert np.load(tmp_path / "x.mask.npy").tolist() == seen.tolist()


def test_a_folder_of_other_arrays_is_refused_and_one_of_the_same_replaced(trained, tmp_path, monkeypatch, capsys):
    folder, memory = trained
    monkeypatch.chdir(tmp_path)
    place = [memory.run_id, "--store", str(memory.folder.parent), "--data", str(folder), "--quiet"]
    main(["embed", *place, "--out", "codes"])
    main(["embed", *place, "--out", "codes"])
    main(["impute", *place, "--out", "full", "--draws", "2"])
    for command, there, other in (("impute", "codes", "codes.npy"), ("embed", "full", "genes.high.npy")):
        before = sorted(path.stat().st_mtime_ns for path in Path(there).iterdir())
        with pytest.raises(SystemExit):
            main([command, *place, "--out", there])
        assert f"--out {there} holds {other}, which would be read as data beside" in capsys.readouterr().err
        assert sorted(path.stat().st_mtime_ns for path in Path(there).iterdir()) == before


def test_a_single_file_has_no_place_for_what_is_imputed_in_parts(trained, tmp_path, small_memory, capsys):
    folder, memory = trained
    place = [memory.run_id, "--store", str(memory.folder.parent), "--data", str(folder)]
    with pytest.raises(SystemExit):
        main(["impute", *place, "--out", str(tmp_path / "x.npz")])
    assert "x.npz: name a folder, without an ending" in capsys.readouterr().err


def test_what_must_be_held_is_a_sample(trained, small_memory, monkeypatch):
    folder, _ = trained
    monkeypatch.setattr(dataset, "MOST_HELD_ROWS", 8)
    plan = make_plan(config_of(folder))
    assert (len(plan.test), len(plan.validation), len(plan.train.held(0))) == (8, 8, 8)
    assert len(plan.train) > 60
    assert plan.test.fingerprint == make_plan(config_of(folder)).test.fingerprint
    assert plan.is_said.endswith("rows are read from files by batch; 8 of 24 test rows are scored")
    said = make_plan(config_of(folder).with_(epochs=None)).is_said
    assert said.startswith("120 rows: 72 to train, 24 to validate, 24 to test; ")


def peak_of(folder, rows):
    """Bytes that loading and a pass over all batches hold at most: NumPy tells tracemalloc what it allocates."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (rows, 3, 32, 32), dtype=np.uint8)
    data = saved(folder / str(rows), {"a": pictures, "b": rng.standard_normal((rows, 20))})
    del pictures
    tracemalloc.start()
    train = load("arrays", data=data, test_size=10)
    assert set(train.in_files) == {"a", "b"}
    for start in range(0, len(train), 50):
        train.batch(torch.arange(start, min(start + 50, len(train))))
    assert train.fingerprint
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYVAE_MEMORY", "1e-4")
    monkeypatch.setattr(file_rows, "MOST", 2**12)
    few, many = (peak_of(tmp_path, rows) for rows in (300, 1100))
    assert many - few < 800 * 300  # a row has 3,232 bytes; ids, masks and orders have some


def test_moments_do_not_depend_on_parts(monkeypatch):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((500, 3)).astype(np.float32) * (1, 100, 1e-3) + (0, 1e4, 7)
    table[rng.random(table.shape) < 0.2] = np.nan
    present, train = ~np.isnan(table).all(1), rng.permutation(500)[:400]
    whole = interpret("x", table, present, {}, train)[0]
    monkeypatch.setattr(file_rows, "MOST", 31)
    assert interpret("x", table, present, {}, train)[0] == whole
    seen = table[train[present[train]]].astype(float)
    assert whole.transform.mean == tuple(np.nanmean(seen, 0))
    assert whole.transform.sd == tuple(np.nanstd(seen, 0))


def test_bad_values_are_named_by_their_row(tmp_path, small_memory):
    arrays = own()
    arrays["protein"][171, 2] = np.inf
    with pytest.raises(InputError, match="modality 'protein', row 171: 1 of 4 values are infinite"):
        load("arrays", data=saved(tmp_path / "own", arrays))
    arrays["protein"][171, 2] = 1e6
    data = load("arrays", data=saved(tmp_path / "wild", arrays), test_size=20)
    assert "protein" not in data.info["warnings"] or "171" in data.info["warnings"]["protein"]
    arrays["protein"][171, 2] = np.inf
    with pytest.raises(InputError, match="'protein', row 171: values are not finite"):
        load_like(saved(tmp_path / "new", arrays), data.modalities)


def test_large_parquet_files_are_the_same_data(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYVAE_CACHE", str(tmp_path / "cache"))
    arrays, cells = own(), [f"c{row}" for row in range(240)]
    genes = {f"g{k}": column for k, column in enumerate(arrays["genes"].T)}
    genes["g0"] = np.nan_to_num(genes["g0"]).round().astype(int)
    pl.DataFrame({"id": cells, **genes}).fill_nan(None).write_parquet(tmp_path / "genes.parquet", row_group_size=50)
    some = pl.DataFrame(
        {"id": cells[::-1], "kind": ["u", "v", "w"] * 80, **{f"p{k}": arrays["protein"][:, k] for k in (0, 1)}}
    )
    some.head(200).write_parquet(tmp_path / "protein.parquet", row_group_size=70)
    options = {"data": f"{tmp_path / 'genes.parquet'},{tmp_path / 'protein.parquet'}", "label": "kind"}
    with pytest.raises(InputError, match="'kind' is missing in row"):
        load("arrays", **options)
    options = options | {"label": None, "leave_out": "kind"}
    memory = load("arrays", **options)
    monkeypatch.setenv("POLYVAE_MEMORY", "3e-6")
    monkeypatch.setattr("polyvae.datasets.own.readers.scanned.MOST", 200)
    files = load("arrays", **options)
    assert set(files.in_files) == {"genes", "protein"}
    assert files.fingerprint == memory.fingerprint
    assert len(list((tmp_path / "cache" / "rows").glob("*.npy"))) == 2
    load("arrays", split="test", **options)
    assert len(list((tmp_path / "cache" / "rows").glob("*.npy"))) == 2
    words = [*map(str, range(170)), "x", *map(str, range(69))]
    pl.DataFrame({"id": cells, "x.a": words, "x.b": words}).write_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(InputError, match=r"column 'x\.a', row 170: 'x' is not a number"):
        load("arrays", data=str(tmp_path / "wrong.parquet"))


@pytest.mark.parametrize("name", ["x y.csv", "x.tsv", "x.npz"])
def test_files_that_are_too_large_say_the_command_that_helps(tmp_path, name, monkeypatch):
    path, table = tmp_path / name, np.arange(400.0).reshape(100, 4)
    table[50, 0] = np.nan
    if path.suffix == ".npz":
        np.savez(path, x=table)
    else:
        frame = pl.DataFrame({f"x.{k}": column for k, column in enumerate(table.T)}).fill_nan(None)
        frame.write_csv(path, separator="," if path.suffix == ".csv" else "\t", null_value="NA")
    monkeypatch.setenv("POLYVAE_MEMORY", "1e-6")
    monkeypatch.setenv("POLYVAE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="rows are read by batch: python") as said:
        load("arrays", data=path)
    command = shlex.split(str(said.value).partition("by batch: ")[2])
    zipfile.main(command[3:]) if path.suffix == ".npz" else exec(command[2])
    made = path.with_suffix("" if path.suffix == ".npz" else ".parquet")
    assert np.array_equal(read_parts(made).values["x"][:], table, equal_nan=True)


def test_single_columns_and_words_are_held(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYVAE_MEMORY", "1e-5")
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((200, 30)), "kind": np.array(["u", "v"] * 100), "age": rng.random(200)}
    data = load("arrays", data=saved(tmp_path / "own", arrays))
    assert (set(data.in_files), set(data.values)) == ({"x"}, {"kind", "age"})
    assert data.names == ("age", "kind", "x")
    assert re.search("read by batch", data.info["description"]["x"])
