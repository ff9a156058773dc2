"""The typed record: what is written is read back, old records stay readable, wrong ones are named."""

import json
from pathlib import Path

import pytest

from polyvae import InputError, Record, RunConfig
from polyvae.runs.record import NAMES, Resolved

RECORDS = sorted((Path(__file__).parents[2] / "docs/results/records").glob("*/record.json"))
CONFIG = RunConfig(method="mvae", beta=3, modalities=2)
DONE = Record(
    run_id=CONFIG.run_id(),
    config=CONFIG,
    status="done",
    metrics={"bound/loss": 12.25, "log_likelihood/samples": 12},
    notes={"coherence": "none of m0, m1 is an image"},
    seconds={"data": 0.5, "train": 2.0, "evaluate": 1.5},
    environment={"threads": 1, "versions": {"python": "3.12.0"}},
    resolved=Resolved(modalities=("m0", "m1"), is_bound=True, objective="elbo", metrics=("bound",)),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "record.json"


def write_changed(path, without=(), **changes):
    """The file of DONE, with some of its values replaced or taken out."""
    DONE.write(path)
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if name not in without}))


@pytest.mark.parametrize("record", [DONE, Record.failed("x", CONFIG, "RunError: loss is not finite", seconds={})])
def test_what_is_written_is_read_back(record, path):
    record.write(path)
    assert Record.read(path) == record
    before = path.read_bytes()
    Record.read(path).write(path)
    assert path.read_bytes() == before


def test_the_file_has_the_published_keys(path):
    DONE.write(path)
    content = json.loads(path.read_text())
    assert (
        list(content)
        == list(NAMES)
        == ["run_id", "config", "status", "error", "metrics", "notes", "seconds", "environment", "resolved"]
    )
    assert content["config"] == CONFIG.to_dict()
    known = {"modalities": ["m0", "m1"], "objective": "elbo", "samples": None, "is_bound": True, "metrics": ["bound"]}
    assert list(content["resolved"].items()) == list(known.items()), "what is known, and None where it says something"


def test_a_run_is_done_or_says_why_not():
    failed = Record.failed("x", CONFIG, "killed")
    assert (DONE.is_done, DONE.error, DONE.total_seconds) == (True, None, 4.0)
    assert (failed.is_done, failed.error, failed.total_seconds, failed.metrics) == (False, "killed", 0, {})


def test_old_records_are_readable(path):
    config = {name: value for name, value in CONFIG.to_dict().items() if name not in ("crop_range", "objective")}
    write_changed(path, without=("environment", "resolved"), config=config)
    found = Record.read(path)
    assert found.config == CONFIG, "settings that are newer than a record have their defaults"
    assert (found.environment, found.resolved) == ({}, Resolved())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"config": CONFIG.to_dict() | {"betta": 1}}, "unknown configuration key 'betta'"),
        ({"config": CONFIG.to_dict() | {"beta": -1}}, "beta is -1"),
        ({"config": []}, r"is damaged \(its config is not an object"),
        ({"status": "half"}, r"is damaged \(its status is 'half'"),
        ({"notes": "none"}, r"is damaged \(its notes is not an object"),
        ({"metrics": {"bound/loss": "high"}}, r"is damaged \(metrics 'bound/loss' is 'high', not a number"),
        ({"without": ["run_id"]}, r"is damaged \(it lacks 'run_id'"),
    ],
)
def test_a_wrong_record_is_named(changes, problem, path):
    write_changed(path, **changes)
    with pytest.raises(InputError, match=rf"record\.json.*{problem}"):
        Record.read(path)


@pytest.mark.parametrize("published", RECORDS, ids=lambda path: path.parent.name)
def test_published_records_are_rewritten_as_they_are(published, path):
    Record.read(published).write(path)
    before, after = (json.loads(file.read_text()) for file in (published, path))
    assert after.pop("config") == RunConfig.from_dict(before.pop("config")).to_dict()
    assert after == before


def test_facts_of_a_later_version_are_kept(path):
    write_changed(path, resolved={"modalities": ["m0"], "weather": "fine"})
    Record.read(path).write(path)
    assert json.loads(path.read_text())["resolved"] == {"modalities": ["m0"], "weather": "fine"}


def test_a_later_scoring_adds_to_what_looked():
    first = Resolved(
        data="x", metrics=("bound",), importance_samples={"a": 12}, extractors={"e": "1"}, judge={"sha256": "j"}
    )
    later = Resolved(metrics=("kid", "bound"), importance_samples={"a": 20, "b": 1}, extractors={"f": "2"}, critic="c")
    assert first.with_scoring(later) == Resolved(
        data="x",
        metrics=("bound", "kid"),
        importance_samples={"a": 20, "b": 1},
        extractors={"e": "1", "f": "2"},
        judge={"sha256": "j"},
        critic="c",
    )
