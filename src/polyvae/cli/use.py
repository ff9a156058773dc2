"""Commands that use a trained model."""

import shlex
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from polyvae import files, keys
from polyvae.cli.common import (
    STORE,
    Quiet,
    RunName,
    RunThreads,
    Store,
    Threads,
    listed,
    out_file,
    say,
    seeded,
    use_threads,
)
from polyvae.cli.progress import Bar
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.own.arrays import read_parts
from polyvae.datasets.own.new_rows import load_like, with_given
from polyvae.errors import InputError
from polyvae.fitting import SamplerKind
from polyvae.imputation import DRAWS, Imputed, ImputedText, rows_at_once
from polyvae.imputation import impute as impute_batch
from polyvae.metrics.protocol import rows_with
from polyvae.modality import Batch, Modality
from polyvae.models import Model, TrainableModel, covariate_of
from polyvae.noise import derive_seed
from polyvae.pictures.pages import Row, write_page
from polyvae.runs import finished
from polyvae.runs.finished import plan_of
from polyvae.runs.plan import device_named
from polyvae.runs.saving import load, load_calibration, scored_weights
from polyvae.runs.store import RunStore

CHUNK = 100  # rows at a time
SHOWN = 20  # columns of the picture
Arrays = dict[str, Tensor | np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """Which trained model, and how it is used."""

    run: RunName
    weights: Literal["auto", "model", "model_best"] = "auto"
    """The last weights, or those with the best validation loss; auto: those that the record's metrics are of, the best
    where the run held rows out."""
    seed: int = 0
    """Seed of the draws."""
    device: str = "auto"
    """cpu, cuda or auto."""
    threads: Threads = None
    store: Store = STORE
    quiet: Quiet = False

    @property
    def folder(self) -> Path:
        return RunStore(self.store).existing(self.run)

    def load(self, prior: str | None = None) -> TrainableModel:
        seeded(self.seed)
        use_threads(self.threads)
        return load(self.folder, weights=self.weights, prior=prior).to(device_named(self.device))

    @property
    def is_scored(self) -> bool:
        """Whether the record's metrics are of these weights, and the calibration with them."""
        return self.weights in ("auto", scored_weights(self.folder))

    def batches(self, rows: MultimodalDataset, size: int = CHUNK) -> Iterator[Batch]:
        device = device_named(self.device)
        return (rows.batch(slice(start, start + size)).to(device) for start in range(0, len(rows), size))


def generate(
    model: ModelFlags,
    *,
    count: int = 100,
    given: str | None = None,
    targets: str | None = None,
    data: Path | None = None,
    decode: Literal["mean", "sample"] = "mean",
    prior: Literal["gmm", "flow"] | None = None,
    covariate: str | None = None,
    out: Path = Path("generated.npz"),
) -> None:
    """Generate modalities from the prior, or from given ones; writes an .npz file, and a .png of images and text, below
    what was given of them.

    Text is written as sentences under <name>, and as token ids under <name>.ids (words in the run's model.json).

    For each modality: <name>; classes as probabilities (a draw: one-hot), and <name>.class, the most likely one.
    With --given also `row` (`.row` beside a modality of that name): which rows of the data were conditioned on.

    Args:
        count: Number of rows; with --given, at most: the first rows that have all of it.
        given: Comma-separated modalities to condition on. Default: none, samples from the prior.
        targets: Comma-separated modalities to generate. Default: all.
        data: .npz file with the rows to condition on. Default: the run's test rows.
        decode: The likelihood's mean, or a draw from it.
        prior: Draw from a prior fitted by fit-prior, not from the model's own.
        covariate: As if all rows had this level of the covariate (batch=B). Default: as they are.
        out: File to write.
    """
    if count < 1:
        raise InputError(f"--count is {count}; it must be at least 1")
    if data is not None and given is None:
        raise InputError("--data holds rows to condition on; name what to condition on with --given")
    if prior is not None and given is not None:
        raise InputError("--prior is for samples from the prior; leave out --given")
    out_file(out, ".npz")
    vae = model.load(prior)
    torch.manual_seed(derive_seed(model.seed, "generate"))
    wanted = None if targets is None else listed(targets)
    level = _level(vae, covariate)
    arrays: Arrays = {}
    inputs: list[Row] = []
    note = ""
    if given is None:
        counts = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
        parts = [vae.generate(number, targets=wanted, decode=decode, level=level) for number in counts]
    else:
        names = listed(given)
        rows = plan_of(model.folder).test if data is None else load_like(data, vae.modalities, covariate_of(vae))
        used = _rows_to_use(rows, names, count)
        parts = [vae.generate(b, names, wanted, decode=decode, level=level) for b in model.batches(rows.rows(used))]
        inputs = _pictured(vae, _original(vae, rows.rows(used[:SHOWN]), names))
        place = "row" if "row" not in vae.names else ".row"  # no name of a modality holds a dot
        arrays[place] = torch.tensor(used)
        if len(used) < count:
            note = (
                f"{len(used)} of the {len(rows)} rows have {given}; the others are left out (key {place!r} says which)"
            )
    values = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    arrays = _written(vae, values) | arrays
    _write_npz(out, arrays)
    drawn = _draw(out.with_suffix(".png"), [*inputs, *_pictured(vae, values)])
    if not model.quiet:
        say(" ".join(map(str, [out, *drawn])))
        say(", ".join(f"{name} {tuple(value.shape)}" for name, value in arrays.items()))
        if note:
            say(note)


def impute(
    model: ModelFlags,
    *,
    data: Path,
    draws: int = DRAWS,
    covariate: str | None = None,
    out: Path = Path("imputed.npz"),
) -> None:
    """Fill in the modalities and single cells that rows lack, in the units of the data; writes an .npz file.

    For each modality: <name> (observed as given, or the mean of the draws), <name>.sd, <name>.low and <name>.high (an
    80 % interval) and <name>.mask (True where it was observed; of single cells, sd is 0 where
    they were). Classes: <name> holds their probabilities (the truth where observed), <name>.class the most likely one,
    and there is no interval. Text: <name> holds sentences, <name>.ids their token ids, <name>.draws the sentence of
    every draw (row, draw). The file can be read again as data: what was filled in counts as absent. Intervals of whole
    real-valued tables are as wide as the run's validation rows ask for, given what a row has; without validation rows,
    and for single cells, they are the model's own. The record says how much of the truth they hold on test rows
    (imputation/.../coverage).

    Args:
        data: .npz file with keys <name> and <name>.mask; a modality without a key is absent everywhere.
        draws: Draws per row.
        covariate: As if what is absent were measured at this level of the covariate (batch=B). Default: the row's own.
        out: File to write.
    """
    out_file(out, ".npz")
    vae = model.load()
    given = read_parts(data)
    level = _level(vae, covariate)
    rows = load_like(given, vae.modalities, covariate_of(vae))
    torch.manual_seed(derive_seed(model.seed, "impute"))
    calibration = load_calibration(model.folder) if model.is_scored else None
    size = rows_at_once(vae, draws, CHUNK)
    fill = partial(impute_batch, vae, draws=draws, calibration=calibration, level=level)
    parts = [fill(batch) for batch in model.batches(rows, size)]
    arrays: Arrays = {}
    for index, modality in enumerate(vae.modalities):
        seen = rows.present[:, index].numpy()
        filled = _imputed(vae, modality, [part[modality.name] for part in parts])
        arrays |= _with_given(modality, filled, given.values.get(modality.name), seen)
        arrays[f"{modality.name}.mask"] = seen
    _write_npz(out, arrays)
    if not model.quiet:
        absent = int((~rows.present).sum())
        say(f"{out}: {len(rows)} rows, {absent} absent modalities filled in from {draws} draws each")
        for line in _trust(vae.names, model.folder) if model.is_scored else ():
            say(line)
        for name, text in rows.info["warnings"].items():
            say(f"{name}: {text}", file=sys.stderr)


def fit_prior(
    run: RunName,
    *,
    kind: SamplerKind = "gmm",
    components: int | None = None,
    seed: int = 0,
    threads: RunThreads = None,
    store: Store = STORE,
    quiet: Quiet = False,
) -> None:
    """Fit a better prior to a finished run: a sampler of the codes of its training rows. The model stays as it is.

    Samples of the new prior lie where the model has learned to decode. Use it with --prior in generate and evaluate.

    Args:
        kind: gmm, a Gaussian mixture, of full covariances where there are rows enough; flow, a normalising flow.
        components: Components of the Gaussian mixture; default: one for 5 rows a dimension of the code, from 1 to 20.
        seed: Seed of the fit.
    """
    if components is not None and components < 1:
        raise InputError(f"--components is {components}; it must be at least 1")
    seeded(seed)
    changes = {} if threads is None else {"threads": threads}
    with Bar(quiet) as bar:
        fitted = finished.fit_prior(run, RunStore(store), kind, components, seed, say=bar.say, **changes)
    if not quiet:
        say(f"nats of held-out codes: {fitted.before:,.1f} by the model's own prior, {fitted.after:,.1f} by {kind}")
        if fitted.after <= fitted.before:
            say("it is no better than the model's own; try " + ("fewer --components" if components else "more rows"))
            return
        plan = plan_of(RunStore(store).existing(run))
        names = ",".join(name for name in ("bound", "coherence", "frechet") if plan.lack(name) is None)
        place = [] if store == STORE else ["--store", str(store)]
        command = ["polyvae", "evaluate", run, "--prior", kind, "--metrics", names, *place]
        say(f"see what it gains with: {shlex.join(command)}")


def _level(model: Model, text: str | None) -> str | None:
    """The level that `--covariate name=level` names. Raises InputError for another name."""
    if text is None:
        return None
    name, _, level = text.partition("=")
    covariate = covariate_of(model)
    if covariate is None or name.strip() != covariate.name:
        known = "no covariate" if covariate is None else f"the covariate {covariate.name}, as in {covariate.name}=LEVEL"
        raise InputError(f"--covariate {text}: the model has {known}")
    covariate.index_of(level.strip())
    return level.strip()


def _trust(names: Sequence[str], folder: Path) -> list[str]:
    """What the record says of intervals and errors, in lines."""
    record = RunStore(folder.parent).record(folder.name)
    metrics, notes = ({}, {}) if record is None else (record.metrics, record.notes)
    held, worse = [], []
    for name in names:
        coverage, rmse = (keys.imputation(keys.all_but(name, names), name, score) for score in ("coverage", "rmse"))
        held += [f"{name} {metrics[coverage]:.0%}"] if coverage in metrics else []
        worse += [f"{name}: {notes[rmse]}"] if rmse in notes else []
    if held:
        held = [f"Of the truth in test rows, 80 % intervals given all others held: {', '.join(held)}"]
    return worse + held


def _rows_to_use(rows: MultimodalDataset, names: Sequence[str], count: int) -> list[int]:
    """The first `count` rows that have all of `names`."""
    if unknown := [name for name in names if name not in rows.names]:
        raise InputError(f"--given names {unknown[0]!r}; the model has {', '.join(rows.names)}")
    able = rows_with(rows, range(len(rows)), names)
    if not able:
        raise InputError(f"none of the {len(rows)} rows has {','.join(names)}; condition on less")
    return able[:count]


def _draw(path: Path, rows: Sequence[Row]) -> list[object]:
    """The picture of generated rows, if there is one: the file, or why it could not be drawn."""
    if not rows:
        return []
    try:
        write_page(path, [[row] for row in rows])
    except Exception as reason:  # noqa: BLE001 whatever it is, the values are written
        return [f"(no picture: {type(reason).__name__}: {reason})"]
    return [path]


def _original(model: Model, rows: MultimodalDataset, names: Sequence[str]) -> dict[str, Tensor]:
    """The modalities `names` of the rows, in the units of the data."""
    values = rows.batch(slice(None)).values
    return {m.name: m.to_original(values[m.name]) for m in model.modalities if m.name in names}


def _pictured(model: Model, values: Mapping[str, Tensor]) -> list[Row]:
    """Rows of the picture: images and text."""
    rows: list[Row] = []
    for modality in (m for m in model.modalities if m.name in values):
        shown = values[modality.name][:SHOWN]
        if modality.vocabulary:
            rows.append(modality.vocabulary.decode(shown))
        elif modality.is_image:
            rows.append(shown)
    return rows


def _written(model: Model, values: Mapping[str, Tensor]) -> Arrays:
    """What `generate` writes: text as sentences beside its token ids, classes beside their probabilities."""
    arrays: Arrays = dict(values)
    for modality in (m for m in model.modalities if m.name in values):
        if modality.vocabulary:
            arrays[modality.name] = np.array(modality.vocabulary.decode(values[modality.name]))
            arrays[f"{modality.name}.ids"] = values[modality.name]
    return arrays | _classes(model, values)


def _classes(model: Model, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """<name>.class of what is classes: the index of the most likely one."""
    return {f"{m.name}.class": values[m.name].argmax(-1) for m in model.modalities if m.is_classes and m.name in values}


def _imputed(model: Model, modality: Modality, parts: Sequence[Imputed | ImputedText]) -> Arrays:
    """The arrays of one modality, from its chunks of rows."""
    name, words = modality.name, modality.vocabulary
    if words is None:
        mean, sd, low, high = (torch.cat(field).cpu() for field in zip(*parts, strict=True))
        classes = _classes(model, {name: mean})
        return {name: mean} | (classes or {f"{name}.sd": sd, f"{name}.low": low, f"{name}.high": high})
    ids, draws = torch.cat([part[0] for part in parts]).cpu(), torch.cat([part[1] for part in parts], 1).cpu()
    by_row = np.array([words.decode(row) for row in draws.unbind(1)])
    return {name: np.array(words.decode(ids)), f"{name}.ids": ids, f"{name}.draws": by_row}


def _with_given(modality: Modality, filled: Arrays, given: np.ndarray | None, seen: np.ndarray) -> Arrays:
    """What is written of a modality, its observed values as they were given."""
    name = modality.name
    if given is None or modality.is_classes or (modality.vocabulary and given.dtype.kind != "U"):
        return filled
    if modality.vocabulary:
        draws = np.where(seen[:, None], given[:, None], filled[f"{name}.draws"])
        return filled | {name: np.where(seen, given, filled[name]), f"{name}.draws": draws}
    in_units = {key: with_given(np.asarray(filled[key]), given, seen) for key in (name, f"{name}.low", f"{name}.high")}
    scale = 255 if in_units[name].dtype == np.uint8 else 1
    return filled | in_units | {f"{name}.sd": np.asarray(filled[f"{name}.sd"]) * scale}


def _write_npz(path: Path, values: Mapping[str, Tensor | np.ndarray]) -> None:
    """As numpy.savez_compressed, whose arguments would clash with arrays called `file` or `allow_pickle`."""
    with files.atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in values.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)
