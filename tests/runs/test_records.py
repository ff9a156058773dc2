"""The table of records, and the care of a store."""

import re
import shutil

import polars as pl
import pytest
import torch

from polyvae import InputError, RunConfig, RunStore, files, run
from polyvae.cli import main
from polyvae.paper.claims import CLAIMS
from polyvae.runs import table as records
from polyvae.runs import upkeep
from polyvae.runs.record import Record

TINY = RunConfig(
    dataset="toy", modalities=2, train_size=64, test_size=20, batch_size=16, epochs=2, latent_dim=3, metrics="bound"
)  # fmt: skip


def put(store, status="done", metrics=None, **changes):
    config = RunConfig(**changes)
    record = Record(
        run_id=config.run_id(),
        config=config,
        status=status,
        error=None if status == "done" else "loss is not finite",
        metrics=metrics or {},
        seconds={"train": 3.0, "evaluate": 1.5},
    )
    store.finish(record)
    return record.run_id


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shared_cache):
    place = tmp_path_factory.mktemp("trained")
    run(TINY, place)
    return place


def test_the_table_holds_every_setting_and_metric(store):
    a = put(store, beta=0.5, metrics={"bound/loss": 2.0})
    b = put(store, beta=1, method="mvae", metrics={"coherence/joint": 0.25}, latent_dim=7, patience=3)
    bad = put(store, "failed", seed=3)
    frame = records.table(store.records())
    rows = {row["run_id"]: row for row in frame.to_dicts()}
    assert set(rows) == {a, b, bad}
    for run_id, row in rows.items():
        settings = store.record(run_id).config.to_dict()
        assert {name: row[name] for name in settings} == settings
        assert row["seconds"] == 4.5
    assert (rows[a]["bound/loss"], rows[a]["coherence/joint"]) == (2.0, None)
    assert (rows[b]["coherence/joint"], rows[b]["patience"]) == (0.25, 3)
    assert (rows[bad]["status"], rows[bad]["error"]) == ("failed", "loss is not finite")
    empty = records.table([])
    assert empty.schema == frame.select(empty.columns).schema, "an empty store has the same settings"


def test_conditions_choose_rows(store):
    for beta in (0.1, 1, 3):
        for method in ("mvae", "mopoe"):
            put(store, beta=beta, method=method, metrics={"coherence/leave_one_out": beta / 10})
    frame = records.table(store.records())
    expected = {r.run_id for r in store.records() if r.config.method == "mopoe" and r.config.beta <= 1}
    assert set(records.where(frame, "method = 'mopoe' AND beta <= 1")["run_id"]) == expected
    assert len(records.where(frame, '"coherence/leave_one_out" > .05')) == 4
    assert records.columns(frame, ["beta", "coherence/*"]).columns == ["beta", "coherence/leave_one_out"]
    for nonsense in ("no_such = 1", "method ==== 2", "beta"):
        with pytest.raises(InputError, match="write SQL such as"):
            records.where(frame, nonsense)
    with pytest.raises(InputError, match="no such column"):
        records.columns(frame, ["coherence/nothing"])


def test_conditions_choose_runs_before_they_are_done(capsys, store):
    configs = [TINY.with_(method=method, beta=beta) for method in ("mvae", "mopoe") for beta in (0.1, 1, 3)]
    chosen = records.configs_where(configs, "method = 'mopoe' AND beta <= 1")
    assert chosen == configs[3:5]
    with pytest.raises(InputError, match="none of the 6 runs"):
        records.configs_where(configs, "seed = 7")
    main(["sweep", "quick", "--where", "method = 'mvae'", "--store", str(store.root), "--dry-run"])
    assert "1 runs, 1 to do" in capsys.readouterr().out


def test_files_hold_the_table(store, tmp_path, capsys):
    put(store, beta=0.5, metrics={"bound/loss": 2.0})
    put(store, beta=2.5, metrics={"bound/loss": 3.5})
    for name, read in (("results.parquet", pl.read_parquet), ("results.csv", pl.read_csv)):
        main(["records", "--store", str(store.root), "--where", "beta > 1", "--out", str(tmp_path / name)])
        assert "1 runs" in capsys.readouterr().out
        assert read(tmp_path / name).select("beta", "bound/loss").rows() == [(2.5, 3.5)]
    main(["records", "--store", str(store.root)])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("run_id", "beta", "bound/loss", "3.5"))
    assert "learning_rate" not in shown, "what does not differ is left out"
    with pytest.raises(SystemExit) as status:
        main(["records", "--store", str(store.root), "--out", str(tmp_path / "results.xlsx")])
    assert (status.value.code, "name a .parquet or .csv file" in capsys.readouterr().err) == (2, True)


def test_the_claims_are_a_table_to_read_and_to_keep(store, tmp_path, capsys):
    with pytest.raises(SystemExit) as status:
        main(["claims", "--store", str(store.root)])
    assert (status.value.code, "no finished run" in capsys.readouterr().err) == (2, True)
    for method, coherence in {"mvae": 0.2, "mopoe": 0.7}.items():
        for seed in range(3):
            put(store, method=method, seed=seed, metrics={"coherence/leave_one_out": coherence + seed / 1000})
    main(["claims", "--store", str(store.root), "--out", str(tmp_path / "claims.md")])
    lines = (tmp_path / "claims.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:]}
    assert list(rows) == [claim.name for claim in CLAIMS]
    measured = "coherence MMVAE - MVAE: no run of this kind<br>coherence MoPoE - MVAE 0.5, 95 % [0.5, 0.5], 3 seeds"
    assert rows["C7"] == ["4a", CLAIMS[6].statement, measured, "", "not decided"]
    capsys.readouterr()
    main(["claims", "--store", str(store.root)])
    assert {"C1", "C18"} <= set(capsys.readouterr().out.split())


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
    assert found.run_id in {folder.name, "renamed"}
    with pytest.raises(SystemExit) as status:
        main(["store", "check", "--store", str(store.root)])
    assert status.value.code == 1

    assert re.search(message, capsys.readouterr().err)


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
