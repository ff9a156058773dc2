"""One pass over a model for every metric that looks through a judge or another extractor.

Each batch is encoded once, each latent decoded once, each value read once. What is read is kept small: labels and
moments for conditional samples; features as they are only for real data and prior samples.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polyvae import files
from polyvae.dataset import MultimodalDataset, chunks
from polyvae.judges.extractors import Extractor
from polyvae.keys import all_but
from polyvae.metrics.moments import Moments, RunningMoments, pooled
from polyvae.metrics.protocol import (
    MOST_FOR_ALL_SUBSETS,
    Draws,
    Subset,
    check_names,
    conditional_means,
    has_all,
    members,
    readable,
    scoring,
    unconditional_means,
    wanted_members,
)
from polyvae.models.contract import Model

Pair = tuple[Subset, str]  # (given, target)


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
    """real: modality -> test values of the rows that have it; prior: modality -> as many prior samples as rows.

    rows: the test rows measured on. labels: (member of a posterior, target) -> Int (row,), -1 where nothing was drawn.
    moments: (given, target) -> moments of what is drawn given `given`, members of a mixture pooled by weight; only
    pairs that at least 2 rows allow.
    """

    rows: list[int]
    real: dict[str, Read]
    prior: dict[str, Read]
    labels: dict[Pair, np.ndarray] = field(default_factory=dict)
    moments: dict[Pair, Moments] = field(default_factory=dict)


def read_model(
    model: Model,
    data: MultimodalDataset,
    extractor: Extractor,
    *,
    label_pairs: Sequence[Pair] = (),
    moment_pairs: Sequence[Pair] = (),
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch_size: int = 500,
    spread: float = 1.0,
    cache: Path | None = None,
) -> Readings:
    """Reads real data, prior samples and conditional samples, one latent draw per row, of all that can be read.

    label_pairs, moment_pairs: the (given, target) pairs whose labels, or moments of features, are kept.
    rows: test rows to condition on (default all); as many prior samples are drawn. spread: 0 for latent means.
    cache: a folder for what is read in real data.
    Raises InputError unless model and data fit together, NotDefined where the extractor reads nothing of them.
    """
    kept, names = check_names(model, data, rows), readable(model, extractor)
    with scoring(model):
        real = read_data(data, names, kept, extractor, batch_size, cache)
        prior = _prior(model, names, len(kept), extractor, Draws(seed, "prior", batch_size))
        labels, pooled_moments = _conditional(
            model, data, extractor, label_pairs, moment_pairs, kept, Draws(seed, "conditional", batch_size, spread)
        )
    return Readings(kept, real, prior, labels, pooled_moments)


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
        batch = data.batch(list(ids))
        for name, reads in parts.items():
            seen = has_all(data, batch.present, (name,))
            reads.append(_read(extractor, name, np.array(ids)[seen.cpu().numpy()], batch.values[name][seen]))
    return {name: _joined(reads) for name, reads in parts.items()}


def all_pairs(names: Subset, targets: Subset) -> list[Pair]:
    """Targets outside `given` for every `given` of up to 5 modalities; with more, as `few_pairs`."""
    return _pairs(names, targets, range(1, len(names)) if len(names) <= MOST_FOR_ALL_SUBSETS else (1, len(names) - 1))


def few_pairs(names: Subset, targets: Subset) -> list[Pair]:
    """Single modalities (of up to 5), and all but the target."""
    sizes = (1,) * (len(names) <= MOST_FOR_ALL_SUBSETS) + (len(names) - 1,)
    return list(dict.fromkeys(pair for pair in _pairs(names, targets, sizes) if pair[0]))


def _pairs(names: Subset, targets: Subset, sizes: Iterable[int]) -> list[Pair]:
    return [(given, t) for size in sizes for given in combinations(names, size) for t in targets if t not in given]


def one_out_pairs(names: Subset, targets: Subset) -> list[Pair]:
    """All but the target."""
    return [(all_but(target, names), target) for target in targets] if len(names) > 1 else []


def _prior(model: Model, names: Subset, count: int, extractor: Extractor, draws: Draws) -> dict[str, Read]:
    parts: dict[str, list[Read]] = {name: [] for name in names}
    for ids, means in unconditional_means(model, names, count, draws):
        for name, values in means.items():
            parts[name].append(_read(extractor, name, np.array(ids), values))
    return {name: _joined(reads) for name, reads in parts.items()}


def _conditional(
    model: Model,
    data: MultimodalDataset,
    extractor: Extractor,
    label_pairs: Sequence[Pair],
    moment_pairs: Sequence[Pair],
    rows: Sequence[int],
    draws: Draws,
) -> tuple[dict[Pair, np.ndarray], dict[Pair, Moments]]:
    wanted = wanted_members(model, [*label_pairs, *moment_pairs])
    place = {row: index for index, row in enumerate(rows)}
    present = data.present[rows]
    allowed = {given: has_all(data, present, given).cpu().numpy() for given, _ in moment_pairs}
    labels = {pair: np.full(len(rows), -1) for pair in wanted_pairs(model, label_pairs)}
    # A member of several posteriors counts, in each of them, the rows which that posterior is defined for.
    running = {(given, t, m): RunningMoments() for given, t in moment_pairs for m, _ in members(model, given)}
    users: dict[Pair, list[Subset]] = {}
    for given, target, member in running:
        users.setdefault((member, target), []).append(given)
    for drawn in conditional_means(model, data, wanted, rows, draws):
        read = _read(extractor, drawn.target, np.array([place[row] for row in drawn.rows]), drawn.values)
        pair = (drawn.given, drawn.target)
        if pair in labels:
            labels[pair][read.rows] = read.label
        for given in users.get(pair, []):
            running[given, drawn.target, drawn.given].add(read.features[allowed[given][read.rows]])
    pairs = [(given, target) for given, target in moment_pairs if allowed[given].sum() >= 2]
    return labels, {
        (given, t): pooled([(running[given, t, m].result(), w) for m, w in members(model, given)]) for given, t in pairs
    }


def wanted_pairs(model: Model, pairs: Sequence[Pair]) -> list[Pair]:
    """The (member, target) pairs that must be drawn to score all (given, target) pairs."""
    wanted: Mapping[Subset, Subset] = wanted_members(model, pairs)
    return [(member, target) for member, targets in wanted.items() for target in targets]


def _read(extractor: Extractor, name: str, rows: np.ndarray, values: Tensor) -> Read:
    features, probabilities = extractor.read(name, values)
    if probabilities is None:
        return Read(rows, _array(features), np.empty(0, np.int64), np.empty(0))
    confidence, label = probabilities.max(-1)
    return Read(rows, _array(features), _array(label), _array(confidence))


def _joined(reads: Sequence[Read]) -> Read:
    return Read(*(np.concatenate(fields) for fields in zip(*reads, strict=True)))


def _array(values: Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.float32 if values.is_floating_point() else None).numpy()
