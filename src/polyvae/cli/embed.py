"""The command that writes the codes of rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polyvae.cli.common import say
from polyvae.cli.use import ModelFlags, out_like, rows_of
from polyvae.config import listed
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.own import writers
from polyvae.datasets.own.new_rows import load_like
from polyvae.datasets.own.parts import named
from polyvae.datasets.own.writers import Rows
from polyvae.errors import InputError
from polyvae.models import covariate_of
from polyvae.models.contract import JointModel, code_mean, has_density, joint, shared_dim_of
from polyvae.runs.finished import plan_of


def embed(model: ModelFlags, *, data: str | None = None, given: str | None = None, out: Path | None = None) -> None:
    """Write the code of every row: the posterior mean of z, in the order of the rows, beside their ids and labels.

    .csv, .tsv, .parquet: columns z0, z1, ...; .npz: `codes` (row, dimension), `.ids` and `label`; .h5ad, .h5mu: a copy
    of the input, with obsm["X_polyvae"]. A folder (--out without an ending) has the arrays of .npz as .npy files.
    For data larger than memory this is the only form. A row that has nothing of what is given has no code: NaN. For a
    model with private codes it is the shared one.

    Args:
        data: The rows, as `run` takes them. Default: the run's test rows.
        given: Comma-separated modalities to encode rows from. Default: all that a row has.
        out: File or folder to write. Default: codes.parquet, or codes and the ending of the data where they are .h5ad
            or .h5mu. A folder must hold no other .npy files.
    """
    vae = joint(model.load(out=out))
    names = list(vae.names) if given is None else listed(given)
    if unknown := [name for name in names if name not in vae.names]:
        raise InputError(f"--given names {unknown[0]!r}; the model has {', '.join(vae.names)}")
    if not has_density(vae, names):
        raise InputError("this model has a code only given all modalities; leave out --given")
    if data is None:
        rows = plan_of(model.folder).test.to("cpu")
        labels = None if rows.labels is None else rows.labels.numpy()
        about = Rows(rows.ids, named(labels, rows.info.get("label_names", ())))
    else:
        parts = model.parts(data, vae)
        rows, about = load_like(parts, vae.modalities, covariate_of(vae)), rows_of(parts, data)
    if out is None and not rows.in_files and (data is None or Path(data).suffix not in writers.OMICS):
        out = Path("codes.parquet")
    out = out_like(out, "codes", data, (), (writers.FOLDER,) if rows.in_files else writers.FORMATS)
    able = rows.present[:, [vae.names.index(name) for name in names]].any(1)
    codes = (_codes(model, vae, block, able[place], names) for place, block in model.blocks(rows))
    if out.suffix == writers.FOLDER:
        whole = writers.named(about)
        writers.check_folder(out, {"codes", *whole})
        writers.write_parts(out, ({"codes": part} for part in codes), len(rows), whole)
    else:
        writers.write_codes(out, next(codes), about)
    if not model.quiet:
        lost = int((~able).sum())
        which = "" if data is not None else ", the run's test rows (--data names others)"
        say(f"{out}: {len(rows)} rows{which}, codes of {shared_dim_of(vae)} dimensions given {','.join(names)}")
        if lost:
            say(f"{lost} rows have nothing of {','.join(names)}: their codes are NaN")


@torch.no_grad()
def _codes(
    model: ModelFlags, vae: JointModel, rows: MultimodalDataset, able: Tensor, names: Sequence[str]
) -> np.ndarray:
    """(row, dimension), NaN for rows that are not `able`: those that have nothing of `names`."""
    codes = torch.full((len(rows), shared_dim_of(vae)), torch.nan)
    batches = model.batches(rows.rows(able.nonzero()[:, 0]), is_shown=not rows.in_files)
    means = [code_mean(vae, batch, names).cpu() for batch in batches]
    if means:
        codes[able] = torch.cat(means)
    return codes.numpy()
