"""The table of records."""

import polars as pl
import pytest

from polyvae import InputError, RunStore
from polyvae.cli import main
from polyvae.paper.claims import AFTER, CLAIMS, LATER
from polyvae.runs import table as records
from support.stores import put
from support.sweeping import TINY


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


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


def test_an_overview_shows_how_well_tables_are_filled_in(store):
    own = {"imputation/a/b/rmse": 0.5, "imputation/a/b/coverage": 0.8, "imputation/b/a/rmse": 0.6}
    put(store, metrics=own | {"imputation/a/b/nll": 1.0, "imputation/ridge/b/rmse": 0.4})
    shown = records.overview(records.table(store.records())).columns
    assert set(own) == {name for name in shown if name.startswith("imputation/")}


def test_a_metric_takes_no_other_column(store):
    taken = dict.fromkeys(("run_id", "beta", "seconds", "status", "error"), 7.5)
    run_id = put(store, metrics=taken)
    (row,) = records.table(store.records()).to_dicts()
    assert [row[name] for name in taken] == [run_id, 1.0, 4.5, "done", None]
    assert {name: row[f"metrics/{name}"] for name in taken} == taken


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
    unread = "<br>PolyMNIST: probe of MVAE, MMVAE, MoPoE: no run of this kind"
    assert rows["C7"] == ["4a", CLAIMS[6].statement, measured + unread, "", "not decided"]
    capsys.readouterr()
    main(["claims", "--store", str(store.root)])
    assert {"C1", "C18"} <= set(capsys.readouterr().out.split())
    main(["claims", "--store", str(store.root), str(store.root), "--out", str(tmp_path / "again.md")])
    assert (tmp_path / "again.md").read_text() == "\n".join(lines) + "\n", "a run counts once, in however many stores"
    put(store, method=LATER, dataset="translated_polymnist", metrics={"coherence/leave_one_out": 0.7})
    main(["claims", "--store", str(store.root), "--out", str(tmp_path / "claims.md")])
    _, second = (
        (tmp_path / "claims.md").read_text().split("\n\n## After the paper: the same, asked of aligned flows\n\n")
    )
    assert [line.split("|")[1].strip() for line in second.splitlines()[2:]] == [claim.name for claim in AFTER]
