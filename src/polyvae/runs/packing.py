"""A store as one file, to go on with on another machine: records, pictures and checkpoints, weights if asked for."""

import hashlib
import io
import math
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TypedDict

from polyvae import files, schema
from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.runs.store import CONFIG, DRAWS, RECORD, VIEWS, Damaged, RunStore, raised, readable
from polyvae.runs.upkeep import idle

FORMAT, MANIFEST = 1, "store.json"
CARD = "README.md"
KEPT = (
    CARD,
    CONFIG,
    "history.jsonl",
    "samples/*.png",
    VIEWS,
    DRAWS,
    "traceback.txt",
    "checkpoint/state.safetensors",
    RECORD,
)
WEIGHTS = (
    "model.json",
    "model.safetensors",
    "model_best.safetensors",
    "calibration.json",
    "priors/*.json",
    "priors/*.safetensors",
)
CHUNK = 2**20


class ManifestFile(TypedDict):
    """store.json, the first file of a pack. files: run id/file -> SHA-256."""

    format: int
    files: dict[str, str]


def without_place(config: RunConfig) -> RunConfig:
    """The config without the data directory of this machine."""
    return config.with_(data_dir=None)


def pack(store: RunStore, path: Path, *, weights: bool = False, on_damage: Damaged = raised) -> int:
    """Writes the runs of a store, finished or not, into a .tar file; returns how many.

    Runs that a process is working on are left out, and so is this machine's data directory. Of finished runs record,
    history and pictures are kept, weights if they are asked for. on_damage: as for `RunStore.records`.
    Raises InputError where there is no store, or nothing in it.
    """
    with TemporaryDirectory(prefix=".pack-", dir=store.there().root) as place:

        def content(folder: Path) -> dict[str, bytes | Path]:
            found = content_of(store, folder, weights=weights)
            if store.is_done(folder.name):
                return found
            return {name: _copied(part, Path(place) / name) for name, part in found.items()}  # others may go on with it

        runs = list(filter(None, readable(content, idle(store), on_damage)))
        if not runs:
            raise InputError(f"{store.root} holds no run that could be packed")
        write(path, {name: content for run in runs for name, content in run.items()})
    return len(runs)


def write(path: Path, kept: Mapping[str, bytes | Path]) -> None:
    """Writes a pack of the files run id/file -> content."""
    manifest = {"format": FORMAT, "files": {name: _sha256(content) for name, content in kept.items()}}
    with files.atomic(path) as temporary, tarfile.open(temporary, "w") as archive:
        for name, content in {MANIFEST: _text(manifest), **kept}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content) if isinstance(content, bytes) else content.stat().st_size
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
                archive.addfile(member, source)


def _copied(content: bytes | Path, target: Path) -> bytes | Path:
    """What does not change when a file is written anew."""
    if isinstance(content, bytes):
        return content
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(content, target))


def content_of(
    store: RunStore, folder: Path, *, weights: bool, leaving: Callable[[RunConfig], RunConfig] = without_place
) -> dict[str, bytes | Path]:
    """run id/file -> what is kept of a run. A finished one without weights is its record, which holds the config.

    leaving: the config as it leaves this machine.
    """
    record = store.record(folder.name)
    names = {str(path.relative_to(folder)): path for path in plain_files(folder)}
    found: dict[str, bytes | Path] = {name: path for name, path in names.items() if is_known(name, weights)}
    if record is not None:
        found[RECORD] = _text(replace(record, config=leaving(record.config)).to_json())
    if record is not None and record.is_done and not weights:
        found.pop(CONFIG, None)
    elif CONFIG in found:
        found[CONFIG] = _text(leaving(store.config(folder.name)).to_dict())
    return {f"{folder.name}/{name}": content for name, content in found.items()}


def unpack(path: Path, store: RunStore) -> tuple[int, int]:
    """Adds the runs of a pack to a store; returns (runs added, runs left as they were).

    A finished run is never replaced; of two that are not, the one that got further stays.
    Raises InputError, and adds nothing, for a pack that is damaged, from a newer version, or holds what no store does.
    """
    if not path.is_file():
        raise InputError(f"no file {path}; polyvae store pack makes one")
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".unpack-", dir=store.root) as place, tarfile.open(path, "r:") as archive:
            _extract(archive, path, Path(place))
            packed = RunStore(place)
            runs = sorted(folder.name for folder in packed.root.iterdir())
            steps = [_steps(packed, run_id) for run_id in runs]  # read whole, before one is added
            added = sum(map(partial(take, packed, store), runs, steps))
            return added, len(runs) - added
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{path} is damaged or not a packed store ({error}); pack the store again") from error


def _extract(archive: tarfile.TarFile, path: Path, place: Path) -> None:
    """Writes the files of a pack below `place`, each checked by its name and its SHA-256."""
    expected = _manifest(archive, path)
    while (member := archive.next()) is not None:
        if member.name not in expected:
            raise InputError(f"{path} holds {member.name!r}, which its list of files lacks; pack the store again")
        run_id, _, name = member.name.partition("/")
        is_plain = member.isreg() and not member.issparse()  # whose holes would be written out
        source = archive.extractfile(member) if is_plain else None
        if source is None or not files.is_plain_name(run_id) or not is_known(name, weights=True):
            raise InputError(f"{path} holds {member.name!r}, which is not a file of a run; this is not a packed store")
        target = place / run_id / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, target.open("wb") as file:
            digest = hashlib.sha256()
            for part in _parts(source):
                digest.update(part)
                file.write(part)
        if digest.hexdigest() != expected.pop(member.name):
            raise InputError(f"{path} is damaged: {member.name} is not what was packed; pack the store again")
    if expected:
        raise InputError(f"{path} is damaged: {next(iter(expected))} is missing; pack the store again")


def _manifest(archive: tarfile.TarFile, path: Path) -> dict[str, str]:
    first = archive.next()
    source = archive.extractfile(first) if first is not None and first.isreg() and first.name == MANIFEST else None
    if source is None:
        raise InputError(f"{path} is not a packed store; polyvae store pack makes one")
    try:
        content = schema.parsed(source.read(2**27).decode())
    except ValueError as error:
        raise InputError(f"{path} is damaged: its list of files cannot be read ({error})") from error
    if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] > FORMAT:
        raise InputError(f"{path} is a pack of format {content['format']}, from a newer polyvae; update this one")
    if (fault := schema.fault(content, ManifestFile)) is not None:
        raise InputError(f"{path} is damaged: its list of files: {fault}")
    return content["files"]


def take(packed: RunStore, store: RunStore, run_id: str, steps: float) -> bool:
    """Moves a run over unless the store has it, or as much of it; steps: how far it got, infinity if finished."""
    with store.lock(run_id, wait=True):
        if steps <= _steps(store, run_id):
            return False
        target = store.folder(run_id)
        if target.is_dir():
            files.remove(target)
        packed.folder(run_id).rename(target)
        return True


def _steps(store: RunStore, run_id: str) -> float:
    """How far a run got, as its history tells; infinity once it is finished, -1 where it is not there."""
    if not store.folder(run_id).is_dir():
        return -1
    if store.is_done(run_id):
        return math.inf
    history = store.history(run_id)
    return history[-1]["step"] if history else 0


def plain_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def is_known(name: str, weights: bool) -> bool:
    patterns = KEPT + WEIGHTS * weights
    return any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns)


def _text(content: object) -> bytes:
    return files.json_text(content).encode()


def _sha256(content: bytes | Path) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else files.sha256(content)


def _parts(source: IO[bytes]) -> Iterator[bytes]:
    while part := source.read(CHUNK):
        yield part
