"""A finished run for others: what of it leaves this machine, as one file, or in a repository of a hub of models."""

import importlib
import math
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polyvae import files
from polyvae.config import RunConfig
from polyvae.errors import InputError, RunError
from polyvae.models import ModelFile
from polyvae.runs import packing, saving, upkeep
from polyvae.runs.card import model_card
from polyvae.runs.record import Record
from polyvae.runs.store import RECORD, VIEWS, RunStore, check_kept

UNKNOWN = "unknown"  # the licence, unless it is said
KNOWN = [*packing.KEPT, *packing.WEIGHTS]


def pack(folder: Path, path: Path, license: str = UNKNOWN) -> None:
    """Writes a finished run with its weights and a model card into a .tar file, which `packing.unpack` reads.

    Raises InputError for a run that is not finished, or of which only the record is there.
    """
    packing.write(path, {f"{folder.name}/{name}": content for name, content in shared(folder, license).items()})


def push(folder: Path, repository: str, license: str = UNKNOWN, *, public: bool = False) -> str:
    """Uploads a finished run to a repository of the Hugging Face hub, made if it is not there; returns its address.

    Files of an earlier push that this run lacks are removed. public: of a new repository, else private.
    Raises InputError as `pack` does, RunError where the hub refuses.
    """
    _check_name(repository)
    with TemporaryDirectory(prefix="polyvae-") as place:
        for name, content in shared(folder, license).items():
            target = Path(place, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                target.write_bytes(content)
            else:
                shutil.copyfile(content, target)
        with _hub() as hub:
            api, said = hub.HfApi(library_name="polyvae"), f"polyvae run {folder.name}"
            url = api.create_repo(repository, private=not public, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=place, commit_message=said, delete_patterns=KNOWN)
    return str(url)


def pull(repository: str, store: RunStore, revision: str | None = None) -> tuple[str, bool]:
    """Adds the run in a repository of the Hugging Face hub to a store; returns (run id, whether it was new there).

    The files are untrusted: only those that a run has are fetched, and it is added only if `upkeep.check` finds nothing
    wrong with it, checksums included. revision: a branch, tag or commit.
    Raises InputError unless it is a sound run, RunError where the hub refuses.
    """
    _check_name(repository)
    store.root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".pull-", dir=store.root) as place:
        fetched, packed = Path(place, "fetched"), RunStore(Path(place, "run"))
        with _hub() as hub:
            hub.snapshot_download(repository, revision=revision, local_dir=str(fetched), allow_patterns=KNOWN)
        record = Record.read(fetched / RECORD)
        if not record.is_done:
            raise InputError(f"the run in {repository} failed or is not finished; there is nothing to use")
        if not record.run_id.startswith(record.config.id_prefix):  # the rest of it hashes data that are not here
            raise InputError(f"the run in {repository} calls itself {record.run_id}, which is not what its config says")
        for path in packing.plain_files(fetched):
            name = str(path.relative_to(fetched))
            if packing.is_known(name, weights=True):
                target = packed.folder(record.run_id) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        if problems := upkeep.check(packed):
            raise InputError(
                f"the run in {repository} is damaged: {problems[0].problem}; ask its owner to push it again"
            )
        return record.run_id, packing.take(packed, store, record.run_id, math.inf)


def shared(folder: Path, license: str) -> dict[str, bytes | Path]:
    """File -> content of a finished run: record, config, history, model, weights, fitted priors, pictures, card.

    No path of this machine is in them: of the user's own data, config and record keep the name of the file. No cell of
    a table is, either; pictures show test rows.
    """
    store = RunStore(folder.parent)
    record = store.record(folder.name)
    if record is None or not record.is_done:
        raise InputError(f"run {folder.name} is not finished; finish it with its command, then share it")
    check_kept(folder / "model.json")
    if faults := saving.faults(folder):
        raise InputError(faults[0])
    kept = packing.content_of(store, folder, weights=True, leaving=_without_paths)
    named = {name.partition("/")[2]: content for name, content in kept.items()}
    named.pop(VIEWS, None)
    model = files.read_object(folder / "model.json", ModelFile)
    pictures = [name for name in named if name.startswith("samples/")]
    named[packing.CARD] = model_card(record, model["modalities"], pictures, license).encode()
    return named


def _without_paths(config: RunConfig) -> RunConfig:
    places = {"data": config.data, "test_data": config.test_data}
    return config.with_(data_dir=None, **{key: Path(place).name for key, place in places.items() if place is not None})


def _check_name(repository: str) -> None:
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repository, re.ASCII):
        raise InputError(f"{repository!r} is not the name of a repository; give OWNER/NAME")


@contextmanager
def _hub() -> Generator[Any]:
    """The client of the hub. Raises InputError where it is not installed, RunError for whatever goes wrong inside."""
    try:
        library = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(f"the hub needs its client ({error}): pip install 'polyvae[hub]'") from error
    try:
        yield library
    except Exception as error:  # no network, no token, no such repository: each client has errors of its own
        raise RunError(f"the hub refused: {type(error).__name__}: {str(error).strip()}") from error
