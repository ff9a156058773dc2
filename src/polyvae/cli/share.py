"""Commands that share a finished run, and fetch a shared one."""

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
    """Write a finished run to one file: model, weights, record, pictures and a model card.

    The file is a .tar of JSON, safetensors, PNG and Markdown, which `polyvae store unpack` adds to a store. It
    contains no path of this machine and no cell of a table, but its pictures show test rows.

    Args:
        out: File to write. Default: the full run id, with .tar.
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
    """Upload a finished run, as `pack` writes it, to the Hugging Face hub (extra [hub]; `hf auth login` first).

    Args:
        public: Make a new repository public. An existing repository is not changed.
    """
    address = sharing.push(RunStore(store).existing(run), repository, license, public=public)
    if not quiet:
        say(address)


def pull(repository: Repository, *, revision: str | None = None, store: Store = STORE, quiet: Quiet = False) -> None:
    """Fetch a run from the Hugging Face hub (extra [hub]), verify its checksums and add it to the store.

    Args:
        revision: Branch, tag or commit. Default: the latest.
    """
    run_id, is_new = sharing.pull(repository, RunStore(store), revision)
    if not quiet:
        say(RunStore(store).folder(run_id) if is_new else f"{run_id} was already in {store}, and is unchanged")
