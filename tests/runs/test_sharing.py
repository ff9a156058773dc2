"""A finished run for others: what is in the archive and on the hub, and what is taken from there."""

import inspect
import json
import shutil
import sys
import tarfile
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import polyvae as pv
from polyvae import InputError, RunConfig, RunError, RunStore
from polyvae.cli import main
from polyvae.runs import packing, sharing, upkeep


class Hub:
    """The calls of the hub's client that are used, on a local folder in place of the service."""

    def __init__(self, root: Path) -> None:
        self.root, self.private = root, {}

    def HfApi(self, library_name):
        return self

    def create_repo(self, repo_id, *, private, exist_ok):
        (self.root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        self.private.setdefault(repo_id, private)
        return f"https://hub.invalid/{repo_id}"

    def upload_folder(self, *, repo_id, folder_path, commit_message, delete_patterns):
        place = self.root / repo_id
        for path in filter(Path.is_file, [*place.rglob("*")]):
            if any(fnmatch(str(path.relative_to(place)), pattern) for pattern in delete_patterns):
                path.unlink()
        shutil.copytree(folder_path, place, dirs_exist_ok=True)

    def snapshot_download(self, repo_id, *, revision, local_dir, allow_patterns):
        place = self.root / repo_id
        if not place.is_dir():
            raise OSError(f"404: no repository {repo_id}")
        for path in filter(Path.is_file, place.rglob("*")):
            name = str(path.relative_to(place))
            if any(fnmatch(name, pattern) for pattern in allow_patterns):
                (Path(local_dir) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, Path(local_dir) / name)
        (Path(local_dir) / ".cache").mkdir()
        (Path(local_dir) / ".cache" / "README.md").write_text("the client's own")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path / "hub")
    monkeypatch.setitem(
        sys.modules, "huggingface_hub", SimpleNamespace(HfApi=hub.HfApi, snapshot_download=hub.snapshot_download)
    )
    return hub


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run on pictures and a table of the user's own, in a file."""
    place = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    images, table = rng.integers(0, 255, (40, 1, 8, 8), np.uint8), rng.standard_normal((40, 3))
    np.savez(place / "mine.npz", pictures=images, table=table)
    settings = {"epochs": 2, "latent_dim": 2, "batch_size": 16, "network": "mlp", "metrics": "bound"}
    config = RunConfig(dataset="arrays", data=str(place / "mine.npz"), **settings)
    return pv.run(config, place / "runs").folder


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))


def same_weights(one: Path, other: Path) -> bool:
    first, second = pv.load(one).state_dict(), pv.load(other).state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_an_archive_holds_all_of_a_run_and_unpacks_into_a_store(folder, tmp_path, capsys):
    main(["pack", folder.name[:12], "--store", str(folder.parent), "--out", str(tmp_path / "run.tar")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "run.tar")
    main(["store", "unpack", str(tmp_path / "run.tar"), "--store", str(tmp_path / "there")])
    there = RunStore(tmp_path / "there")
    assert upkeep.check(there) == []
    assert same_weights(folder, there.folder(folder.name))
    with tarfile.open(tmp_path / "run.tar") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()} - {""}
    assert {"README.md", "model.json", "model.safetensors", "model_best.safetensors", "record.json"} < names
    assert {name.partition(".")[2] for name in names} == {"md", "json", "jsonl", "safetensors", "png"}


def test_no_path_of_this_machine_and_no_cell_leaves_it(folder, tmp_path):
    for content in sharing.shared(folder, "unknown").values():
        raw = content if isinstance(content, bytes) else content.read_bytes()
        assert str(tmp_path.parent).encode() not in raw
        assert str(Path.home()).encode() + b"/" not in raw
    assert (folder / "views.json").exists()
    assert "views.json" not in sharing.shared(folder, "unknown")
    record = json.loads(sharing.shared(folder, "unknown")["record.json"])
    assert record["config"]["data"] == "mine.npz"


def test_the_card_has_metadata_that_hubs_read_and_says_what_was_trained_on_what(folder):
    card = sharing.shared(folder, "cc-by-4.0")["README.md"].decode()
    _, front, body = card.split("---\n", 2)
    metadata, record = yaml.safe_load(front), pv.Record.read(folder / "record.json")
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["library_name"] == "polyvae"
    assert "mopoe" in metadata["tags"]
    (index,) = metadata["model-index"]
    assert {m["type"]: m["value"] for m in index["results"][0]["metrics"]} == record.metrics
    assert index["results"][0]["dataset"]["name"] == "arrays"
    rows = f"| training rows | {record.resolved.train_rows} |"
    for line in (rows, "| pictures | 1 x 8 x 8 | laplace |", "| table | 3 | normal |"):
        assert line in body
    assert "![samples/unconditional.png](samples/unconditional.png)" in body
    code = body.split("```python\n")[1].split("```")[0].replace(record.run_id, str(folder))
    exec(code, {})


def test_the_card_is_what_the_hub_itself_takes(folder):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(sharing.shared(folder, "apache-2.0")["README.md"].decode())
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == pv.Record.read(folder / "record.json").metrics


def test_the_hubs_client_takes_these_calls(folder, hub, monkeypatch, tmp_path):
    monkeypatch.undo()
    real = pytest.importorskip("huggingface_hub")
    for name in ("create_repo", "upload_folder"):
        used = inspect.signature(getattr(Hub, name)).parameters
        assert set(used) <= set(inspect.signature(getattr(real.HfApi, name)).parameters)
    used = set(inspect.signature(Hub.snapshot_download).parameters) - {"self"}
    assert used <= set(inspect.signature(real.snapshot_download).parameters)


def test_what_is_pushed_is_pulled_elsewhere(folder, hub, tmp_path, capsys):
    main(["push", folder.name, "me/cells", "--store", str(folder.parent), "--license", "mit"])
    assert capsys.readouterr().out.strip() == "https://hub.invalid/me/cells"
    assert hub.private == {"me/cells": True}
    assert 'license: "mit"' in (hub.root / "me/cells/README.md").read_text()
    there = RunStore(tmp_path / "there")
    for expected in (True, False):
        assert sharing.pull("me/cells", there) == (folder.name, expected)
    assert upkeep.check(there) == []
    assert same_weights(folder, there.folder(folder.name))
    assert [path.name for path in there.root.iterdir() if path.name != ".locks"] == [folder.name]
    main(["pull", "me/cells", "--store", str(there.root)])
    assert "already" in capsys.readouterr().out


def test_a_later_push_replaces_what_it_lacks_and_leaves_what_is_no_file_of_a_run(folder, hub):
    sharing.push(folder, "me/cells", public=True)
    (hub.root / "me/cells/notes.txt").write_text("mine")
    (folder / "model_best.safetensors").unlink()
    record = json.loads((folder / "record.json").read_text())
    del record["resolved"]["sha256"]["model_best.safetensors"]
    (folder / "record.json").write_text(json.dumps(record))
    sharing.push(folder, "me/cells")
    assert not (hub.root / "me/cells/model_best.safetensors").exists()
    assert (hub.root / "me/cells/notes.txt").exists()
    assert hub.private == {"me/cells": False}


def other_weights(place: Path) -> None:
    path = place / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def other_id(place: Path) -> None:
    record = json.loads((place / "record.json").read_text())
    (place / "record.json").write_text(json.dumps(record | {"run_id": "../out"}))


def id_of_another_run(place: Path) -> None:
    record = json.loads((place / "record.json").read_text())
    (place / "record.json").write_text(json.dumps(record | {"run_id": "polymnist-mvae-b1-s0-0123456789"}))


def failed(place: Path) -> None:
    record = json.loads((place / "record.json").read_text())
    (place / "record.json").write_text(json.dumps(record | {"status": "failed"}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (other_weights, "checksum is not the recorded one"),
        (other_id, "the name of a folder"),
        (id_of_another_run, "calls itself polymnist-mvae-b1-s0-0123456789, which is not what its config says"),
        (failed, "failed or is not finished"),
        (lambda place: (place / "model.safetensors").unlink(), "no file"),
        (lambda place: (place / "record.json").unlink(), "no file"),
    ],
)
def test_what_is_damaged_on_the_hub_is_not_added(folder, hub, tmp_path, harm, said):
    sharing.push(folder, "me/cells")
    harm(hub.root / "me/cells")
    there = RunStore(tmp_path / "there")
    with pytest.raises(InputError, match=said):
        sharing.pull("me/cells", there)
    assert [path for path in there.root.iterdir() if path.name != ".locks"] == []
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_shared_says_why(folder, hub, tmp_path, monkeypatch):
    for name in ("me", "../me/cells", "me/cells/more", "me/.."):
        with pytest.raises(InputError, match="OWNER/NAME"):
            sharing.pull(name, RunStore(tmp_path / "there"))
    with pytest.raises(RunError, match="OSError: 404: no repository"):
        sharing.pull("me/nothing", RunStore(tmp_path / "there"))
    other_weights(folder)
    with pytest.raises(InputError, match="checksum"):
        sharing.pack(folder, tmp_path / "run.tar")
    failed(folder)
    with pytest.raises(InputError, match="not finished"):
        sharing.pack(folder, tmp_path / "run.tar")
    assert not (tmp_path / "run.tar").exists()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'polyvae\[hub\]'"):
        sharing.pull("me/cells", RunStore(tmp_path / "there"))


def test_a_pack_of_the_store_keeps_its_own_form(folder, tmp_path):
    """`store pack` makes no cards, and keeps the name of the data, from which a run goes on."""
    packing.pack(RunStore(folder.parent), tmp_path / "store.tar")
    packing.unpack(tmp_path / "store.tar", there := RunStore(tmp_path / "there"))
    assert not list(there.root.rglob("README.md"))
    assert there.record(folder.name) == RunStore(folder.parent).record(folder.name)
