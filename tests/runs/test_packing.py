"""A store as one file, taken to another machine."""

import hashlib
import json
import tarfile

import pytest

from polyvae import InputError, RunConfig, RunStore
from polyvae.cli import main
from polyvae.runs import packing, upkeep
from polyvae.runs.finished import plan_of
from polyvae.runs.plan import make_plan
from polyvae.runs.run import run_one, steps_of
from polyvae.runs.saving import load
from support.sweeping import TINY, identity

DONE, HALF = TINY.with_(data_dir="/somewhere"), TINY.with_(seed=1)


@pytest.fixture
def store(tmp_path):
    """A finished run, and one that was stopped after six steps."""
    store = RunStore(tmp_path / "here")
    run_one(make_plan(DONE), store)
    advance(HALF, store, 6)
    return store


def advance(config: RunConfig, store: RunStore, count: int) -> str:
    plan = make_plan(config)
    steps = steps_of(plan, store)
    for _ in range(count):
        next(steps)
    steps.close()
    return plan.run_id


def test_what_is_unpacked_elsewhere_goes_on_there(store, tmp_path):
    pack, there = tmp_path / "store.tar", RunStore(tmp_path / "there")
    assert packing.pack(store, pack) == 2
    assert packing.unpack(pack, there) == (2, 0)
    record = there.record(make_plan(DONE).run_id)
    assert record is not None
    assert record.is_done
    assert record.config.data_dir is None
    assert [found.problem for found in upkeep.check(there)] == ["half done, after epoch 1"]
    for use in (load, plan_of):
        with pytest.raises(InputError, match="only the record of run"):
            use(there.folder(record.run_id))
    seen = []
    run_one(make_plan(HALF), there, on_step=lambda step, total, loss: seen.append(step))
    assert seen[0] == 7
    whole = RunStore(tmp_path / "whole")
    run_one(make_plan(HALF), whole)
    half = make_plan(HALF).run_id
    assert identity(whole)[half][2:] == (there.record(half).metrics, *identity(whole)[half][3:])
    assert not list(there.root.glob(".unpack*"))


def test_weights_come_along_if_asked_for(store, tmp_path):
    packing.pack(store, tmp_path / "light.tar")
    packing.pack(store, tmp_path / "whole.tar", weights=True)
    packing.unpack(tmp_path / "whole.tar", RunStore(tmp_path / "there"))
    name = f"{make_plan(DONE).run_id}/model.safetensors"
    assert (tmp_path / "there" / name).read_bytes() == (store.root / name).read_bytes()
    with tarfile.open(tmp_path / "light.tar") as light:
        assert name not in light.getnames()


def test_a_run_that_goes_on_while_it_is_packed_is_packed_as_it_was(store, tmp_path, monkeypatch):
    """Its files are hashed, then copied: a checkpoint that changes in between would make a damaged pack."""
    half, write = make_plan(HALF).run_id, packing.write
    before = (store.folder(half) / "checkpoint" / "state.safetensors").read_bytes()

    def interrupted(path, kept):
        advance(HALF, store, 6)
        write(path, kept)

    monkeypatch.setattr(packing, "write", interrupted)
    assert packing.pack(store, tmp_path / "store.tar") == 2
    there = RunStore(tmp_path / "there")
    assert packing.unpack(tmp_path / "store.tar", there) == (2, 0)
    assert (there.folder(half) / "checkpoint" / "state.safetensors").read_bytes() == before
    assert (store.folder(half) / "checkpoint" / "state.safetensors").read_bytes() != before


def test_the_same_store_makes_the_same_pack(store, tmp_path):
    for name in ("a.tar", "b.tar"):
        packing.pack(store, tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_the_run_that_got_further_stays(store, tmp_path):
    packing.pack(store, tmp_path / "old.tar")
    advance(HALF, store, 6)  # a further six steps: two epochs more
    before = store.history(make_plan(HALF).run_id)
    assert packing.unpack(tmp_path / "old.tar", store) == (0, 2)
    assert store.history(make_plan(HALF).run_id) == before
    later = RunStore(tmp_path / "later")
    packing.unpack(tmp_path / "old.tar", later)
    packing.pack(store, tmp_path / "new.tar")
    assert packing.unpack(tmp_path / "new.tar", later) == (1, 1)
    assert later.history(make_plan(HALF).run_id) == before


def tampered(pack, out, change):
    """A copy of a pack, with `change` made to (name, bytes) of every file; None leaves it out."""
    with tarfile.open(pack) as old, tarfile.open(out, "w") as new:
        for member in old:
            changed = change(member.name, old.extractfile(member).read())
            if changed is not None:
                name, content = changed
                info = tarfile.TarInfo(name)
                info.size = len(content)
                packed = out.parent / "member"
                packed.write_bytes(content)
                with packed.open("rb") as file:
                    new.addfile(info, file)
    return out


def newer(name, content):
    return name, json.dumps(json.loads(content) | {"format": 2}).encode() if name == packing.MANIFEST else content


def outside(name, content):
    if name == packing.MANIFEST:
        listed = json.loads(content)
        listed["files"] |= {"../../out": listed["files"].popitem()[1]}
        return name, json.dumps(listed).encode()
    return ("../../out" if name.endswith("record.json") else name), content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (newer, "of format 2, from a newer polyvae; update"),
        (outside, "is not a file of a run"),
        (lambda name, content: (name, content.replace(b"done", b"gone")), "is not what was packed"),
        (lambda name, content: None if name.endswith("record.json") else (name, content), "is missing"),
        (lambda name, content: (name + ("x" if name.endswith("config.json") else ""), content), "its list of files"),
        (lambda name, content: None if name == packing.MANIFEST else (name, content), "is not a packed store"),
    ],
)
def test_a_pack_that_is_not_sound_adds_nothing(change, message, store, tmp_path):
    packing.pack(store, tmp_path / "store.tar")
    bad, there = tampered(tmp_path / "store.tar", tmp_path / "bad.tar", change), RunStore(tmp_path / "there")
    with pytest.raises(InputError, match=message):
        packing.unpack(bad, there)
    assert list(there.root.iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_a_pack_with_a_record_that_cannot_be_read_adds_nothing(store, tmp_path):
    """As somebody would make it on purpose: the sums are right, the last record is none."""
    packing.pack(store, tmp_path / "store.tar")
    name = f"{make_plan(DONE).run_id}/record.json"

    def changed(of, content):
        if of == packing.MANIFEST:
            listed = json.loads(content)
            listed["files"][name] = hashlib.sha256(b"{}").hexdigest()
            return of, json.dumps(listed).encode()
        return of, b"{}" if of == name else content

    bad, there = tampered(tmp_path / "store.tar", tmp_path / "bad.tar", changed), RunStore(tmp_path / "there")
    with pytest.raises(InputError, match="lacks 'run_id'"):
        packing.unpack(bad, there)
    assert there.records() == []
    assert not list(there.root.glob("toy-*"))


def test_a_file_with_holes_is_no_file_of_a_run(store, tmp_path):
    """Of 64 TiB, in a pack of some kilobytes."""
    packing.pack(store, tmp_path / "store.tar")
    with tarfile.open(tmp_path / "store.tar") as old, tarfile.open(tmp_path / "bad.tar", "w") as new:
        for member in old:
            content = old.extractfile(member)
            if member.name.endswith("record.json"):
                member.type, member.size = tarfile.GNUTYPE_SPARSE, 0
                header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
                header[483:495] = tarfile.itn(2**46, 12, tarfile.GNU_FORMAT)  # its size with all holes
                header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]
                new.fileobj.write(header)
                new.offset += len(header)
            else:
                new.addfile(member, content)
    with pytest.raises(InputError, match="is not a file of a run"):
        packing.unpack(tmp_path / "bad.tar", RunStore(tmp_path / "there"))


def test_a_damaged_run_is_left_out_of_a_pack(store, tmp_path):
    (store.folder(make_plan(DONE).run_id) / "record.json").write_text("{}")
    told = []
    assert packing.pack(store, tmp_path / "store.tar", on_damage=told.append) == 1
    assert "record.json is damaged" in str(told)
    with pytest.raises(InputError, match=r"record\.json is damaged"):
        packing.pack(store, tmp_path / "store.tar")


@pytest.mark.parametrize("content", [b"", b"not a tar file at all" * 100])
def test_what_is_no_archive_is_named(content, tmp_path):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.tar is (damaged|not a packed store)"):
        packing.unpack(tmp_path / "x.tar", RunStore(tmp_path / "there"))


def test_the_commands(store, tmp_path, capsys):
    pack = tmp_path / "store.tar"
    main(["store", "pack", str(pack), "--store", str(store.root)])
    main(["store", "unpack", str(pack), "--store", str(tmp_path / "there")])
    assert "2 runs packed" in (said := capsys.readouterr().out)
    assert "2 runs added" in said
    with pytest.raises(SystemExit):
        main(["store", "pack", "--store", str(store.root)])
    assert "polyvae store pack FILE.tar" in capsys.readouterr().err
    for words in (["unpack", str(pack), "--weights"], ["check", "--out", "x"], ["copy", "--dry-run", "--out", "x"]):
        with pytest.raises(SystemExit):
            main(["store", *words, "--store", str(store.root)])
        assert f"leave it out of store {words[0]}" in capsys.readouterr().err
