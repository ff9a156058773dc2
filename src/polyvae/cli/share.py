"""Commands that hand a finished run to others, and take one."""

from pathlib import Path
from typing import Annotated

import tyro

from polyvae.cli.common import STORE, Quiet, RunName, Store, out_file, say
from polyvae.runs import sharing
from polyvae.runs.store import RunStore

Repository = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(metavar="OWNER/NAME", help="Repository of the Hugging Face hub.")
]
LICENSE = "Licence of the weights, for the model card: apache-2.0, cc-by-4.0, ..., other or unknown."
License = Annotated[str, tyro.conf.arg(help=LICENSE)]


def pack(
    run: RunName,
    *,
    out: Path | None = None,
    license: License = sharing.UNKNOWN,
    store: Store = STORE,
    quiet: Quiet = False,
) -> None:
    """Write a finished run as one file: model, weights, record, pictures and a model card.

    It is a .tar file of JSON, safetensors, PNG and Markdown, which `polyvae store unpack` adds to a store. No path of
    this machine and no cell of a table is in it; pictures show test rows.

    Args:
        out: File to write. Default: RUN.tar, RUN being the whole run id.
    """
    folder = RunStore(store).existing(run)
    path = out_file(Path(f"{folder.name}.tar") if out is None else out, ".tar")
    sharing.pack(folder, path, license)
    if not quiet:
        say(path)


def push(
    run: RunName,
    repository: Repository,
    *,
    license: License = sharing.UNKNOWN,
    public: bool = False,
    store: Store = STORE,
    quiet: Quiet = False,
) -> None:
    """Upload what `pack` would write to a repository of the Hugging Face hub (extra [hub]; `hf auth login` first).

    Args:
        public: Make a new repository public. One that is there stays as it is.
    """
    address = sharing.push(RunStore(store).existing(run), repository, license, public=public)
    if not quiet:
        say(address)


def pull(repository: Repository, *, revision: str | None = None, store: Store = STORE, quiet: Quiet = False) -> None:
    """Add the run in a repository of the Hugging Face hub to the store (extra [hub]), once its checksums are right.

    Args:
        revision: Branch, tag or commit. Default: the newest.
    """
    run_id, is_new = sharing.pull(repository, RunStore(store), revision)
    if not quiet:
        say(RunStore(store).folder(run_id) if is_new else f"{run_id} was in {store} already, and stays as it was")
