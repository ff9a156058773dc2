"""Coherence: whether generated modalities agree with each other, and with what they were generated from.

A judge reads the class of every value that it can look at (Shi et al. 2019; Sutter et al. 2021). Latents are drawn; a
value is the mean of its likelihood, of images as 8 bits.
"""

import math
from collections.abc import Mapping
from typing import Unpack

import numpy as np

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.judges.extractors import Judge
from polyvae.keys import CHANCE, JOINT_COHERENCE, KAPPA, joined
from polyvae.metrics.bootstrap import interval_of_mean, with_interval
from polyvae.metrics.pairs import Pair, all_pairs, members, one_out_pairs, self_pairs
from polyvae.metrics.protocol import Options, has_all, readable
from polyvae.metrics.readings import Readings, read_model
from polyvae.models.contract import Model

LEAST_ENTROPY = 0.5  # of log C: about three of ten classes


def coherence(
    model: Model, data: MultimodalDataset, judge: Judge, *, from_means: bool = False, **options: Unpack[Options]
) -> dict[str, float]:
    """Shares in [0, 1] of generated values whose class is right, and what to compare them with; C classes.

    Of the modalities that the judge reads; the others are given, but no targets.
    As many prior samples are drawn as there are test rows to condition on. from_means: condition on the mean of each
    posterior (of each member of a mixture) instead of a draw.
    Returns coherence/ +
    joint: prior samples on whose class all M modalities agree; joint_chance: C^-(M - 1). joint_kappa: Fleiss' kappa of
    the readings. joint_entropy: of the classes read, in nats (log C when all are equally frequent).
    conditional/<given>/<target>: targets outside `given`, for every `given` of up to 5 modalities; with more, only
    single modalities and all but the target. by_inputs/<k>: their mean at k given modalities. chance: 1 / C.
    leave_one_out: the mean over targets, all others given. self/<modality>: reconstructions from itself alone.
    ceiling/<modality>: the judge on real values. joint_confidence, real_confidence: mean top probability.
    joint and leave_one_out have <key>_low and <key>_high, a 95 % interval by bootstrap over rows.
    A row counts where it has all of `given`; what no row allows is left out, and with one readable modality so is
    what compares modalities. Posterior mixtures are scored exactly: each member once, combined with its weight.
    Raises InputError when the data have no labels, or only one class.
    """
    check_labels(data, "coherence")
    pairs = coherence_pairs(model, judge)
    spread = 0.0 if from_means else 1.0
    return coherence_of(read_model(model, data, judge, label_pairs=pairs, spread=spread, **options), judge)


def coherence_pairs(model: Model, judge: Judge) -> list[Pair]:
    """What must be read: all targets outside `given`, and every modality from itself."""
    targets = readable(model, judge)
    return all_pairs(model.names, targets) + self_pairs(targets)


def coherence_of(readings: Readings, judge: Judge) -> dict[str, float]:
    """The values of `coherence`, from readings that hold the labels of `coherence_pairs`."""
    classes, truth = len(judge.classes), true_classes(readings.trial.data, judge)
    values = _real(truth, readings) | _joint(readings, classes) | _conditional(readings, truth)
    values |= {"chance": 1 / classes} if len(readings.trial.model.names) > 1 else {}
    return {f"coherence/{key}": value for key, value in values.items() if not np.isnan(value)}


def true_classes(data: MultimodalDataset, judge: Judge) -> np.ndarray:
    """The place of each row's label among the judge's classes, (row,); -1 for a label that it does not know.

    Raises InputError when the data have no labels, or only one class.
    """
    places = {label: place for place, label in enumerate(judge.classes)}
    return np.array([places.get(label, -1) for label in check_labels(data, "coherence").tolist()])


def check_labels(data: MultimodalDataset, metric: str) -> np.ndarray:
    """The labels of all rows. Raises InputError naming `metric` if there are none, or one class only."""
    if data.labels is None:
        raise InputError(f"{metric} needs labels, and data set {data.name!r} has none; leave the metric out")
    labels = data.labels.cpu().numpy()
    if len(np.unique(labels)) < 2:
        raise InputError(f"{metric} needs at least two classes, and all of {data.name!r} is of class {labels[0]}")
    return labels


def warnings(scores: Mapping[str, float]) -> dict[str, str]:
    """Key -> why not to trust it. Joint coherence is high, too, when the judge sees one class in all blank pictures."""
    if JOINT_COHERENCE not in scores or "coherence/joint_entropy" not in scores:
        return {}
    joint, kappa = scores[JOINT_COHERENCE], scores[KAPPA]
    entropy, most = scores["coherence/joint_entropy"], -math.log(scores[CHANCE])
    sure, real = scores["coherence/joint_confidence"], scores["coherence/real_confidence"]
    is_by_frequencies = joint > 0.5 and kappa < 0.5 * joint  # most agreement is what the class frequencies give
    if not is_by_frequencies and entropy > LEAST_ENTROPY * most:
        return {}
    return {
        JOINT_COHERENCE: f"not to be trusted: prior samples look collapsed (kappa {kappa:.2f}, entropy of the "
        f"classes {entropy:.2f} of {most:.2f} nats, the judge's confidence {sure:.2f} against {real:.2f} on real data)"
    }


def fleiss_kappa(votes: np.ndarray) -> float:
    """Agreement beyond chance of several raters (Fleiss 1971). votes: Int (row, rater), classes from 0.

    1 is full agreement; 0 is what the raters' class frequencies give by chance, also when all votes are one class.
    """
    raters = votes.shape[1]
    counts = (votes[:, :, None] == np.arange(votes.max() + 1)).sum(1)  # (row, class)
    observed = ((counts**2).sum(-1) - raters).mean() / (raters * (raters - 1))
    by_chance = ((counts.sum(0) / votes.size) ** 2).sum()
    return 0.0 if by_chance == 1 else float((observed - by_chance) / (1 - by_chance))


def _real(truth: np.ndarray, readings: Readings) -> dict[str, float]:
    values = {f"ceiling/{n}": _mean((r.label == truth[r.rows]).astype(float)) for n, r in readings.real.items()}
    return values | {"real_confidence": _mean(np.concatenate([read.confidence for read in readings.real.values()]))}


def _joint(readings: Readings, classes: int) -> dict[str, float]:
    votes = np.stack([read.label for read in readings.prior.values()], -1)
    shares = np.bincount(votes.ravel(), minlength=classes) / votes.size
    shares = shares[shares > 0]
    sure = np.concatenate([read.confidence for read in readings.prior.values()])
    spread = {"joint_entropy": float(-(shares * np.log(shares)).sum()), "joint_confidence": float(sure.mean())}
    modalities = votes.shape[1]
    if modalities == 1:
        return spread
    agree = (votes == votes[:, :1]).all(-1)
    ends = interval_of_mean(agree[:, None].astype(float), readings.trial.seed)
    joint = with_interval("joint", float(agree.mean()), ends)
    return joint | {"joint_kappa": fleiss_kappa(votes), "joint_chance": classes ** (1.0 - modalities)} | spread


def _conditional(readings: Readings, truth: np.ndarray) -> dict[str, float]:
    targets = tuple(readings.real)
    values = {f"self/{pair[1]}": _mean(_scores(readings, pair, truth)) for pair in self_pairs(targets)}
    by_inputs: dict[int, list[float]] = {}
    for given, target in all_pairs(readings.trial.model.names, targets):
        mean = _mean(_scores(readings, (given, target), truth))
        values[f"conditional/{joined(given)}/{target}"] = mean
        by_inputs.setdefault(len(given), []).append(mean)
    values |= {f"by_inputs/{count}": _mean(np.array(means)) for count, means in by_inputs.items()}
    return values | leave_one_out_of(readings, truth)


def leave_one_out_of(readings: Readings, truth: np.ndarray) -> dict[str, float]:
    """leave_one_out with _low and _high, from readings that hold the labels of all but the target given.

    truth: the `true_classes` of all rows.
    """
    pairs = one_out_pairs(readings.trial.model.names, tuple(readings.real))
    columns = [_scores(readings, pair, truth) for pair in pairs]
    scored = [column for column in columns if not np.isnan(column).all()]
    if not scored:
        return {}
    table = np.stack(scored, -1)
    mean, ends = float(np.nanmean(table, 0).mean()), interval_of_mean(table, readings.trial.seed)
    return with_interval("leave_one_out", mean, ends)


def _scores(readings: Readings, pair: Pair, truth: np.ndarray) -> np.ndarray:
    """Share of right labels by row, over the members of the posterior; NaN where the row lacks some of `given`."""
    (given, target), rows, data = pair, readings.trial.rows, readings.trial.data
    parts = [w * (readings.labels[m, target] == truth[rows]) for m, w in members(readings.trial.model, given)]
    return np.where(has_all(data, data.present[rows], given).cpu().numpy(), np.sum(parts, 0), np.nan)


def _mean(values: np.ndarray) -> float:
    """The mean of what was scored, NaN if nothing was."""
    seen = values[~np.isnan(values)]
    return float(seen.mean()) if len(seen) else float("nan")
