"""A store is untrusted input: every damage is one line that names the file and the key, and the other runs go on."""

import copy
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import polyvae as pv
from polyvae import InputError, RunConfig, RunStore, schema
from polyvae.cli import main
from polyvae.runs import upkeep
from polyvae.runs.finished import fit_prior

TOY = {"dataset": "toy", "modalities": 2, "train_size": 60, "test_size": 20, "batch_size": 16, "latent_dim": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of two runs, the first with a fitted prior."""
    root = tmp_path_factory.mktemp("made")
    for seed in (0, 1):
        pv.run(RunConfig(**TOY, epochs=2, seed=seed, metrics="bound", validation_fraction=0.2), root)
    first = sorted(record.run_id for record in RunStore(root).records())[0]
    fit_prior(first, RunStore(root), "gmm", components=2, seed=0)
    return root


@pytest.fixture
def store(made, tmp_path):
    return RunStore(shutil.copytree(made, tmp_path / "runs"))


@pytest.fixture
def folder(store):
    return sorted(path for path in store.root.glob("*/") if not path.name.startswith("."))[0]


def changed(content, keys, value):
    """A copy of JSON content with the value under these keys replaced."""
    content = copy.deepcopy(content)
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return content


WRONG = {
    "record.json": [
        (("run_id",), "../../x", "run_id is '../../x'"),
        (("run_id",), "/tmp/x", "run_id is '/tmp/x'"),
        (("error",), 3, "error is 3"),
        (("metrics", "bound/loss"), True, "metrics 'bound/loss' is True, not a number"),
        (("notes",), {"a": []}, "notes 'a' is [], not text"),
        (("environment", "threads"), "x", "environment 'threads'"),
        (("resolved", "modalities"), 5, "resolved 'modalities' is not a list"),
        (("config", "beta"), [], "--beta is []"),
    ],
    "config.json": [(("epochs",), "x", "--epochs is 'x'"), (("seed",), 2**40, "--seed is")],
    "model.json": [
        (("modalities", 0, "name"), None, "modalities 0 'name' is None, not text"),
        (("modalities", 0, "shape", 0), 2**40, "modalities 0 'shape' 0"),
        (("modalities", 1, "transform"), [], "modalities 1 'transform'"),
        (("latent_dim",), 10**9, "model.json"),
        (("networks",), {"m0": "mlp"}, "model.json"),
        (("subsets", "names"), "m0", "subsets 'names' is not a list"),
        (("kind",), "other", "model.json is damaged (its checksum"),
        (("posterior", "kind"), "cauchy", "posterior 'kind' is 'cauchy'"),
    ],
    "priors/gmm.json": [
        (("prior", "kind"), "x", "gmm.json"),
        (("prior", "components"), 10**8, "describes at least"),
        (("sha256",), "x", "checksum"),
    ],
}
CASES = [(name, *case) for name, cases in WRONG.items() for case in cases]


@pytest.mark.parametrize(("name", "keys", "value", "part"), CASES, ids=[f"{c[0]}-{c[1][-1]}-{c[2]!r}" for c in CASES])
def test_wrong_content_is_named_by_its_key(name, keys, value, part, store, folder, capsys, unpainted):
    path = folder / name
    path.write_text(json.dumps(changed(json.loads(path.read_text()), keys, value)))
    problems = upkeep.check(store)
    assert {problem.run_id for problem in problems} == {folder.name}
    assert any(path.name.split(".")[0] in p.problem and part in p.problem for p in problems), problems
    main(["report", "--store", str(store.root), "--out", str(store.root.parent / "report")])
    assert "Traceback" not in capsys.readouterr().err


TEXTS = {
    "twice": ('{"run_id": "a", "run_id": "a"}', "key 'run_id' appears twice"),
    "deep": ("[" * 100_000, "nested deeper"),
    "deep objects": ('{"a":' * 500 + "1" + "}" * 500, "nested deeper"),
    "digits": ('{"run_id": ' + "9" * 9000 + "}", "9000 digits"),
    "NaN": ('{"run_id": NaN}', "NaN is not a finite number"),
    "overflow": ('{"run_id": 1e999}', "not a finite number"),
    "half a pair": ('{"run_id": "\\ud800"}', "surrogates"),
    "null character": ('{"run_id": "\\u0000"}', "null character"),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["record.json", "config.json", "model.json", "history.jsonl", "priors/gmm.json"])
def test_text_that_no_file_of_ours_has_is_named(name, text, store, folder):
    content, reason = TEXTS[text]
    (folder / name).write_text(content)
    (problem, *_) = upkeep.check(store)
    assert name in problem.problem
    assert reason in problem.problem


def test_sound_files_that_contradict_each_other_are_told(store, folder):
    config, history, prior = (folder / name for name in ("config.json", "history.jsonl", "priors/gmm.json"))
    for path, change, reason in (
        (config, lambda text: text.replace('"seed": ', '"seed": 1'), "other settings than its record"),
        (history, lambda text: text.split("\n")[0] + "\n", "does not end at step"),
        (history, lambda text: "", "does not end at step"),
    ):
        text = path.read_text()
        path.write_text(change(text))
        (problem,) = upkeep.check(store)
        assert reason in problem.problem
        path.write_text(text)
    prior.unlink()
    (problem,) = upkeep.check(store)
    assert "no fitted prior 'gmm'" in problem.problem


def test_a_damaged_run_takes_no_other_with_it(store, folder, tmp_path, capsys):
    (folder / "record.json").write_text("{")
    (other,) = store.records(lambda damage: None)
    places = {"report": "report", "records": "table.csv", "claims": "claims.md"}
    for command, out in places.items():
        main([command, "--store", str(store.root), "--out", str(tmp_path / out)])
        assert f"left out: {folder / 'record.json'} is damaged" in capsys.readouterr().err
        assert (tmp_path / out).exists()
    assert other.run_id in (tmp_path / "table.csv").read_text()
    assert f"{folder.name}/record.json is damaged" in (tmp_path / "report" / "index.html").read_text()
    with pytest.raises(InputError, match="damaged"):
        store.records()


@pytest.mark.parametrize("run_id", ["../../out", "/tmp/out", "..", ".hidden", "a/b", ""])
def test_no_run_id_leads_out_of_its_store(run_id, store, folder, tmp_path):
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run_id": run_id}))
    before = set(tmp_path.rglob("*"))
    main(["store", "copy", "--store", str(store.root), "--out", str(tmp_path / "a" / "b" / "kept")])
    made = {path for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert all(tmp_path / "a" / "b" / "kept" in path.parents for path in made)
    assert len(RunStore(tmp_path / "a" / "b" / "kept").records()) == 1
    for use in (store.folder, store.history, lambda run_id: store.lock(run_id, wait=False)):
        with pytest.raises(InputError, match="not a valid folder name"):
            use(run_id)


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def tensors_changed(change):
    def apply(path):
        tensors = load_file(path)
        change(tensors, sorted(name for name, value in tensors.items() if value.dim() == 2)[0])
        save_file(tensors, path)

    return apply


DAMAGED = {
    "a flipped bit": (flipped, "checksum"),
    "missing": (tensors_changed(lambda t, name: t.pop(name)), "it lacks"),
    "extra": (tensors_changed(lambda t, name: t.update(more=torch.ones(2))), "the model has no 'more'"),
    "another shape": (tensors_changed(lambda t, name: t.update({name: t[name].T.contiguous()})), "not float32"),
    "integers": (tensors_changed(lambda t, name: t.update({name: t[name].to(torch.int32)})), "is int32"),
    "NaN": (tensors_changed(lambda t, name: t[name].fill_(float("nan"))), "is not finite"),
    "infinite": (tensors_changed(lambda t, name: t[name].fill_(float("inf"))), "is not finite"),
}


@pytest.mark.parametrize("has_checksum", [True, False], ids=["recorded", "older record"])
@pytest.mark.parametrize("file", ["model", "model_best", "priors/gmm"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_weights_are_named(damage, file, has_checksum, store, folder):
    """By the checksum in the record; in older records, which have none, by the tensor."""
    if not has_checksum:
        record, fitted = folder / "record.json", folder / "priors" / "gmm.json"
        content = json.loads(record.read_text())
        del content["resolved"]["sha256"]
        record.write_text(json.dumps(content))
        fitted.write_text(json.dumps({k: v for k, v in json.loads(fitted.read_text()).items() if k != "sha256"}))
        if damage == "a flipped bit":
            return  # nothing tells
    apply, reason = DAMAGED[damage]
    path = folder / f"{file}.safetensors"
    apply(path)
    (problem,) = upkeep.check(store)
    assert str(path) in problem.problem
    assert ("checksum" if has_checksum else reason) in problem.problem
    of_prior = {"prior": "gmm"} if file.startswith("priors") else {"weights": file}
    with pytest.raises(InputError, match=path.name):
        pv.load(folder, **of_prior)


def test_weights_can_be_read_by_whom_the_umask_says(store, folder):
    (folder / "new.json").touch()
    wanted = (folder / "new.json").stat().st_mode
    assert {path.stat().st_mode for path in folder.rglob("*.safetensors")} == {wanted}


def test_a_form_says_the_first_fault_by_its_keys():
    form = dict[str, list[schema.Size] | None]
    assert schema.fault({"a": [1], "b": None}, form) is None
    assert schema.fault({"a": [1, 0]}, form) == "a 1 is 0, it must be from 1 to 2^31 - 1"
    assert schema.fault({"a": "x"}, form) == "its a is not a list"
    assert schema.fault({"epoch": 1, "step": True}, schema.HistoryLine) == "its step is True, not a whole number"
