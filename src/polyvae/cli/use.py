"""Commands that use a trained model."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from polyvae import keys
from polyvae.cli.common import (
    STORE,
    Quiet,
    RunName,
    RunThreads,
    Store,
    Threads,
    out_file,
    out_folder,
    say,
    seeded,
    use_threads,
)
from polyvae.cli.progress import Bar
from polyvae.config import listed
from polyvae.dataset import MultimodalDataset, chunks
from polyvae.datasets.own import writers
from polyvae.datasets.own.new_rows import like, load_like, with_given
from polyvae.datasets.own.parts import Parts
from polyvae.datasets.own.reading import read_parts
from polyvae.datasets.own.roles import Roles
from polyvae.datasets.own.writers import Rows
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
from polyvae.runs.verdict import verdict

CHUNK = 100  # rows at a time
BLOCK = 2**22  # values of rows in files that are held, with all that is made of them
SHOWN = 20  # columns of the picture
Arrays = dict[str, Any]  # name -> array or tensor


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """Which trained model, and how to use it."""

    run: RunName
    weights: Literal["auto", "model", "model_best"] = "auto"
    """model: the last weights; model_best: those that did best on validation rows (`--best-by`); auto: those that the
    metrics in the record describe, which are the best ones if the run held rows out."""
    seed: int = 0
    """Seed of the random draws."""
    device: str = "auto"
    """cpu, cuda or auto."""
    threads: Threads = None
    store: Store = STORE
    quiet: Quiet = False

    @property
    def folder(self) -> Path:
        return RunStore(self.store).existing(self.run)

    def load(self, prior: str | None = None, out: Path | None = None) -> TrainableModel:
        """The model. out: refused first, if it cannot be written."""
        if out is not None:
            out_place(out)
        seeded(self.seed)
        use_threads(self.threads)
        return load(self.folder, weights=self.weights, prior=prior).to(device_named(self.device))

    def parts(self, data: str, model: Model) -> Parts:
        """What `data` hold: columns have the roles that they had when the model was trained."""
        store = RunStore(self.folder.parent)
        parts = read_parts(data, Roles.of(store.config(self.folder.name)).for_new_rows(model.modalities))
        for name, text in parts.doubts.items() if not self.quiet else ():
            say(f"{name}: {text}", file=sys.stderr)
        return parts

    def rows(self, model: Model, data: str | None) -> MultimodalDataset:
        """The rows of `data` in the model's form; without, the run's test rows."""
        if data is None:
            return plan_of(self.folder).test
        return load_like(self.parts(data, model), model.modalities, covariate_of(model))

    @property
    def is_scored(self) -> bool:
        """Whether the metrics in the record, and the calibration, belong to these weights."""
        return self.weights in ("auto", scored_weights(self.folder))

    def batches(self, rows: MultimodalDataset, size: int = CHUNK, *, is_shown: bool = True) -> Iterator[Batch]:
        """The rows on the device, `size` at a time, with a progress bar if it `is_shown`."""
        device = device_named(self.device)
        with Bar(self.quiet) if is_shown else nullcontext() as bar:
            for start in range(0, len(rows), size):
                if bar is not None:
                    bar.rows(start, len(rows))
                yield rows.batch(slice(start, start + size)).to(device)

    def blocks(self, rows: MultimodalDataset) -> Iterator[tuple[slice, MultimodalDataset]]:
        """(their places, rows in memory): all at once if they are there; else some at a time, with a progress bar."""
        if not rows.in_files:
            yield slice(None), rows
            return
        size = max(1, BLOCK // rows.values_per_row)
        with Bar(self.quiet) as bar:
            for part in chunks(range(len(rows)), size):
                bar.rows(part[0], len(rows))
                yield slice(part[0], part[-1] + 1), rows.rows(part).in_memory()


def generate(
    model: ModelFlags,
    *,
    count: int = 100,
    given: str | None = None,
    targets: str | None = None,
    data: str | None = None,
    decode: Literal["mean", "sample"] = "mean",
    prior: SamplerKind | None = None,
    covariate: str | None = None,
    out: Path | None = None,
) -> None:
    """Generate modalities from the prior, or from given modalities.

    This writes a file, and a .png that shows images and text below the given ones.
    .npz: <name> for each modality. Classes are probabilities (one-hot if drawn), with the most likely class in
    <name>.class. Text is sentences, with token ids in <name>.ids (the words are in the run's model.json). With --given,
    `row` holds the numbers of the rows that were conditioned on (`.row` if a modality is called row), and `.ids` their
    names.
    .csv, .tsv, .parquet: the columns of the modality, and the name of the most likely class.

    Args:
        count: Number of rows. With --given: largest number, taken from the first rows that have all given modalities.
        given: Comma-separated modalities to condition on. Default: none, which samples from the prior.
        targets: Comma-separated modalities to generate. Default: all.
        data: Rows to condition on, as `run` takes them. Default: the run's test rows.
        decode: The mean of the likelihood, or a draw from it.
        prior: Draw from a prior fitted by fit-prior, not from the model's own.
        covariate: Decode as if all rows had this level of the covariate (batch=B). Default: each row's own level.
        out: File to write. Default: generated.npz, or a table if --data is one.
    """
    if count < 1:
        raise InputError(f"--count is {count}; it must be at least 1")
    if data is not None and given is None:
        raise InputError("--data holds rows to condition on; name the modalities to condition on with --given")
    if prior is not None and given is not None:
        raise InputError("--prior is for samples from the prior; leave out --given")
    vae = model.load(prior, out)
    wanted = None if targets is None else listed(targets)
    level = _level(vae, covariate)
    made = [m for m in vae.modalities if wanted is None or m.name in wanted]
    out = out_like(out, "generated", data, made, (".npz", *writers.TABLES))
    torch.manual_seed(derive_seed(model.seed, "generate"))
    arrays: Arrays = {}
    conditioned = Rows()
    inputs: list[Row] = []
    note = ""
    if given is None:
        counts = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
        parts = [vae.generate(number, targets=wanted, decode=decode, level=level) for number in counts]
    else:
        names = listed(given)
        rows = model.rows(vae, data)
        used = _rows_to_use(rows, names, count)
        parts = [vae.generate(b, names, wanted, decode=decode, level=level) for b in model.batches(rows.rows(used))]
        inputs = _pictured(vae, _original(vae, rows.rows(used[:SHOWN]), names))
        place = "row" if "row" not in vae.names else ".row"  # no name of a modality holds a dot
        arrays[place] = torch.tensor(used)
        conditioned = Rows(None if rows.ids is None else rows.ids[used])
        if len(used) < count:
            note = f"{len(used)} of the {len(rows)} rows have {given}; the others are left out (see key {place!r})"
    values = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    arrays = _written(vae, values) | arrays
    writers.write(out, made, {name: np.asarray(value) for name, value in arrays.items()}, conditioned)
    drawn = _draw(out.with_suffix(".png"), [*inputs, *_pictured(vae, values)])
    if not model.quiet:
        say(" ".join(map(str, [out, *drawn])))
        say(", ".join(f"{name} {tuple(value.shape)}" for name, value in arrays.items()))
        if note:
            say(note)


def impute(
    model: ModelFlags,
    *,
    data: str,
    draws: int = DRAWS,
    covariate: str | None = None,
    out: Path | None = None,
) -> None:
    """Fill in missing modalities and single missing cells, in the units of the data.

    This writes a file in the format of the data. Complete rows are copied unchanged.
    .csv, .tsv, .parquet: the columns of the data. Beside OUT.csv, the tables OUT.low.csv and OUT.high.csv have
    the same columns (for classes and texts what was filled in), and OUT.sd.csv those of numbers.
    .h5ad, .h5mu: a copy, with layers["imputed"], "imputed_sd", "imputed_low" and "imputed_high".
    A folder (--out without an ending) has the same arrays as .npz, each in a .npy file. For data larger than memory
    this is the only form.
    .npz: <name> holds the observed values, or the mean of the draws where they are missing. <name>.sd is the standard
    deviation of the draws (0 for an observed cell), <name>.low and <name>.high are the ends of an 80 % interval, and
    <name>.mask is True in rows where the modality was observed. For classes, <name> holds probabilities (the truth if
    observed) and <name>.class the most likely class; they have no interval. For text, <name> holds sentences,
    <name>.ids their token ids, and <name>.draws the sentence of every draw (row, draw). The file can be read again as
    data; imputed values then count as missing.

    Intervals of real-valued tables and of their single cells are calibrated on the run's validation rows, those of
    tables for each pattern of given modalities; standard deviations are not. Without validation rows, intervals are the
    model's own. The record holds the coverage of whole tables on test rows (imputation/.../coverage).

    Args:
        data: The rows, as `run` takes them; a modality that they do not name is missing everywhere.
        draws: Draws per row.
        covariate: Impute as if missing values were measured at this level of the covariate (batch=B). Default: the
            row's own level.
        out: File or folder to write. It replaces files of the same names, except the data themselves. A folder must
            hold no other .npy files. Default: imputed, with the file ending of the data or .npz.
    """
    vae = model.load(out=out)
    level = _level(vae, covariate)
    came_in = model.parts(data, vae)
    rows, given = load_like(came_in, vae.modalities, covariate_of(vae)), like(came_in, vae.modalities)
    out = out_like(out, "imputed", data, vae.modalities, (writers.FOLDER,) if rows.in_files else writers.FORMATS)
    torch.manual_seed(derive_seed(model.seed, "impute"))
    calibration = load_calibration(model.folder) if model.is_scored else None
    fill = partial(impute_batch, vae, draws=draws, calibration=calibration, level=level)

    single: list[int] = []

    def filled_in(place: slice, block: MultimodalDataset) -> Arrays:
        single.extend(int(gaps.sum()) for gaps in _gaps(block))
        lacking, arrays, size = _lacking(block), {}, rows_at_once(vae, draws, CHUNK)
        parts = [fill(batch) for batch in model.batches(block.rows(lacking), size, is_shown=not rows.in_files)]
        for index, modality in enumerate(vae.modalities):
            name, seen = modality.name, block.present[:, index].numpy()
            filled = _imputed(modality, block.values[name], lacking, [part[name] for part in parts], draws)
            known = given.values[name][place] if name in given.values else None
            arrays |= _with_given(modality, filled, known, seen) | {f"{name}.mask": seen}
        return arrays

    made, about = (filled_in(*block) for block in model.blocks(rows)), rows_of(given, data)
    if out.suffix == writers.FOLDER:
        written, whole = [out], writers.features_of(vae.modalities) | writers.named(about)
        of_no_row = filled_in(slice(0), rows.rows(torch.arange(0)).in_memory())
        writers.check_folder(out, {*of_no_row, *whole})
        writers.write_parts(out, made, len(rows), whole)
    else:
        written = writers.write(out, vae.modalities, next(made), about)
    if not model.quiet:
        absent = int((~rows.present).sum())
        filled = f"{absent:,} missing modalities" + (f" and {sum(single):,} single values" if any(single) else "")
        say(f"{' '.join(map(str, written))}: {len(rows):,} rows, {filled} filled in from {draws} draws each")
        for line in _trust(vae.names, model.folder) if model.is_scored else ():
            say(line)
        if calibration is not None:
            say("low and high are calibrated on validation rows; sd is not: it is the spread of the model's own draws")
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
    """Fit a better prior to a finished run: a density of the codes of its training rows. The model is unchanged.

    Samples from the new prior lie where the model has learned to decode. `generate` and `evaluate` use it with --prior.

    Args:
        kind: gmm: a Gaussian mixture, with full covariances if there are enough rows; flow: a normalising flow;
            pruned: the model's own mixture (cmvae, or --prior gmm) without the clusters that its codes do not need.
        components: Components of the Gaussian mixture. Default: one for every 5 rows per dimension of the code, from 1
            to 20. With pruned: how many clusters to keep. Default: the number with the least penalised entropy.
        seed: Seed of the fit.
    """
    if components is not None and components < 1:
        raise InputError(f"--components is {components}; it must be at least 1")
    seeded(seed)
    changes = {} if threads is None else {"threads": threads}
    with Bar(quiet) as bar:
        fitted = finished.fit_prior(run, RunStore(store), kind, components, seed, say=bar.say, **changes)
    if not quiet:
        before, after = f"{fitted.before:,.1f} nats under the model's own prior", f"{fitted.after:,.1f} under {kind}"
        say(f"log density of held-out codes: {before}, {after}")
        if fitted.clusters is not None:
            say("{} of {} clusters are kept".format(*fitted.clusters))
        elif fitted.after <= fitted.before:
            say("it is no better than the model's prior; try " + ("fewer --components" if components else "more rows"))
            return
        plan = plan_of(RunStore(store).existing(run))
        names = ",".join(name for name in ("bound", "coherence", "frechet") if plan.lack(name) is None)
        place = [] if store == STORE else ["--store", str(store)]
        command = ["polyvae", "evaluate", run, "--prior", kind, "--metrics", names, *place]
        say(f"to see what it gains: {shlex.join(command)}")


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


def out_like(
    out: Path | None,
    stem: str,
    data: str | None,
    modalities: Sequence[Modality],
    formats: Sequence[str] = writers.FORMATS,
) -> Path:
    """--out, by default `stem` in the format of the data.

    Raises InputError if it cannot hold the modalities, or is a file of the data.
    """
    source = None if data is None else Path(data)
    path = Path(stem + writers.format_of(source, modalities, formats)) if out is None else out
    writers.check_format(path, modalities, source, formats)
    parts = [] if data is None else [Path(part) for part in listed(data)]
    if path.suffix:
        read = [part / path.name if part.is_dir() else part for part in parts]
    else:
        read = [part.parent if part.suffix == ".npy" else part for part in parts]
    if path.exists() and any(file.exists() and path.samefile(file) for file in read):
        raise InputError(f"--out {path} would replace a file of --data; name another place")
    return out_place(path)


def out_place(path: Path) -> Path:
    """--out: a file, or a folder, whose name has no ending. Raises InputError if it cannot be written."""
    return out_file(path) if path.suffix else out_folder(path)


def rows_of(parts: Parts, data: str) -> Rows:
    """The names of the rows of the data, for files made from them."""
    return Rows(parts.ids, parts.named_labels, parts.about, parts.headings, Path(data))


def _trust(names: Sequence[str], folder: Path) -> list[str]:
    """Lines about errors and intervals, from the record: doubts, then the verdict."""
    record = RunStore(folder.parent).record(folder.name)
    if record is None:
        return []
    doubts = [f"{filling.target}: {record.notes[filling.key()]}" for filling in keys.fillings(record.notes)]
    return [*doubts, *verdict({record.config.method: record.metrics}, names, seeds=1)]


def _rows_to_use(rows: MultimodalDataset, names: Sequence[str], count: int) -> list[int]:
    """The first `count` rows that have all of `names`."""
    if unknown := [name for name in names if name not in rows.names]:
        raise InputError(f"--given names {unknown[0]!r}; the model has {', '.join(rows.names)}")
    able = rows_with(rows, range(len(rows)), names)
    if not able:
        raise InputError(f"none of the {len(rows)} rows has {','.join(names)}; condition on fewer modalities")
    return able[:count]


def _draw(path: Path, rows: Sequence[Row]) -> list[object]:
    """Draws generated rows, if they can be shown; returns the file, or the reason why it could not be drawn."""
    if not rows:
        return []
    try:
        write_page(path, [[row] for row in rows])
    except Exception as reason:  # noqa: BLE001 whatever went wrong, the values are written
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
    """<name>.class for modalities of classes: the index of the most likely class."""
    return {f"{m.name}.class": values[m.name].argmax(-1) for m in model.modalities if m.is_classes and m.name in values}


def _lacking(rows: MultimodalDataset) -> Tensor:
    """The rows that lack a modality or a single value: Int64."""
    whole = rows.present.all(1)
    for gaps in _gaps(rows):
        whole &= ~gaps.any(1)
    return (~whole).nonzero().squeeze(1)


def _gaps(rows: MultimodalDataset) -> Iterator[Tensor]:
    """Of each modality that has gaps, the single values that rows lack: Bool (row, value)."""
    for modality, seen in zip(rows.modalities, rows.present.T, strict=True):
        if modality.has_gaps:
            yield seen[:, None] & rows.values[modality.name].isnan().flatten(1)


def _imputed(
    modality: Modality, stored: Tensor, lacking: Tensor, parts: Sequence[Imputed | ImputedText], draws: int
) -> Arrays:
    """The arrays of one modality. stored: its values as the data set holds them, which rows keep that are not among
    `lacking`, the rows that `parts` are the chunks of."""
    name, words = modality.name, modality.vocabulary
    if words is None:
        observed = stored.float() / 255 if stored.dtype == torch.uint8 else stored
        fields = [observed, torch.zeros_like(observed), observed, observed]
        mean, sd, low, high = (_placed(field, lacking, parts, place, 0) for place, field in enumerate(fields))
        if modality.is_classes:
            return {name: mean, f"{name}.class": mean.argmax(-1)}
        return {name: mean, f"{name}.sd": sd, f"{name}.low": low, f"{name}.high": high}
    ids = _placed(stored.long(), lacking, parts, 0, 0)
    drawn = _placed(stored.long().expand(draws, -1, -1), lacking, parts, 1, 1)
    by_row = np.array([words.decode(row) for row in drawn.unbind(1)])
    return {name: np.array(words.decode(ids)), f"{name}.ids": ids, f"{name}.draws": by_row}


def _placed(observed: Tensor, lacking: Tensor, parts: Sequence[Sequence[Tensor]], field: int, axis: int) -> Tensor:
    """`observed`, but a field of the parts in the rows `lacking` of the axis."""
    if not parts:
        return observed
    return observed.clone().index_copy_(axis, lacking, torch.cat([part[field].cpu() for part in parts], axis))


def _with_given(modality: Modality, filled: Arrays, given: np.ndarray | None, seen: np.ndarray) -> Arrays:
    """The arrays of a modality, with observed values unchanged."""
    name = modality.name
    if given is None or modality.is_classes or (modality.vocabulary and given.dtype.kind != "U"):
        return filled
    if modality.vocabulary:
        draws = np.where(seen[:, None], given[:, None], filled[f"{name}.draws"])
        return filled | {name: with_given(filled[name], given, seen), f"{name}.draws": draws}
    in_units = {key: with_given(np.asarray(filled[key]), given, seen) for key in (name, f"{name}.low", f"{name}.high")}
    scale = 255 if in_units[name].dtype == np.uint8 else 1
    return filled | in_units | {f"{name}.sd": np.asarray(filled[f"{name}.sd"]) * scale}
