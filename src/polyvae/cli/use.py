"""Commands that use a trained model."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from polyvae import files, keys
from polyvae.cli.progress import StepBar
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.own.new_rows import load_like
from polyvae.errors import InputError
from polyvae.fitting import COMPONENTS, SamplerKind
from polyvae.imputation import Imputed, ImputedText
from polyvae.imputation import impute as impute_batch
from polyvae.metrics.protocol import rows_with
from polyvae.modality import Batch, Modality
from polyvae.models import Model, TrainableModel
from polyvae.pictures.pages import Row, write_page
from polyvae.runs import finished
from polyvae.runs.finished import plan_of
from polyvae.runs.plan import device_named
from polyvae.runs.saving import load
from polyvae.runs.store import RunStore

Run = Annotated[str, tyro.conf.Positional]
CHUNK = 100  # rows at a time
SHOWN = 20  # columns of the picture


def generate(
    run: Run,
    *,
    count: int = 100,
    given: str | None = None,
    targets: str | None = None,
    data: Path | None = None,
    decode: Literal["mean", "sample"] = "mean",
    prior: Literal["gmm", "flow"] | None = None,
    weights: Literal["model", "model_best"] = "model",
    out: Path = Path("generated.npz"),
    seed: int = 0,
    device: str = "auto",
    store: Path = Path("runs"),
    quiet: bool = False,
) -> None:
    """Generate modalities from the prior, or from given ones; writes an .npz file, and a .png of images and text, below
    what was given of them.

    Text is written as sentences under <name>, and as token ids under <name>.ids (words in the run's model.json).

    For each modality: <name>; classes as probabilities (a draw: one-hot), and <name>.class, the most likely one.
    With --given also `row`: which rows of the data were conditioned on.

    Args:
        run: Run id, the start of one, or a run folder.
        count: Number of rows; with --given, at most: the first rows that have all of it.
        given: Comma-separated modalities to condition on. Default: none, samples from the prior.
        targets: Comma-separated modalities to generate. Default: all.
        data: .npz file with the rows to condition on. Default: the run's test rows.
        decode: The likelihood's mean, or a draw from it.
        prior: Draw from a prior fitted by fit-prior, not from the model's own.
        weights: The last weights, or those with the best validation loss.
        out: File to write.
        seed: Seed of the draws.
        device: cpu, cuda or auto.
        store: Folder of all runs.
        quiet: Print nothing but errors.
    """
    if count < 1:
        raise InputError(f"--count is {count}; it must be at least 1")
    if data is not None and given is None:
        raise InputError("--data holds rows to condition on; name what to condition on with --given")
    if prior is not None and given is not None:
        raise InputError("--prior is for samples from the prior; leave out --given")
    _check_out(out)
    place = device_named(device)
    model, folder = _model(run, store, weights, place, prior)
    torch.manual_seed(seed)
    wanted, shown_above = _names(targets), []
    used = None
    if given is None:
        counts = [len(rows) for rows in torch.arange(count).split(CHUNK)]
        parts = [model.generate(count, targets=wanted, decode=decode) for count in counts]
    else:
        rows = _rows(model, folder, data)
        used = _rows_to_use(rows, given, count)
        batches = _batches(rows.rows(used), place)
        parts = [model.generate(batch, _names(given), wanted, decode=decode) for batch in batches]
        shown_above = _given(model, rows.rows(used[:SHOWN]), given)
    values = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    arrays = _written(model, values) | ({} if used is None else {"row": torch.tensor(used)})
    _write_npz(out, arrays)
    shown = _shown(model, values)
    if shown:
        write_page(out.with_suffix(".png"), [[row] for row in (*shown_above, *shown)])
    if not quiet:
        print(out, *([out.with_suffix(".png")] if shown else []))
        print(", ".join(f"{name} {tuple(value.shape)}" for name, value in arrays.items()))
        if used is not None and len(used) < count:
            print(f"{len(used)} of the {len(rows)} rows have {given}; the others are left out (key 'row' says which)")


def impute(
    run: Run,
    *,
    data: Path,
    draws: int = 50,
    weights: Literal["model", "model_best"] = "model",
    out: Path = Path("imputed.npz"),
    seed: int = 0,
    device: str = "auto",
    store: Path = Path("runs"),
    quiet: bool = False,
) -> None:
    """Fill in the modalities that rows lack, in the units of the data; writes an .npz file.

    For each modality: <name> (observed, or the mean of the draws), <name>.sd, <name>.low and <name>.high (10 % and
    90 % quantiles: an 80 % interval) and <name>.mask (True where it was observed). Classes: <name> holds their
    probabilities (the truth where observed), <name>.class the most likely one, and there is no interval. Text: <name>
    holds sentences, <name>.ids their token ids, <name>.draws the sentence of every draw (row, draw). The file can
    be read again as data: what was filled in counts as absent. The interval is the model's own: how much of the truth
    it holds on test rows is in the record (imputation/.../coverage; .8 if calibrated).

    Args:
        run: Run id, the start of one, or a run folder.
        data: .npz file with keys <name> and <name>.mask; a modality without a key is absent everywhere.
        draws: Draws a row.
        weights: The last weights, or those with the best validation loss.
        out: File to write.
        seed: Seed of the draws.
        device: cpu, cuda or auto.
        store: Folder of all runs.
        quiet: Print nothing but errors.
    """
    _check_out(out)
    place = device_named(device)
    model, folder = _model(run, store, weights, place)
    rows = load_like(data, model.modalities)
    torch.manual_seed(seed)
    parts = [impute_batch(model, batch, draws=draws) for batch in _batches(rows, place)]
    values: dict[str, Tensor | np.ndarray] = {}
    for index, modality in enumerate(model.modalities):
        values |= _imputed(model, modality, [part[modality.name] for part in parts])
        values[f"{modality.name}.mask"] = rows.present[:, index]
    _write_npz(out, values)
    if not quiet:
        absent = int((~rows.present).sum())
        print(f"{out}: {len(rows)} rows, {absent} absent modalities filled in from {draws} draws each")
        print(_calibration(model.names, folder, store), end="")


def _calibration(names: Sequence[str], folder: Path, store: Path) -> str:
    """What the record says of the intervals of the last weights; empty where it says nothing."""
    record = RunStore(store).record(folder.name)
    metrics = {} if record is None else record.metrics
    by_name = {name: keys.imputation(keys.all_but(name, names), name, "coverage") for name in names}
    held = ", ".join(f"{name} {metrics[key]:.0%}" for name, key in by_name.items() if key in metrics)
    return f"Of the truth in test rows, 80 % intervals given all others held: {held} (last weights)\n" if held else ""


def _check_out(out: Path) -> None:
    if out.suffix != ".npz":
        raise InputError(f"--out {out} is written as .npz; give it that ending")


def _rows_to_use(rows: MultimodalDataset, given: str, count: int) -> list[int]:
    """The first `count` rows that have all of `given`."""
    names = [name.strip() for name in given.split(",")]
    if unknown := [name for name in names if name not in rows.names]:
        raise InputError(f"--given names {unknown[0]!r}; the model has {', '.join(rows.names)}")
    able = rows_with(rows, range(len(rows)), names)
    if not able:
        raise InputError(f"none of the {len(rows)} rows has {given}; condition on less")
    return able[:count]


def _classes(model: Model, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """<name>.class of what is classes: the index of the most likely one."""
    classes = {m.name for m in model.modalities if m.is_classes}
    return {f"{name}.class": value.argmax(-1) for name, value in values.items() if name in classes}


def _written(model: Model, values: Mapping[str, Tensor]) -> dict[str, Tensor | np.ndarray]:
    """What `generate` writes: text as sentences beside its token ids, classes beside their probabilities."""
    words = {m.name: m.vocabulary for m in model.modalities if m.vocabulary}
    texts = {name: np.array(words[name].decode(values[name])) for name in values if name in words}
    ids = {f"{name}.ids": values[name] for name in texts}
    return {**values, **texts, **ids, **_classes(model, values)}


def _shown(model: Model, values: Mapping[str, Tensor]) -> list[Row]:
    """Rows of the picture: images and text."""
    rows: list[Row] = []
    for modality in (m for m in model.modalities if m.name in values):
        made = values[modality.name][:SHOWN]
        if modality.vocabulary:
            rows.append(modality.vocabulary.decode(made))
        elif modality.is_image:
            rows.append(made)
    return rows


def _given(model: Model, rows: MultimodalDataset, given: str) -> list[Row]:
    """Rows of the picture: what was conditioned on."""
    values, names = rows.batch(slice(None)).values, _names(given)
    return _shown(model, {m.name: m.to_original(values[m.name]) for m in model.modalities if m.name in (names or ())})


def fit_prior(
    run: Run,
    *,
    kind: SamplerKind = "gmm",
    components: int = COMPONENTS,
    seed: int = 0,
    store: Path = Path("runs"),
    quiet: bool = False,
) -> None:
    """Fit a better prior to a finished run: a sampler of the codes of its training rows. The model stays as it is.

    Samples of the new prior lie where the model has learned to decode. Use it with --prior in generate and evaluate.

    Args:
        run: Run id, the start of one, or a run folder.
        kind: gmm, a Gaussian mixture with full covariances; flow, a normalising flow.
        components: Of the Gaussian mixture.
        seed: Seed of the fit.
        store: Folder of all runs.
        quiet: Print nothing but errors.
    """
    if components < 1:
        raise InputError(f"--components is {components}; it must be at least 1")
    with StepBar(quiet) as bar:
        fitted = finished.fit_prior(run, RunStore(store), kind, components, seed, say=bar.say)
    if not quiet:
        print(f"nats of held-out codes: {fitted.before:,.1f} by the model's own prior, {fitted.after:,.1f} by {kind}")
        print(f"see what it gains with: polyvae evaluate {run} --prior {kind} --metrics coherence,frechet")


def _model(
    run: str, store: Path, weights: str, device: torch.device, prior: str | None = None
) -> tuple[TrainableModel, Path]:
    folder = RunStore(store).existing(run)
    return load(folder, weights=weights, prior=prior).to(device), folder


def _rows(model: Model, folder: Path, data: Path | None) -> MultimodalDataset:
    if data is not None:
        return load_like(data, model.modalities)
    return plan_of(folder).test


def _batches(rows: MultimodalDataset, device: torch.device) -> Iterator[Batch]:
    for start in range(0, len(rows), CHUNK):
        yield rows.batch(slice(start, start + CHUNK)).to(device)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _imputed(
    model: Model, modality: Modality, parts: Sequence[Imputed | ImputedText]
) -> dict[str, Tensor | np.ndarray]:
    """The arrays of one modality, from its chunks of rows."""
    name, words = modality.name, modality.vocabulary
    if words is None:
        mean, sd, low, high = (torch.cat(field).cpu() for field in zip(*parts, strict=True))
        classes = _classes(model, {name: mean})
        return {name: mean} | (classes or {f"{name}.sd": sd, f"{name}.low": low, f"{name}.high": high})
    ids, draws = torch.cat([part[0] for part in parts]).cpu(), torch.cat([part[1] for part in parts], 1).cpu()
    by_row = np.array([words.decode(row) for row in draws.unbind(1)])
    return {name: np.array(words.decode(ids)), f"{name}.ids": ids, f"{name}.draws": by_row}


def _write_npz(path: Path, values: Mapping[str, Tensor | np.ndarray]) -> None:
    with files.atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{name: np.asarray(value) for name, value in values.items()})
