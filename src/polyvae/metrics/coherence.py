"""Coherence: whether generated modalities agree with each other, and with what they were generated from.

A judge reads the digit of every image (Shi et al. 2019; Sutter et al. 2021). Latents are drawn; an image is the mean of
its likelihood as 8 bits.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.metrics.extractors import Judge
from polyvae.metrics.protocol import (
    MOST_FOR_ALL_SUBSETS,
    GenerativeModel,
    Subset,
    check_rows,
    chunks,
    conditional_images,
    has_all,
    image_names,
    leave_one_out,
    members,
    scoring,
    unconditional_images,
    wanted_members,
)

CLASSES = 10
RESAMPLES = 1000


def coherence(
    model: GenerativeModel,
    data: MultimodalDataset,
    judge: Judge,
    *,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch_size: int = 500,
) -> dict[str, float]:
    """Shares in [0, 1] of generated images whose digit is right, and what to compare them with.

    rows: test rows to condition on (default all); as many prior samples are drawn.
    Returns coherence/ +
    joint: prior samples on whose digit all modalities agree; chance is 10^-(M - 1). joint_kappa: Fleiss' kappa of the
    readings. joint_entropy: of the digits read, in nats (log 10 when all are equally frequent).
    conditional/<given>/<target>: targets outside `given`, for every `given` of up to 5 modalities; with more, only
    single modalities and all but the target. by_inputs/<k>: their mean at k given modalities.
    leave_one_out: the mean over targets, all others given. self/<modality>: reconstructions from itself alone.
    ceiling/<modality>: the judge on the real images. joint_confidence, real_confidence: mean top probability.
    joint and leave_one_out have <key>_low and <key>_high, a 95 % interval by bootstrap over rows.
    A row counts where it has all of `given`; what no row allows is left out, and with one image modality so is what
    compares modalities. Posterior mixtures are scored exactly: each member once, combined with its weight.
    Raises InputError when the data have no labels.
    """
    kept = check_rows(model, data, rows)
    if data.labels is None:
        raise InputError(f"coherence needs labels, and data set {data.name!r} has none; leave the metric out")
    with scoring(model):
        found = _real(data, image_names(model), kept, judge, batch_size)
        found |= _joint(model, len(kept), judge, seed, batch_size)
        found |= _conditional(model, data, kept, judge, seed, batch_size)
    return {f"coherence/{key}": value for key, value in found.items()}


def fleiss_kappa(votes: np.ndarray) -> float:
    """Agreement beyond chance of several raters (Fleiss 1971). votes: Int (row, rater), classes from 0.

    1 is full agreement; 0 is what the raters' class frequencies give by chance, also when all votes are one class.
    """
    raters = votes.shape[1]
    counts = (votes[:, :, None] == np.arange(votes.max() + 1)).sum(1)  # (row, class)
    observed = ((counts**2).sum(-1) - raters).mean() / (raters * (raters - 1))
    by_chance = ((counts.sum(0) / votes.size) ** 2).sum()
    return 0.0 if by_chance == 1 else float((observed - by_chance) / (1 - by_chance))


def interval(scores: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap over rows of the mean of column means. scores: (row, column), NaN where not scored."""
    rng = np.random.default_rng(seed)
    seen = ~np.isnan(scores)
    filled = np.where(seen, scores, 0.0)
    means = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(0, len(scores), len(scores)), minlength=len(scores))
        counted = times @ seen
        means.append(((times @ filled)[counted > 0] / counted[counted > 0]).mean())
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _real(
    data: MultimodalDataset, images: Subset, rows: Sequence[int], judge: Judge, batch_size: int
) -> dict[str, float]:
    right: dict[str, list[float]] = {name: [] for name in images}
    sure: list[float] = []
    for ids in chunks(rows, batch_size):
        batch = data.batch(list(ids))
        for name in images:
            seen = has_all(data, batch.present, (name,))
            digit, confidence = _verdict(judge, batch.values[name][seen])
            right[name] += (digit == _labels(data, ids)[seen.cpu().numpy()]).tolist()
            sure += confidence.tolist()
    ceilings = {f"ceiling/{name}": float(np.mean(hits)) for name, hits in right.items() if hits}
    return ceilings | {"real_confidence": float(np.mean(sure))}


def _joint(model: GenerativeModel, count: int, judge: Judge, seed: int, batch_size: int) -> dict[str, float]:
    names = image_names(model)
    votes = np.zeros((count, len(names)), dtype=np.int64)
    sure = np.zeros((count, len(names)))
    for ids, images in unconditional_images(model, count, batch_size, (seed, "coherence/joint")):
        for column, name in enumerate(names):
            votes[list(ids), column], sure[list(ids), column] = _verdict(judge, images[name])
    shares = np.bincount(votes.ravel(), minlength=CLASSES) / votes.size
    shares = shares[shares > 0]
    found = {"joint_entropy": float(-(shares * np.log(shares)).sum()), "joint_confidence": float(sure.mean())}
    if len(names) == 1:
        return found
    agree = (votes == votes[:, :1]).all(-1)
    low, high = interval(agree[:, None].astype(float), seed)
    joint = {"joint": float(agree.mean()), "joint_low": low, "joint_high": high}
    return joint | {"joint_kappa": fleiss_kappa(votes)} | found


def _conditional(
    model: GenerativeModel, data: MultimodalDataset, rows: Sequence[int], judge: Judge, seed: int, batch_size: int
) -> dict[str, float]:
    names, images = model.names, image_names(model)
    pairs = _pairs(names, images)
    selves = [((name,), name) for name in images]
    hits = _hits(model, data, wanted_members(model, pairs + selves), rows, judge, seed, batch_size)

    def scores(given: Subset, target: str) -> np.ndarray:
        mixed = sum((w * hits[m, target] for m, w in members(model, given)), np.zeros(len(rows)))
        return np.where(has_all(data, data.present[rows], given).cpu().numpy(), mixed, np.nan)

    found = {f"self/{name}": _mean(scores(given, name)) for given, name in selves}
    by_inputs: dict[int, list[float]] = {}
    for given, target in pairs:
        found[f"conditional/{'+'.join(given)}/{target}"] = mean = _mean(scores(given, target))
        by_inputs.setdefault(len(given), []).append(mean)
    for count, means in by_inputs.items():
        found[f"by_inputs/{count}"] = _mean(np.array(means))
    if len(names) > 1:
        table = np.stack([scores(leave_one_out(names, target), target) for target in images], -1)
        table = table[:, ~np.isnan(table).all(0)]
        if table.size:
            low, high = interval(table, seed)
            found |= {"leave_one_out": float(np.nanmean(table, 0).mean())}
            found |= {"leave_one_out_low": low, "leave_one_out_high": high}
    return {key: value for key, value in found.items() if not np.isnan(value)}


def _pairs(names: Subset, images: Subset) -> list[tuple[Subset, str]]:
    many = len(names)
    sizes = range(1, many) if many <= MOST_FOR_ALL_SUBSETS else (1, many - 1)
    return [(given, t) for size in sizes for given in combinations(names, size) for t in images if t not in given]


def _hits(
    model: GenerativeModel,
    data: MultimodalDataset,
    wanted: dict[Subset, Subset],
    rows: Sequence[int],
    judge: Judge,
    seed: int,
    batch_size: int,
) -> dict[tuple[Subset, str], np.ndarray]:
    """(member, target) -> (row,): 1 where the judge reads the row's label, 0 where not, NaN where not generated."""
    place = {row: index for index, row in enumerate(rows)}
    hits = {(member, t): np.full(len(rows), np.nan) for member, targets in wanted.items() for t in targets}
    for drawn in conditional_images(model, data, wanted, rows, batch_size, (seed, "coherence/conditional")):
        digit, _ = _verdict(judge, drawn.images)
        right = digit == _labels(data, drawn.rows)
        hits[drawn.given, drawn.target][[place[row] for row in drawn.rows]] = right
    return hits


def _verdict(judge: Judge, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(digit, probability the judge gives it), each (row,)."""
    confidence, digit = judge.classify(images).max(-1)
    return digit.cpu().numpy(), confidence.cpu().numpy()


def _labels(data: MultimodalDataset, rows: Sequence[int]) -> np.ndarray:
    labels = data.labels if data.labels is not None else torch.empty(0)
    return labels[list(rows)].cpu().numpy()


def _mean(values: np.ndarray) -> float:
    """The mean of what was scored, NaN if nothing was."""
    seen = values[~np.isnan(values)]
    return float(seen.mean()) if len(seen) else float("nan")
