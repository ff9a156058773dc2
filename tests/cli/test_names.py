"""Names of modalities that might be taken for something else, from training to the report."""

import numpy as np
import pytest

import polyvae as pv
from polyvae import keys
from polyvae.cli import main
from polyvae.datasets.own.writers import write_npz
from polyvae.runs.record import Record
from support.slow import slow_unless

# Names of a line are taken for the same things; of every third line `make test` uses the first two.
NASTY = [
    ("keys", "values", "items", "pop", "update", "type"),  # attributes of dictionaries
    ("forward", "training", "train", "to", "_modules", "T", "self", "__class__"),  # of modules and tensors
    ("file", "allow_pickle", "args", "arr_0"),  # arguments of NumPy
    ("mask", "sd", "ids", "data", "class", "samples"),  # fields of files
    ("loss", "epoch", "step", "validation", "metrics", "given"),  # of records and histories
    ("bound", "prior", "log_likelihood", "imputation", "self_low", "conditional", "floor", "digits"),  # words of keys
    ("--help", "all", "none", "auto", "-", "-x"),  # words of the command line
    ("null", "nan", "True", "0"),  # values of JSON and tables
    ("é", "变量"),
]
PAIRS = [line[i : i + 2] for line in NASTY for i in range(0, len(line), 2)]
SETTINGS = [*("--epochs", "1", "--latent-dim", "2", "--batch-size", "16", "--threads", "1", "--method", "mvae")]


def written(path, first, second):
    rng = np.random.default_rng(3)
    z, label = rng.standard_normal((60, 2)), rng.integers(0, 2, 60)
    arrays = {first: z + label[:, None], second: z[:, ::-1] - label[:, None], "label": label}
    write_npz(path, arrays)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return used(folder, "first", "second")


def used(folder, first, second):
    """The keys of the metrics of a run on two such modalities, after every command that takes names."""
    data, store = written(folder / "d.npz", first, second), str(folder / "runs")
    main(
        ["run", "--dataset", "arrays", "--data", str(data), *SETTINGS, "--metrics", "none", "--store", store, "--quiet"]
    )
    run = next((folder / "runs").glob("arrays-*"))
    metrics = "bound,imputation,linear_probe,latent,objective,log_likelihood"
    main(["evaluate", run.name, "--metrics", metrics, "--store", store, "--quiet"])
    main(["generate", run.name, "--count", "3", "--store", store, "--out", str(folder / "g.npz"), "--quiet"])
    given = ["generate", run.name, f"--given={first}", f"--targets={second}", "--count", "3"]
    main([*given, "--store", store, "--out", str(folder / "c.npz"), "--quiet"])
    main(["impute", run.name, "--data", str(data), "--store", store, "--out", str(folder / "i.npz"), "--quiet"])
    main(["report", "--store", store, "--out", str(folder / "report"), "--quiet"])
    with np.load(folder / "g.npz") as generated, np.load(folder / "c.npz") as conditional:
        assert {*generated} == {first, second}
        assert {*conditional} == {second, "row", ".ids"}
    with np.load(folder / "i.npz") as imputed, np.load(data) as given:
        fields = {f"{n}{end}" for n in (first, second) for end in ("", ".sd", ".low", ".high", ".mask")}
        assert {*imputed} == fields | {".ids", "label"}
        for name in (first, second):
            assert np.array_equal(imputed[name], given[name])
    return sorted(Record.read(run / "record.json").metrics)


@pytest.mark.parametrize(
    ("first", "second"), slow_unless(lambda *pair: pair in [line[:2] for line in NASTY[::3]], PAIRS)
)
def test_names_that_are_something_else_elsewhere_are_names_of_modalities(tmp_path, plain, unpainted, first, second):
    assert len(used(tmp_path, first, second)) == len(plain)  # none has overwritten another


@pytest.mark.parametrize("name", [name for name in keys.RESERVED if not name.startswith("label")])
def test_names_that_are_words_in_our_keys_are_refused_before_training(tmp_path, capsys, name):
    data = written(tmp_path / "d.npz", name, "other")
    with pytest.raises(SystemExit) as exit:
        main(["run", "--dataset", "arrays", "--data", str(data), *SETTINGS, "--store", str(tmp_path / "runs")])
    assert exit.value.code == 2
    assert f"modality name '{name}'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_names_that_make_the_same_files_are_refused():
    table = np.random.default_rng(0).standard_normal((20, 2))
    with pytest.raises(pv.InputError, match=r"a, b_c and a_b, c make the same file names; rename one"):
        pv.datasets.load("arrays", data={"a": table, "b_c": table, "a_b": table, "c": table})


def test_every_word_that_may_stand_where_a_name_stands_is_reserved(plain):
    """What metrics wrote of `first` and `second`: no fixed word of a key stands at the same place of another."""
    names = {"first", "second", "first+second"}
    split = [key.split("/") for key in plain]
    slots = {tuple(parts[:i]) for parts in split for i, part in enumerate(parts) if part in names}
    words = {parts[len(start)] for start in slots for parts in split if tuple(parts[: len(start)]) == start} - names
    assert words
    assert words <= set(keys.RESERVED)
