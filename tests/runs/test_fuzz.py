"""Files of a store changed at random: each command ends well, or with a line that names what is wrong, and in time."""

import copy
import json
import os
import random
import shutil
import signal
from contextlib import contextmanager

import numpy as np
import pytest

import polyvae as pv
from polyvae import RunConfig, RunStore
from polyvae.cli import main
from polyvae.runs import upkeep
from polyvae.runs.finished import fit_prior

SECONDS = 60  # a command on a tiny run takes one
VALUES = [None, True, 0, -1, 1.5, 10**12, 1e300, "", "x", "../../x", "\x1b[31m[/x]\n<b>", [], {}, [None], {"a": None}]
VALUES += ["é" * 300, "/x", [[1]], "NaN"]
ABSENT = object()
TEXTS = [b"", b"\0" * 99, b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"\xe9", b"null", b"[]", b"3", b'{"a": 1, "a": 1}']
TEXTS += [b"[" * 100_000, b'{"a":' * 99 + b"1" + b"}" * 99, b"9" * 9000, b'{"a": NaN}', b'{"a": 1e999}', b"{} {}"]
PLACES = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}
FILES = ("config.json", "record.json", "model.json", "history.jsonl", "priors/gmm.json")
TENSORS = ("model.safetensors", "priors/gmm.safetensors")
FLAGS = {"network": "mlp", "batch_size": 16, "latent_dim": 2, "epochs": 1, "metrics": "bound", "threads": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data of every kind, a run on them with a fitted prior, and another run."""
    root = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 60)
    table = rng.standard_normal((60, 3)) + kind[:, None]
    table[3, 1] = np.nan
    text = np.array(["a red bird", "a blue bird", "one small bird"])[kind]
    np.savez(root / "d.npz", photo=rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), table=table, text=text, kind=kind)
    run = pv.run(RunConfig(dataset="arrays", data=str(root / "d.npz"), **FLAGS), root / "runs")
    toy = {"modalities": 2, "train_size": 60, "test_size": 20}
    pv.run(RunConfig(dataset="toy", **toy, **FLAGS), root / "runs")
    fit_prior(run.run_id, RunStore(root / "runs"), "gmm", components=2, seed=0)
    return root, run.run_id


def commands(root, run_id, out):
    """Those that take a fraction of a second, and the others; `out` receives all that they write."""
    store = ["--store", str(root / "deep" / "runs")]
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in FLAGS.items()]
    data, runs = str(root / "d.npz"), [path.name for path in upkeep.run_folders(RunStore(store[1]))]
    quick = [
        ["store", "check", *store],
        ["records", *store, "--out", f"{out}/table.csv"],
        ["generate", run_id, *store, "--count", "2", "--out", f"{out}/generated.npz"],
    ]
    return quick, [
        ["records", *store],
        ["store", "gc", "--dry-run", *store],
        ["store", "copy", *store, "--out", f"{out}/copy"],
        ["claims", *store, "--out", f"{out}/claims.md"],
        ["compare", *runs, *store, "--out", f"{out}/compare.png"],
        ["generate", run_id, *store, "--count", "2", "--prior", "gmm", "--out", f"{out}/by_prior.npz"],
        ["generate", run_id, *store, "--given", "table", "--count", "2", "--out", f"{out}/given.npz"],
        ["impute", run_id, *store, "--data", data, "--draws", "2", "--out", f"{out}/imputed.npz"],
        ["report", *store, "--out", f"{out}/report"],
        ["evaluate", run_id, *store, "--metrics", "bound", "--prior", "gmm"],
        ["evaluate", run_id, *store, "--metrics", "latent"],
        ["fit-prior", run_id, *store, "--components", "2"],
        ["theory", "audit", run_id, *store],
        ["theory", "floors", *store],
        ["run", "--dataset", "arrays", "--data", data, *store, *flags],
        ["store", "gc", *store],
    ]


def places(value, keys=()):
    """The keys that lead to every value of JSON content, of lists to the first two."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*keys, key)
        yield from places(item, (*keys, key))


def changed(path, rng):
    """(keys, old value, new value, text): a file, of lines the first, with one value replaced or taken away."""
    text = path.read_text()
    line, _, rest = text.partition("\n") if path.suffix == ".jsonl" else (text, "", "")
    content = json.loads(line)
    keys, value = rng.choice(list(places(content))), rng.choice([*VALUES, ABSENT])
    place = content
    for key in keys[:-1]:
        place = place[key]
    old = copy.deepcopy(place[keys[-1]])
    if value is ABSENT:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return keys, old, value, f"{json.dumps(content)}\n{rest}"


def damage(folder, rng):
    """Does one thing to one file of a run; returns what, and whether `store check` has to find it."""
    name, kind = rng.choice(FILES), rng.choice(["value", "value", "value", "text", "bytes", "place"])
    if kind == "value":
        path = folder / name
        keys, old, value, text = changed(path, rng)
        path.write_text(text)
        config = name == "config.json" and value is not ABSENT and (type(value), value) != (type(old), old)
        wrong_type = isinstance(value, list | dict) and not isinstance(old, list | dict)
        known = "versions" not in keys and "likelihoods" not in keys
        return f"{name} {keys} = {value!r}", config or name == "model.json" or (wrong_type and known)
    if kind == "text":
        text = rng.choice(TEXTS)
        (folder / name).write_bytes(text)
        return f"{name} is {text[:20]!r}", True
    name = rng.choice((*FILES, *TENSORS))
    path, what = folder / name, "bytes"
    content = path.read_bytes()
    if kind == "place":
        what = rng.choice(list(PLACES))
        path.unlink()
        PLACES[what](path)
        return f"{name} is {what}", True
    end = rng.randrange(len(content) - 1)
    path.write_bytes(content[:end] + rng.choice([b"", b"\xff" * 20]))
    return f"{name} is cut at {end}", True


@contextmanager
def in_time():
    def on_alarm(number, frame):
        raise AssertionError(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(arguments, capsys):
    """The exit status of a command; whatever else it raises is a traceback for its user."""
    status = 0
    with in_time():
        try:
            main(arguments)
        except SystemExit as exit:
            status = exit.code
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert status in (0, 1, 2), arguments
    if status:
        assert printed.err.splitlines()[-1].startswith(("polyvae: ", "  ")), printed.err
    return status


def files_of(root, but):
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*") if not {*path.parents, path} & {*but}}


def trial(made, tmp_path, capsys, rng, few):
    """Damages a copy of the store in one place and uses it; `few`: by the quick commands alone."""
    source, run_id = made
    root = tmp_path / "world"
    runs, out = root / "deep" / "runs", root / "out"
    shutil.copytree(source / "runs", runs)
    shutil.copy(source / "d.npz", root)
    out.mkdir()
    what, must_be_found = damage(runs / run_id, rng)
    quick, slow = commands(root, run_id, out)
    before = files_of(root, [runs, out])
    others = files_of(runs, [runs / run_id, runs / ".locks"])
    for arguments in quick + ([] if few else rng.sample(slow, 3)):
        status = outcome(arguments, capsys)
        if arguments[:2] == ["store", "check"]:
            assert status or not must_be_found, f"store check is silent: {what}"
    assert files_of(root, [runs, out]) == before, f"written elsewhere: {what}"
    assert not others.keys() - files_of(runs, [runs / run_id, runs / ".locks"]).keys(), f"another run suffers: {what}"
    shutil.rmtree(root)


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_file_ends_no_command_in_a_traceback(seed, made, tmp_path, capsys):
    trial(made, tmp_path, capsys, random.Random(seed), few=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of trackers and fits: no matter here
@pytest.mark.parametrize("seed", range(100, 112))
def test_no_damage_ends_any_command_in_a_traceback(seed, made, tmp_path, capsys):
    rng = random.Random(seed)
    for _ in range(10):
        trial(made, tmp_path, capsys, rng, few=False)
