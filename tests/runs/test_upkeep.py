"""The care of a store: what is wrong in it, what nothing needs, copies."""

import re
import shlex
import shutil

import pytest
import torch

from polyvae import RunStore, files, run
from polyvae.cli import main
from polyvae.runs import upkeep
from support.stores import put
from support.sweeping import TINY


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shared_cache):
    place = tmp_path_factory.mktemp("trained")
    run(TINY.with_(epochs=2), place)
    return place


DAMAGES = {
    "a cut record": (lambda f: (f / "record.json").write_text('{"run_id": '), "record.json is damaged"),
    "a record that lacks keys": (lambda f: (f / "record.json").write_text("{}"), "lacks 'run_id'"),
    "cut weights": (lambda f: (f / "model.safetensors").write_bytes(b"\1\2"), "model.safetensors is damaged"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no file .*model.safetensors"),
    "a cut history": (lambda f: (f / "history.jsonl").write_text('{"epoch": 0}\n{"ep'), "history.jsonl is damaged"),
    "no record": (lambda f: (f / "record.json").unlink(), "half done, after epoch 2"),
    "another name": (lambda f: f.rename(f.with_name("renamed")), "its record is that of toy-mopoe"),
    "a failure": (
        lambda f: files.write_json(f / "record.json", files.read_json(f / "record.json") | {"status": "failed"}),
        "failed: None",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_check_names_what_is_wrong(damage, trained, tmp_path, capsys):
    store = RunStore(shutil.copytree(trained, tmp_path / "runs"))
    assert upkeep.check(store) == []
    (folder,) = upkeep.run_folders(store)
    apply, message = DAMAGES[damage]
    apply(folder)
    (found,) = upkeep.check(store)
    assert found.run_id == ("renamed" if damage == "another name" else folder.name)
    with pytest.raises(SystemExit) as status:
        main(["store", "check", "--store", str(store.root)])
    assert status.value.code == 1

    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("command", ["generate", "embed", "impute --data rows.csv", "fit-prior"])
def test_the_model_of_an_unfinished_run_is_refused_with_the_command_that_finishes_it(
    command, trained, tmp_path, capsys
):
    store = RunStore(shutil.copytree(trained, tmp_path / "my runs"))
    (folder,) = upkeep.run_folders(store)
    for name in ("record.json", "model.json", "model.safetensors"):
        (folder / name).unlink()
    with pytest.raises(SystemExit) as status:
        main([*command.split(), folder.name, "--store", str(store.root)])
    assert status.value.code == 2
    message = capsys.readouterr().err
    assert f"run {folder.name} is unfinished" in message
    if command == "generate":
        _, *words = shlex.split(message[message.index("polyvae run") :])
        main(words)
        assert [record.run_id for record in store.records() if record.is_done] == [folder.name]


def test_a_run_under_way_is_neither_damaged_nor_waste(trained, tmp_path):
    store = RunStore(shutil.copytree(trained, tmp_path / "runs"))
    (folder,) = upkeep.run_folders(store)
    (folder / "record.json").unlink()
    (folder / ".x.1.tmp").write_text("half")
    with store.lock(folder.name, wait=True):
        assert (upkeep.check(store), upkeep.waste(store)) == ([], [])
    assert len(upkeep.check(store)) == len(upkeep.waste(store)) == 1


def test_gc_removes_only_what_nothing_needs(trained, tmp_path, capsys):
    store = RunStore(shutil.copytree(trained, tmp_path / "runs"))
    (folder,) = upkeep.run_folders(store)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files.write_tensors(folder / "checkpoint" / "state.safetensors", {"a": torch.ones(3)})
    (folder / ".record.json.12.tmp").write_text("half")
    (store.root / "empty").mkdir()
    failed = store.folder(put(store, "failed", seed=5))
    files.write_tensors(failed / "checkpoint" / "state.safetensors", {"a": torch.ones(3)})
    main(["store", "gc", "--dry-run", "--store", str(store.root)])
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("checkpoint", ".record.json.12.tmp", "empty"))
    assert (store.root / "empty").is_dir()
    main(["store", "gc", "--store", str(store.root)])
    assert "3 files and folders removed" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert (failed / "checkpoint" / "state.safetensors").is_file(), "a retry goes on from it"
    assert not (store.root / "empty").exists()
    assert upkeep.waste(store) == []


def test_what_a_kill_leaves_of_weights_is_known(trained, tmp_path, monkeypatch):
    """The store as it is while a library writes under a name of its own, and a leftover of an earlier release."""
    killed, write = tmp_path / "killed", files.save_file

    def seen(tensors, path, meta):
        (path.parent / ".tmpA1b2C3").write_bytes(b"half")
        shutil.copytree(store.root, killed)
        write(tensors, path, meta)

    store = RunStore(shutil.copytree(trained, tmp_path / "runs"))
    (folder,) = upkeep.run_folders(store)
    before = {path.name for path in folder.rglob("*")}
    monkeypatch.setattr(files, "save_file", seen)
    files.write_tensors(folder / "model.safetensors", {"a": torch.ones(3)})
    assert {path.name for path in folder.rglob("*")} == before
    left = RunStore(killed)
    (left.folder(folder.name) / ".tmpZ9y8X7").write_bytes(b"half")
    assert len(upkeep.waste(left)) == 3, "our file, the folder of the library's, and the old one"
    again = RunStore(shutil.copytree(killed, tmp_path / "again"))
    upkeep.collect(left)
    again.begin(folder.name, TINY)
    for mended in (left, again):
        assert {path.name for path in mended.folder(folder.name).rglob("*")} <= before


def test_copied_records_are_a_store(store, tmp_path):
    a = put(store, beta=0.5, data_dir=str(tmp_path), metrics={"bound/loss": 2.0})
    b = put(store, "failed", seed=5)
    copy = RunStore(tmp_path / "kept")
    assert {record.run_id for record in upkeep.copy_records(store, copy)} == {a, b}
    assert (copy.is_done(a), copy.is_done(b)) == (True, False), "a failure is a result too"
    assert copy.record(a).metrics == {"bound/loss": 2.0}
    assert str(tmp_path) not in (copy.folder(a) / "record.json").read_text()
    assert upkeep.copy_records(store, copy) == [], "what has not changed is not written again"
    assert {problem.run_id for problem in upkeep.check(copy)} == {b}, "a record alone is no damage"


def test_a_store_that_is_not_there_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as status:
        main(["store", "check", "--store", str(tmp_path / "nowhere")])
    assert (status.value.code, "there is no store" in capsys.readouterr().err) == (2, True)
