"""One pass over a model for every metric that looks through a judge or another extractor.

Each batch is encoded once, each latent decoded once, each value read once. What is read is kept small: labels and
moments for conditional samples; features as they are only for real data and prior samples.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor

from polyvae import files
from polyvae.dataset import MultimodalDataset, chunks
from polyvae.judges.extractors import Extractor
from polyvae.metrics.moments import Moments, RunningMoments, pooled
from polyvae.metrics.pairs import Pair, Subset, members, wanted_members
from polyvae.metrics.protocol import Options, Trial, measuring, readable, rows_with
from polyvae.models.contract import Model


class Read(NamedTuple):
    """What was read in values of one modality.

    rows: Int (row,), the test rows or sample numbers. features: float32 (row, dimension), on the device where they were
    read. label, confidence: (row,), the most probable class (its place among the judge's classes) and its probability;
    empty without a judge.
    """

    rows: np.ndarray
    features: Tensor
    label: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True, eq=False)
class Readings:
    """What `extractor` reads on the rows of `trial`.

    real: modality -> test values of the rows that have it; prior: modality -> as many prior samples as rows.
    labels: (member of a posterior, target) -> Int (row,), -1 where nothing was drawn.
    moments: (given, target) -> moments of what is drawn given `given`, members of a mixture pooled by weight; only
    pairs that at least 2 rows allow.
    """

    trial: Trial[Model]
    extractor: Extractor
    real: dict[str, Read]
    prior: dict[str, Read]
    labels: dict[Pair, np.ndarray]
    moments: dict[Pair, Moments]


def read_model(
    model: Model,
    data: MultimodalDataset,
    extractor: Extractor,
    *,
    label_pairs: Sequence[Pair] = (),
    moment_pairs: Sequence[Pair] = (),
    spread: float = 1.0,
    cache: Path | None = None,
    **options: Unpack[Options],
) -> Readings:
    """Reads real data, prior samples and conditional samples, one latent draw per row, of all that can be read.

    label_pairs, moment_pairs: the (given, target) pairs whose labels, or moments of features, are kept.
    spread: 0 for latent means. cache: a folder for what is read in real data.
    Raises InputError unless model and data fit together, NotDefined where the extractor reads nothing of them.
    """
    with measuring(model, data, **options) as trial:
        names = readable(model, extractor)
        real = read_data(data, names, trial.rows, extractor, trial.batch_size, cache)
        prior: dict[str, list[_Look]] = {name: [] for name in names}
        for _, means in trial.prior_means("prior", names):
            for name, values in means.items():
                prior[name].append(_look(extractor, name, values))
        labels, moments = _conditional(trial, extractor, label_pairs, moment_pairs, spread)
    samples = {name: _joined(range(len(trial.rows)), looks) for name, looks in prior.items()}
    return Readings(trial, extractor, real, samples, labels, moments)


def read_data(
    data: MultimodalDataset,
    names: Iterable[str],
    rows: Sequence[int],
    extractor: Extractor,
    batch_size: int,
    cache: Path | None = None,
) -> dict[str, Read]:
    """Modality -> what is read in its real values, over the rows that have it; kept in `cache`, if there is one."""
    chosen = tuple(names)
    if cache is None:
        return _read_data(data, chosen, rows, extractor, batch_size)
    device = data.present.device
    content = [Read._fields, extractor.name, extractor.weights_sha256, data.rows(rows).fingerprint, chosen, list(rows)]
    content += [] if device.type == "cpu" else [device.type]  # another device rounds differently
    path = cache / "readings" / f"{hashlib.sha256(json.dumps(content).encode()).hexdigest()}.safetensors"
    if path.is_file():
        tensors, _ = files.read_tensors(path)
        fields = {name: {part: tensors[f"{name}.{part}"] for part in Read._fields} for name in chosen}
        return {
            name: Read(f["rows"].numpy(), f["features"].to(device), f["label"].numpy(), f["confidence"].numpy())
            for name, f in fields.items()
        }
    reads = _read_data(data, chosen, rows, extractor, batch_size)
    fields = {name: read._asdict() for name, read in reads.items()}
    tensors = {f"{name}.{part}": torch.as_tensor(v).cpu() for name, each in fields.items() for part, v in each.items()}
    files.write_tensors(path, tensors)
    return reads


def _read_data(
    data: MultimodalDataset, names: Subset, rows: Sequence[int], extractor: Extractor, batch_size: int
) -> dict[str, Read]:
    looks: dict[str, list[_Look]] = {name: [] for name in names}
    seen = {name: rows_with(data, rows, (name,)) for name in names}
    for ids in chunks(rows, batch_size):
        values = data.batch(ids).values
        for name, of_name in looks.items():
            able = rows_with(data, ids, (name,))
            value = values[name] if len(able) == len(ids) else data.batch(able).values[name]
            of_name.append(_look(extractor, name, value))
    return {name: _joined(seen[name], of_name) for name, of_name in looks.items()}


def _conditional(
    trial: Trial[Model], extractor: Extractor, label_pairs: Sequence[Pair], moment_pairs: Sequence[Pair], spread: float
) -> tuple[dict[Pair, np.ndarray], dict[Pair, Moments]]:
    model, rows = trial.model, trial.rows
    allowed = {given: set(rows_with(trial.data, rows, given)) for given, _ in moment_pairs}
    read: dict[Pair, list[Tensor]] = {
        (m, t): [] for m, ts in wanted_members(model, label_pairs).items() for t in ts
    }  # labels, row after row
    # A member of several posteriors counts, in each of them, the rows for which that posterior is defined.
    running = {(given, t, m): RunningMoments() for given, t in moment_pairs for m, _ in members(model, given)}
    wanted = wanted_members(model, [*label_pairs, *moment_pairs])
    for member, target, drawn_rows, values in trial.conditional_means("conditional", wanted, spread=spread):
        look = _look(extractor, target, values)
        if (member, target) in read:
            read[member, target].append(look.label)
        for given, able in allowed.items():
            if (given, target, member) in running:
                whole = able.issuperset(drawn_rows)
                counted = slice(None) if whole else [i for i, row in enumerate(drawn_rows) if row in able]
                running[given, target, member].add(look.features[counted])
    pairs = [(given, target) for given, target in moment_pairs if len(allowed[given]) >= 2]
    labels = {pair: np.full(len(rows), -1) for pair in read}
    for (member, target), parts in read.items():
        if parts:
            places = np.searchsorted(rows, rows_with(trial.data, rows, member))
            labels[member, target][places] = torch.cat(parts).cpu().numpy()
    return labels, {
        (given, t): pooled([(running[given, t, m].result(), w) for m, w in members(model, given)]) for given, t in pairs
    }


class _Look(NamedTuple):
    """What an extractor says about a batch of values, on their device; fields as in `Read`."""

    features: Tensor
    label: Tensor
    confidence: Tensor


def _look(extractor: Extractor, name: str, values: Tensor) -> _Look:
    features, probabilities = extractor.read(name, values)
    if probabilities is None:
        return _Look(features.float(), torch.empty(0, dtype=torch.int64), torch.empty(0))
    confidence, label = probabilities.max(-1)
    return _Look(features.float(), label, confidence)


def _joined(rows: Sequence[int], looks: Sequence[_Look]) -> Read:
    features, label, confidence = (torch.cat(fields) for fields in zip(*looks, strict=True))
    return Read(np.array(rows, np.int64), features, label.cpu().numpy(), confidence.float().cpu().numpy())
