"""The command line: bad input gets one readable message and exit status 2; the happy path on one's own arrays."""

import json
from pathlib import Path

import numpy as np
import pytest

from polyvae import RunConfig, files
from polyvae.cli import COMMANDS, main
from polyvae.errors import RunError
from polyvae.judges import digits as judges
from polyvae.runs.plan import make_plan

TOY = ["run", "--dataset", "toy", "--modalities", "2", "--train-size", "40", "--test-size", "20"]
TOY += ["--batch-size", "16", "--epochs", "1", "--latent-dim", "3", "--metrics", "none"]


def status_of(arguments, capsys) -> tuple[int, str]:
    """(exit status, stderr) of a command."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().err


def refused(arguments, capsys, *parts, status=2) -> None:
    """The command fails with one message, without a traceback, that holds all `parts`."""
    found, message = status_of(arguments, capsys)
    assert found == status, message
    assert "Traceback" not in message
    for part in parts:
        assert part in message, message


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--method", "mvea"], ["'mvea'", "mopoe"]),
        (["--dataset", "mnits"], ["'mnits'", "polymnist"]),
        (["--only", "m7"], ["'m7'", "m0, m1"]),
        (["--network", "cnn"], ["'cnn'", "resnet"]),
        (["--network", "m9=mlp"], ["--network", "'m9'"]),
        (["--network", "conv"], ["28x28", "'m0'"]),
        (["--likelihood", "gauss"], ["'gauss'", "laplace"]),
        (["--likelihood", "m1=bernoulli"], ["likelihood bernoulli", "'m1'", "outside [0, 1]"]),
        (["--likelihood", "categorical"], ["likelihood categorical", "'m0'", "one-hot"]),
        (["--likelihood", "laplace_8bit"], ["likelihood laplace_8bit", "uint8"]),
        (["--likelihood-scale", "big"], ["--likelihood-scale", "'big'"]),
        (["--likelihood-scale", "-1"], ["-1"]),
        (["--modality-weights", "0"], ["weight 0"]),
        (["--metrics", "fid"], ["'fid'", "coherence"]),
        (["--metrics", "default,fid"], ["'fid'", "coherence"]),
        (["--dataset", "array", "--data", "x.npz"], ["unknown data set 'array'", "arrays"]),
        (["--device", "tpu7"], ["--device tpu7"]),
        (["--device", "meta"], ["--device meta"]),
        (["--modalities", "0"], ["--modalities is 0"]),
        (["--beta", "nan"], ["--beta is nan"]),
        (["--beta", "-1"], ["--beta is -1"]),
        (["--epochs", "0"], ["--epochs is 0"]),
        (["--scale", "0.5"], ["'toy'", "'scale'"]),
        (["--pairing", "fresh"], ["--pairing fresh"]),
        (["--method", "unimodal"], ["exactly one modality", "--only m0"]),
        (["--method", "custom"], ["--subsets FILE.json"]),
        (["--method", "mvae_plus", "--allocation", "systematic"], ["exact"]),
        (["--patience", "2"], ["--patience", "--validation-fraction"]),
        (["--average-epochs", "2"], ["--average-epochs", "--validation-fraction"]),
        (["--data", "x.npz"], ["--dataset arrays"]),
        (["--data-dir", "nowhere", "--dataset", "polymnist"], ["nowhere", "train-images-idx3-ubyte"]),
        (["--dataset", "polymnist", "--modalities", "99"], ["99", "backgrounds"]),
        (["--frobnicate", "1"], ["--frobnicate"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_flags_are_named_before_any_compute(flags, parts, capsys, tmp_path):
    refused([*TOY, *flags], capsys, *parts)
    if "--frobnicate" not in flags:
        assert len(status_of([*TOY, *flags], capsys)[1].splitlines()) == 1
    assert not (tmp_path / "runs").exists(), "nothing was begun"


@pytest.mark.parametrize(
    ("terms", "part"),
    [
        ([{"given": ["m0"], "weight": 0.5}], "sum to 0.5"),
        ([{"given": ["m0"], "weight": -1}, {"given": ["m1"], "weight": 2}], "-1"),
        ([{"given": [], "weight": 1}], "at least one"),
        ([{"given": ["m5"], "weight": 1}], "'m5'"),
        ([{"given": ["m0"], "wieght": 1}], "'wieght'"),
        ([{"given": ["m0"], "weight": "x"}], "--subsets s.json"),
        ([{"given": None, "weight": 1}], "--subsets s.json"),
        ({"mixture": []}, "'terms'"),
        (5, "--subsets s.json"),
    ],
)
def test_a_bad_set_of_subsets_is_refused(terms, part, capsys):
    Path("s.json").write_text(json.dumps(terms))
    refused([*TOY, "--method", "custom", "--subsets", "s.json"], capsys, part)


GOOD = {"a": np.random.default_rng(0).normal(size=(60, 3)) * 5 + 2, "b": np.random.default_rng(1).normal(size=(60, 2))}
ARRAYS = [
    "run",
    "--dataset",
    "arrays",
    "--data",
    "mine.npz",
    "--epochs",
    "2",
    "--latent-dim",
    "3",
    "--batch-size",
    "16",
]


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({**GOOD, "a": np.where(np.arange(180).reshape(60, 3) == 7, np.inf, GOOD["a"])}, ["'a'", "row 2", "a.mask"]),
        ({**GOOD, "b": GOOD["b"][:50]}, ["'b'", "50", "60"]),
        ({**GOOD, "b": np.array(["x"] * 60)}, ["'b'", "every row"]),
        ({**GOOD, "b": np.array([{}] * 60, dtype=object)}, ["'b'", "objects are not read"]),
        ({**GOOD, "c.mask": np.ones(60, bool)}, ["'c.mask'"]),
        ({**GOOD, "a.mask": np.arange(60) > 0, "b.mask": np.arange(60) > 0}, ["row 0", "no observed modality"]),
        ({**GOOD, "a.mask": np.ones(60)}, ["a.mask", "Bool"]),
    ],
)
def test_bad_arrays_are_named(arrays, parts, capsys):
    np.savez("mine.npz", **arrays)
    refused(ARRAYS, capsys, *parts)


def test_files_that_are_missing_or_damaged_are_named(capsys):
    refused(ARRAYS, capsys, "mine.npz")
    np.savez("mine.npz", **GOOD)
    content = Path("mine.npz").read_bytes()
    Path("mine.npz").write_bytes(content[: len(content) // 2])
    refused(ARRAYS, capsys, "mine.npz")
    main(TOY)
    folder = next(Path("runs").glob("toy-*"))
    (folder / "record.json").write_text('{"run_id": ')
    refused(TOY, capsys, "record.json is damaged")
    refused(["report"], capsys, "record.json is damaged")


@pytest.mark.parametrize(
    ("name", "content"),
    [("checkpoint/state.safetensors", "xx"), ("history.jsonl", '{"st'), ("history.jsonl", '{"a": 1}')],
)
def test_an_interrupted_run_names_its_damaged_file(name, content, capsys):
    main(TOY)
    folder = next(Path("runs").glob("toy-*"))
    (folder / "record.json").unlink()
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / name).write_text(content)
    refused(TOY, capsys, name, "damaged")
    (folder / name).unlink()
    assert status_of(TOY, capsys)[0] == 0, "the message says what helps"


@pytest.mark.parametrize("content", ["{}", "[1]", ""])
def test_a_damaged_model_is_named(content, capsys):
    main(TOY)
    path = next(Path("runs").glob("toy-*/model.json"))
    path.write_text(content)
    refused(["generate", path.parent.name], capsys, "model.json is damaged")


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("def configs(:", ["mine.py", "SyntaxError"]),
        ("def configs(): return 1 / 0", ["mine.py", "ZeroDivisionError"]),
        ("from polyvae import RunConfig\ndef configs(): return [RunConfig(btea=1)]", ["mine.py", "'btea'"]),
        ("from polyvae import RunConfig\ndef configs(): return [RunConfig(beta=-1)]", ["--beta is -1"]),
        ("def configs(): return ['mopoe']", ["mine.py", "list[RunConfig]"]),
        ("def configs(): return []", ["mine.py", "at least one"]),
        ("x = 1", ["mine.py", "configs()"]),
    ],
)
def test_a_bad_experiment_file_is_named(code, parts, capsys):
    Path("mine.py").write_text(code)
    refused(["sweep", "mine.py"], capsys, *parts)


def test_a_damaged_cache_and_judge_are_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("POLYVAE_CACHE", str(tmp_path / "cache"))
    command = ["data", "build", "polymnist", "--size", "20", "--modalities", "1"]
    main(command)
    cached = next((tmp_path / "cache" / "datasets").glob("*.safetensors"))
    cached.write_bytes(cached.read_bytes()[:1000])
    refused(command, capsys, cached.name, "damaged")
    cached.unlink()
    polymnist = ["run", "--modalities", "1", "--train-size", "20", "--test-size", "20", "--epochs", "1"]
    plan = make_plan(RunConfig(modalities=1, train_size=20, test_size=20))
    path = judges.judge_path(plan.sampler)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a judge")
    refused(polymnist, capsys, path.name, "damaged")


def test_unknown_runs_experiments_and_stores_are_named(capsys):
    refused(["evaluate", "nothing"], capsys, "no run 'nothing'")
    refused(["generate", "nothing"], capsys, "no run 'nothing'")
    refused(["sweep", "fig99"], capsys, "'fig99'", "quick")
    Path("mine.py").write_text(
        "from polyvae import RunConfig\ndef configs():\n    return [RunConfig.from_dict({'btea': 1})]"
    )
    refused(["sweep", "mine.py"], capsys, "'btea'")
    refused(["report"], capsys, "runs")
    Path("file").write_text("")
    refused([*TOY, "--store", "file/runs"], capsys, "file/runs")


def test_a_full_disk_is_said_and_loses_nothing(capsys, monkeypatch):
    main(TOY)
    before = {path: files.sha256(path) for path in Path("runs").rglob("*") if path.is_file()}

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", full)
        refused([*TOY, "--seed", "1"], capsys, "No space left on device", status=1)
    after = {path: files.sha256(path) for path in Path("runs").rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    assert not list(Path("runs").rglob("*.tmp"))
    main([*TOY, "--seed", "1"])


def test_a_run_that_fails_is_recorded_and_can_be_done_again(capsys, monkeypatch):
    def failing(*arguments, **options):
        raise RunError("loss is not finite at epoch 0, step 0: KL")

    with monkeypatch.context() as patch:
        patch.setattr("polyvae.runs.run.steps", failing)
        refused(TOY, capsys, "step 0: KL", status=1)
    record = json.loads(next(Path("runs").glob("toy-*/record.json")).read_text())
    assert (record["status"], "step 0: KL" in record["error"]) == ("failed", True)
    assert status_of(TOY, capsys)[0] == 0


def test_debug_shows_the_traceback_too(capsys):
    status, message = status_of([*TOY, "--method", "mvea", "--debug"], capsys)
    assert status == 2
    assert "Traceback" in message
    assert message.splitlines()[-1].startswith("polyvae: unknown method 'mvea'")


def test_own_arrays_from_run_to_imputation(capsys):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 2))
    a, b = (z @ rng.normal(size=(2, k)) * 3 + 100 + rng.normal(size=(200, k)) for k in (4, 3))
    seen = rng.random(200) > 0.3
    np.savez("mine.npz", **{"a": a, "b": np.where(seen[:, None], b, np.nan), "b.mask": seen})
    assert status_of(ARRAYS, capsys)[0] == 0
    record = next(Path("runs").glob("arrays-*/record.json"))
    stamp = record.stat().st_mtime_ns
    assert status_of(ARRAYS, capsys)[0] == 0
    assert record.stat().st_mtime_ns == stamp, "a finished run is not done again"
    run_id, before = record.parent.name, json.loads(record.read_text())["metrics"]
    main(["evaluate", run_id, "--metrics", "bound", "--quiet"])
    assert json.loads(record.read_text())["metrics"] == before, "the same run scores the same"
    capsys.readouterr()
    main(["impute", run_id, "--data", "mine.npz", "--draws", "20", "--quiet"])
    main(["generate", run_id, "--given", "a", "--targets", "b", "--data", "mine.npz", "--count", "30", "--quiet"])
    assert capsys.readouterr().out == ""
    with np.load("imputed.npz") as filled:
        np.testing.assert_allclose(filled["a"], a, rtol=1e-5)
        np.testing.assert_allclose(filled["b"][seen], b[seen], rtol=1e-5)
        assert np.isfinite(filled["b"]).all()
        assert (filled["b.low"] <= filled["b.high"]).all()
        assert filled["b"][~seen].mean() == pytest.approx(100, abs=10), "in the units of the data"
    main(["evaluate", run_id, "--metrics", "imputation", "--quiet"])
    held = json.loads(record.read_text())["metrics"]["imputation/a/b/coverage"]
    for named in ([run_id], [str(record.parent), "--store", "elsewhere"]):
        main(["impute", *named, "--data", "mine.npz", "--draws", "2"])
        out = capsys.readouterr().out
        assert out.count("80 % intervals hold") == 1
        assert f"{held:.2f}" in out
    with np.load("generated.npz") as made:
        assert made["b"].shape == (30, 3)
        assert made["b"].mean() == pytest.approx(100, abs=10)


@pytest.fixture
def mixed(capsys) -> str:
    """A run on a table and classes, where some rows lack the table."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 120)
    table = kind[:, None] + 0.1 * rng.normal(size=(120, 2))
    seen = np.arange(120) % 3 > 0
    np.savez("mine.npz", **{"kind": kind, "table": table, "table.mask": seen})
    main([*ARRAYS, "--quiet"])
    return next(Path("runs").glob("arrays-*")).name


def test_what_is_imputed_has_classes_and_is_data_again(mixed, capsys):
    main(["impute", mixed, "--data", "mine.npz", "--draws", "5"])
    with np.load("imputed.npz") as filled:
        assert "kind.sd" not in filled
        np.testing.assert_array_equal(filled["kind.class"], np.load("mine.npz")["kind"])
        assert (filled["table.sd"][~filled["table.mask"]] > 0).all()
    main(["impute", mixed, "--data", "imputed.npz", "--draws", "5", "--out", "again.npz"])
    with np.load("imputed.npz") as first, np.load("again.npz") as again:
        assert sorted(first) == sorted(again)
        np.testing.assert_array_equal(first["table.mask"], again["table.mask"])


def test_generation_uses_the_rows_that_have_what_is_given(mixed, capsys):
    main(["generate", mixed, "--given", "table", "--targets", "kind", "--data", "mine.npz", "--count", "100"])
    assert "80 of the 120 rows have table" in capsys.readouterr().out
    with np.load("generated.npz") as made:
        np.testing.assert_array_equal(made["row"], np.flatnonzero(np.arange(120) % 3 > 0))
        np.testing.assert_array_equal(made["kind.class"], made["kind"].argmax(-1))
    refused(["generate", mixed, "--given", "tabel", "--data", "mine.npz"], capsys, "'tabel'", "kind, table")
    refused(["generate", mixed, "--out", "g.xlsx"], capsys, "g.xlsx", ".npz, .csv")
    np.savez("none.npz", kind=np.arange(3))
    refused(["generate", mixed, "--given", "table", "--data", "none.npz"], capsys, "none of the 3 rows has table")


def test_likelihoods_are_scored_again_at_another_number_of_samples(mixed, capsys):
    record = Path("runs") / mixed / "record.json"
    main(["evaluate", mixed, "--metrics", "log_likelihood", "--importance-samples", "5", "--quiet"])
    assert json.loads(record.read_text())["metrics"]["log_likelihood/samples"] == 5
    main([*ARRAYS, "--metrics", "log_likelihood", "--importance-samples", "7", "--quiet"])
    assert json.loads(record.read_text())["metrics"]["log_likelihood/samples"] == 7


def test_settings_beside_the_data_are_corrected_not_deleted(mixed, capsys):
    Path("modalities.json").write_text('{"table": {"scale": learned}}')
    refused(ARRAYS, capsys, "modalities.json is not valid JSON", "line 1, column 21", "correct it")
    Path("modalities.json").write_text('{"table": {"scale": "leaned"}}')
    refused(ARRAYS, capsys, "'table'", "'leaned'", '"learned"')
    Path("modalities.json").write_text('{"table": {"scale": "learned", "likelihood": "laplace"}}')
    assert status_of(ARRAYS, capsys)[0] == 0


def test_data_that_have_changed_are_named(mixed, capsys):
    np.savez("mine.npz", kind=np.arange(120) % 3, table=np.ones((120, 2)))
    refused(["evaluate", mixed, "--metrics", "bound"], capsys, "mine.npz", "other data")


def test_a_run_of_another_store_is_scored_where_it_is(capsys):
    main([*TOY, "--store", "elsewhere"])
    folder = next(Path("elsewhere").glob("toy-*"))
    main(["evaluate", str(folder), "--metrics", "bound"])
    assert "bound/loss" in json.loads((folder / "record.json").read_text())["metrics"]
    assert not Path("runs").exists()


def test_pipes_get_plain_lines_and_quiet_nothing(capsys):
    main([*TOY, "--quiet"])
    assert capsys.readouterr() == ("", "")
    main([*TOY, "--seed", "1"])
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "\x1b" not in shown.out
    assert "\r" not in shown.out
    assert "step 2 of 2" in shown.out


def test_looking_around(monkeypatch, capsys):
    main(["methods"])
    main(["data", "list"])
    main(["data", "info", "toy", "--modalities", "2"])
    shown = capsys.readouterr().out
    for word in ("mvae_plus", "translated_polymnist", '"rows": 2000'):
        assert word in shown
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    main(["data", "info", "toy", "--modalities", "2"])
    shown = capsys.readouterr().out
    assert shown.startswith("toy: 2,000 rows (train)\n")
    assert '"' not in shown
    main(["data", "preview", "toy", "--out", "toy.png"])
    assert Path("toy.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_itself(command, capsys):
    with pytest.raises(SystemExit) as status:
        main([command, "--help"])
    assert status.value.code == 0
    assert ("--store" in capsys.readouterr().out) == (command not in ("data", "methods", "metrics", "advise"))
