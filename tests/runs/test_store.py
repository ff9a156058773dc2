"""The store and its files: never half-written, damage is named, locks die with their holder."""

import errno
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from polyvae import InputError, Record, RunConfig, RunError, RunStore, files, run

TOY = RunConfig(dataset="toy", modalities=2, train_size=80, test_size=20, epochs=1, latent_dim=2, metrics="none")


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("target", ["pathlib.Path.replace", "pathlib.Path.write_text"])
def test_a_full_disk_leaves_the_old_file_and_no_temporary(target, tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    files.write_json(path, {"old": 1})
    with monkeypatch.context() as patch:
        patch.setattr(target, full_disk)
        with pytest.raises(RunError, match=r"cannot write .*record\.json: No space left"):
            files.write_json(path, {"new": 2})
    assert files.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_real_limit_on_file_size_leaves_the_old_weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    files.write_tensors(path, {"a": torch.ones(3)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RunError, match=r"cannot write .*weights\.safetensors: .*File too large"):
            files.write_tensors(path, {"a": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.equal(files.read_tensors(path)[0]["a"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


def test_tied_weights_are_written_and_read_back(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1))
    model[1].weight = model[0].weight
    whole = torch.arange(6.0)
    views = {"first": whole[:2], "rest": whole[2:], "none": torch.zeros(0), "nothing": torch.zeros(0)}
    files.write_tensors(tmp_path / "weights.safetensors", model.state_dict() | views)
    tensors, _ = files.read_tensors(tmp_path / "weights.safetensors")
    assert all(torch.equal(tensors.pop(name), value) for name, value in views.items())
    other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1))
    other[1].weight = other[0].weight
    other.load_state_dict(tensors)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert other[1].weight is other[0].weight


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    files.write_tensors(path, {"a": torch.ones(3)}, {"step": 1})

    def interrupted():
        with files.atomic(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    tensors, meta = files.read_tensors(path)
    assert torch.equal(tensors["a"], torch.ones(3))
    assert meta == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b'{"a": 1', b"\xff\xfe"])
def test_damaged_json_is_named(damage, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(damage)
    with pytest.raises(InputError, match=r"x\.json is damaged"):
        files.read_json(path)


def fill(store: RunStore, run_id: str, status: str = "done") -> None:
    store.begin(run_id, RunConfig())
    store.finish(Record(run_id=run_id, config=RunConfig(), status=status))


def test_finished_means_a_record_and_done_means_its_status(tmp_path):
    store = RunStore(tmp_path)
    store.begin("started", RunConfig())
    fill(store, "good")
    fill(store, "bad", "failed")
    assert [store.is_done(name) for name in ("started", "good", "bad", "never")] == [False, True, False, False]
    assert [record.run_id for record in store.records()] == ["bad", "good"]
    assert json.loads((tmp_path / "started" / "config.json").read_text()) == RunConfig().to_dict()


def test_settings_newer_than_a_record_have_their_defaults(tmp_path):
    store = RunStore(tmp_path)
    fill(store, "old")
    path = tmp_path / "old" / "record.json"
    content = json.loads(path.read_text())
    del content["config"]["crop_range"], content["config"]["objective"]
    path.write_text(json.dumps(content))
    assert store.record("old").config == store.records()[0].config == RunConfig()


def test_what_a_killed_or_failed_try_left_behind_goes(tmp_path):
    store = RunStore(tmp_path)
    fill(store, "x", "failed")
    leftover = tmp_path / "x" / "checkpoint" / ".state.safetensors.123.tmp"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    store.begin("x", RunConfig())
    assert not leftover.exists()
    assert store.record("x") is None, "a run that is done again is not finished"


@pytest.mark.parametrize("content", ["[]", "{}", '{"run_id": "x", "config": {}}', "null"])
def test_a_record_that_lacks_something_is_damaged(content, tmp_path):
    store = RunStore(tmp_path)
    fill(store, "x")
    (tmp_path / "x" / "record.json").write_text(content)
    for read in (lambda: store.record("x"), store.records, lambda: store.is_done("x")):
        with pytest.raises(InputError, match=r"x/record\.json is damaged \(it lacks"):
            read()


def test_a_damaged_history_is_named(tmp_path):
    store = RunStore(tmp_path)
    (store.begin("x", RunConfig()) / "history.jsonl").write_text('{"epoch": 0}\n{"epo')
    with pytest.raises(InputError, match=r"history\.jsonl is damaged"):
        store.history("x")


def test_runs_are_found_by_id_prefix_and_path(tmp_path):
    store = RunStore(tmp_path)
    for name in ("toy-mopoe-1", "toy-mopoe-2", "toy-mvae-3"):
        fill(store, name)
    (tmp_path / "toy-mvae-3" / "config.json").unlink()  # a record alone is enough
    assert store.existing("toy-mv") == store.existing(str(tmp_path / "toy-mvae-3")) == tmp_path / "toy-mvae-3"
    with pytest.raises(InputError, match="toy-mopoe-1, toy-mopoe-2"):
        store.existing("toy-mopoe")
    with pytest.raises(InputError, match=r"no run 'toy-mvae-4'.*toy-mvae-3"):
        store.existing("toy-mvae-4")
    with pytest.raises(InputError, match="there are no runs; name their store by --store"):
        RunStore(tmp_path / "empty").existing("toy")


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    store = RunStore(tmp_path / "file" / "runs")
    with pytest.raises(InputError, match=r"store .*file/runs is not writable"):
        store.begin("x", RunConfig())
    with pytest.raises(InputError, match=r"cannot write to .*file/runs/\.locks"), store.lock("x", wait=False):
        pass


def test_a_lock_keeps_others_off_and_dies_with_its_holder(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom polyvae import files\n"
        "with files.lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    path = Path(tmp_path / "lock")
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with files.lock(path, wait=False) as held:
            assert not held
        holder.kill()
    with files.lock(path, wait=False) as held:
        assert held


@pytest.mark.parametrize("place", ["polyvae.runs.run.score", "polyvae.runs.store.RunStore.finish"])
def test_a_kill_after_training_costs_the_scoring_alone(place, tmp_path, monkeypatch):
    """The checkpoint stays until the record is there: the same command goes on with the scores."""
    config = RunConfig(
        dataset="toy", modalities=2, train_size=80, test_size=20, epochs=2, latent_dim=2, metrics="bound"
    )

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path)
    steps = []
    result = run(config, tmp_path, on_step=lambda done, total, loss: steps.append(done))
    assert steps == []
    assert result.metrics["bound/loss"] == run(config, tmp_path / "undisturbed").metrics["bound/loss"]
    assert not (result.folder / "checkpoint").exists()


def test_a_failed_run_says_where(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("polyvae.runs.run.save_model", full_disk)
        with pytest.raises(RunError, match=r"No space left.*traceback\.txt"):
            run(TOY, tmp_path)
    (trace,) = tmp_path.glob("*/traceback.txt")
    assert "in full_disk" in trace.read_text()
    run(TOY, tmp_path)
    assert not trace.exists(), "a new try begins without it"
