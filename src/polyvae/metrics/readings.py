"""One pass over a model for every metric that looks through a judge or another extractor.

Each batch is encoded once, each latent decoded once, each value read once. What is read is kept small: labels and
moments for conditional samples; features as they are only for real data and prior samples.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
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
from polyvae.metrics.protocol import Options, Trial, has_all, measuring, readable
from polyvae.models.contract import Model


class Read(NamedTuple):
    """What was read in values of one modality.

    rows: Int (row,), the test rows or sample numbers. features: float32 (row, dimension). label, confidence: (row,),
    the most probable class (its place among the judge's classes) and its probability; empty without a judge.
    """

    rows: np.ndarray
    features: np.ndarray
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
        prior: dict[str, list[Read]] = {name: [] for name in names}
        for ids, means in trial.prior_means("prior", names):
            for name, values in means.items():
                prior[name].append(_read(extractor, name, np.array(ids), values))
        labels, moments = _conditional(trial, extractor, label_pairs, moment_pairs, spread)
    return Readings(trial, extractor, real, _joined(prior), labels, moments)


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
    content = [Read._fields, extractor.name, extractor.weights_sha256, data.fingerprint, chosen, list(rows)]
    path = cache / "readings" / f"{hashlib.sha256(json.dumps(content).encode()).hexdigest()}.safetensors"
    if path.is_file():
        tensors, _ = files.read_tensors(path)
        return {name: Read(*(tensors[f"{name}.{part}"].numpy() for part in Read._fields)) for name in chosen}
    reads = _read_data(data, chosen, rows, extractor, batch_size)
    files.write_tensors(
        path,
        {f"{n}.{part}": torch.from_numpy(value) for n, read in reads.items() for part, value in read._asdict().items()},
    )
    return reads


def _read_data(
    data: MultimodalDataset, names: Subset, rows: Sequence[int], extractor: Extractor, batch_size: int
) -> dict[str, Read]:
    parts: dict[str, list[Read]] = {name: [] for name in names}
    for ids in chunks(rows, batch_size):
        batch = data.batch(ids)
        for name, reads in parts.items():
            seen = has_all(data, batch.present, (name,))
            reads.append(_read(extractor, name, np.array(ids)[seen.cpu().numpy()], batch.values[name][seen]))
    return _joined(parts)


def _conditional(
    trial: Trial[Model], extractor: Extractor, label_pairs: Sequence[Pair], moment_pairs: Sequence[Pair], spread: float
) -> tuple[dict[Pair, np.ndarray], dict[Pair, Moments]]:
    model, rows = trial.model, trial.rows
    place = {row: index for index, row in enumerate(rows)}
    present = trial.data.present[rows]
    allowed = {given: has_all(trial.data, present, given).cpu().numpy() for given, _ in moment_pairs}
    labels = {(m, t): np.full(len(rows), -1) for m, ts in wanted_members(model, label_pairs).items() for t in ts}
    # A member of several posteriors counts, in each of them, the rows which that posterior is defined for.
    running = {(given, t, m): RunningMoments() for given, t in moment_pairs for m, _ in members(model, given)}
    wanted = wanted_members(model, [*label_pairs, *moment_pairs])
    for member, target, drawn_rows, values in trial.conditional_means("conditional", wanted, spread=spread):
        read = _read(extractor, target, np.array([place[row] for row in drawn_rows]), values)
        if (member, target) in labels:
            labels[member, target][read.rows] = read.label
        for given, is_allowed in allowed.items():
            if (given, target, member) in running:
                running[given, target, member].add(read.features[is_allowed[read.rows]])
    pairs = [(given, target) for given, target in moment_pairs if allowed[given].sum() >= 2]
    return labels, {
        (given, t): pooled([(running[given, t, m].result(), w) for m, w in members(model, given)]) for given, t in pairs
    }


def _read(extractor: Extractor, name: str, rows: np.ndarray, values: Tensor) -> Read:
    features, probabilities = extractor.read(name, values)
    if probabilities is None:
        return Read(rows, _array(features), np.empty(0, np.int64), np.empty(0))
    confidence, label = probabilities.max(-1)
    return Read(rows, _array(features), _array(label), _array(confidence))


def _joined(parts: Mapping[str, Sequence[Read]]) -> dict[str, Read]:
    return {
        name: Read(*(np.concatenate(fields) for fields in zip(*reads, strict=True))) for name, reads in parts.items()
    }


def _array(values: Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.float32 if values.is_floating_point() else None).numpy()
