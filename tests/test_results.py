"""The records that are kept in docs/results: all can be read, and the claims can be judged by them."""

import json
from pathlib import Path

import pytest

from polyvae import RunConfig, RunStore
from polyvae.paper.claims import CLAIMS, judge

RESULTS = Path(__file__).parent.parent / "docs" / "results"
RECORDS, OF_METHODS = RESULTS / "records", RESULTS / "methods"


@pytest.fixture(scope="module")
def records():
    return RunStore(RECORDS).records()


def test_records_of_later_methods_can_be_read():
    records = RunStore(OF_METHODS).records()
    assert {record.run_id for record in records} == {path.name for path in OF_METHODS.iterdir()}
    assert all(record.is_done and record.config.data_dir is None for record in records)


def test_every_folder_holds_the_record_that_it_is_named_after(records):
    assert [record.run_id for record in records] == sorted(path.parent.name for path in RECORDS.glob("*/record.json"))
    for record in records:
        prefix, _, digest = record.run_id.rpartition("-")
        assert prefix == record.config.run_id().rpartition("-")[0], "dataset, method, beta and seed"
        assert len(digest) == 10


def test_every_run_is_done_or_says_why_not(records):
    assert len(records) > 100
    for record in records:
        assert record.is_done == (record.error is None)
        assert bool(record.metrics) == record.is_done
        assert record.total_seconds > 0
        assert record.config.data_dir is None, "the folder of one machine"


def test_what_is_read_is_written_as_it_was(records, tmp_path):
    """With the settings that are newer than a record at their defaults."""
    for record in records:
        record.write(tmp_path / "record.json")
        written, kept = (
            json.loads((folder / "record.json").read_text()) for folder in (tmp_path, RECORDS / record.run_id)
        )
        assert written == kept | {"config": RunConfig.from_dict(kept["config"]).to_dict()}


def test_the_claims_can_be_judged_by_them(records):
    verdicts = judge(records)
    assert [verdict.claim.name for verdict in verdicts] == [claim.name for claim in CLAIMS]
    assert {"holds", "not decided"} <= {verdict.outcome for verdict in verdicts}
