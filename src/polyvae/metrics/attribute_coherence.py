"""Coherence of images and captions by what captions name: is the generated bird as red as the caption says?

A caption is read by rule (`polyvae.attributes`), an image by a judge trained on real pairs. The truth of a row is what
most of its own captions say.
"""

from collections.abc import Sequence
from typing import Unpack

import numpy as np
from torch import Tensor

from polyvae.attributes import UNREAD, agreed, caption_of, read_captions, said
from polyvae.dataset import MultimodalDataset
from polyvae.judges.extractors import AttributeJudge, prepared
from polyvae.keys import joined
from polyvae.metrics.bootstrap import interval_of_mean, with_interval
from polyvae.metrics.coherence import fleiss_kappa
from polyvae.metrics.pairs import Pair, Subset, all_pairs, members, one_out_pairs, self_pairs, wanted_members
from polyvae.metrics.protocol import Options, Trial, has_all, measuring
from polyvae.modality import Modality
from polyvae.models.contract import Model, NotDefined

LEAST_ROWS = 10  # needed for a value to count
LEAST_ADVANTAGE = 0.1  # of the judge over chance


def attribute_coherence(
    model: Model, data: MultimodalDataset, judge: AttributeJudge, **options: Unpack[Options]
) -> dict[str, float]:
    """Shares in [0, 1] of attributes that come out right, mean over attributes, each value of an attribute counting
    the same (balanced accuracy): any guess that does not depend on the input is at `chance`, 1 / values.

    Returns coherence/ + conditional/<given>/<target>; leave_one_out with _low and _high, a 95 % interval by bootstrap
    over rows; self/<modality>; ceiling/<modality>: real images read by the judge, and one real caption of a row
    against the others; attribute/<attribute>/<given>/<target>: one attribute alone; joint: share on which prior samples
    of all modalities agree; joint_kappa: Fleiss' kappa of these readings; chance.
    A caption that does not say is wrong. Values of fewer than 10 rows do not count. Mixtures are scored exactly.
    Raises NotDefined where the data hold no captions, or the judge reads real images hardly better than chance.
    """
    if caption_of(data) is None:
        raise NotDefined("there is no caption to read attributes from")
    names = model.names
    specs = {m.name: m for m in model.modalities if m.vocabulary or (m.is_image and m.shape[0] == 3)}
    truth = _truth(data, judge)
    pairs = [*all_pairs(names, tuple(specs)), *self_pairs(tuple(specs))]
    with measuring(model, data, **options) as trial:
        scores = _ceilings(trial, judge, specs, truth)
        read = _conditional(trial, judge, specs, pairs)
        scores |= _joint(trial, judge, specs)
    columns = {pair: _scores(trial, read, pair, truth) for pair in pairs}
    for given, target in pairs:
        mean, label = _mean(columns[given, target]), f"{joined(given)}/{target}"
        if given == (target,):
            scores[f"self/{target}"] = mean
            continue
        scores[f"conditional/{label}"] = mean
        for attribute, column in zip(judge.attributes, columns[given, target].T, strict=True):
            scores[f"attribute/{attribute.name}/{label}"] = _mean(column[:, None])
    if one_out := [columns[pair] for pair in one_out_pairs(names, tuple(specs))]:
        mean = float(np.mean([_mean(column) for column in one_out]))
        scores |= with_interval("leave_one_out", mean, interval_of_mean(np.concatenate(one_out, 1), trial.seed))
    scores["chance"] = _chance(truth)
    return {f"coherence/{key}": value for key, value in scores.items() if not np.isnan(value)}


def _truth(data: MultimodalDataset, judge: AttributeJudge) -> np.ndarray:
    """Int64 (row, attribute)."""
    value = agreed(said(data, judge.attributes))
    if np.isnan(_balanced(value)).all():
        raise NotDefined(f"no attribute has two values that {LEAST_ROWS} test rows or more share")
    return value


def _balanced(value: np.ndarray) -> np.ndarray:
    """Weights of mean 1 under which each value of an attribute counts the same: (row, attribute); NaN: not at all."""
    weight = np.full(value.shape, np.nan)
    for column in range(value.shape[1]):
        values, counts = np.unique(value[value[:, column] != UNREAD, column], return_counts=True)
        common = {int(v): int(n) for v, n in zip(values, counts, strict=True) if n >= LEAST_ROWS}
        if len(common) < 2:
            continue
        for v, count in common.items():
            weight[value[:, column] == v, column] = sum(common.values()) / (len(common) * count)
    return weight


def _weights_where(data: MultimodalDataset, subset: Subset, truth: np.ndarray) -> np.ndarray:
    """`_balanced` over the rows that have the subset; NaN elsewhere."""
    seen = has_all(data, data.present, subset).cpu().numpy()[:, None]
    return _balanced(np.where(seen, truth, UNREAD))


def _chance(truth: np.ndarray) -> float:
    kinds = [len(np.unique(v[~np.isnan(w)])) for v, w in zip(truth.T, _balanced(truth).T, strict=True)]
    return float(np.mean([1 / kind for kind in kinds if kind]))


def _mean(scores: np.ndarray) -> float:
    """Mean over attributes of the mean over the rows that count; scores: (row, attribute)."""
    seen = scores[:, ~np.isnan(scores).all(0)]
    return float(np.nanmean(seen, 0).mean()) if seen.size else float("nan")


def _read(values: Tensor, spec: Modality, judge: AttributeJudge) -> np.ndarray:
    """Int64 (row, attribute) of model values (row, *shape)."""
    if spec.vocabulary:
        return read_captions(spec.to_original(values), spec.vocabulary, judge.attributes)
    return judge.values(prepared(values)).cpu().numpy()


def _ceilings(
    trial: Trial[Model], judge: AttributeJudge, specs: dict[str, Modality], truth: np.ndarray
) -> dict[str, float]:
    ceilings = {}
    for name, spec in specs.items():
        read = np.concatenate([_read(batch.values[name], spec, judge) for _, batch in trial.batches()])
        ceilings[f"ceiling/{name}"] = ceiling = _mean(_weights_where(trial.data, (name,), truth) * (read == truth))
        if spec.is_image and ceiling < _chance(truth) + LEAST_ADVANTAGE:
            raise NotDefined(
                f"the judge reads attributes of real {name}s at {ceiling:.2f}, too near chance ({_chance(truth):.2f})"
            )
    return ceilings


def _conditional(
    trial: Trial[Model], judge: AttributeJudge, specs: dict[str, Modality], pairs: Sequence[Pair]
) -> dict[Pair, np.ndarray]:
    """(member, target) -> Int64 (row, attribute), what is read in one draw per row."""
    wanted = wanted_members(trial.model, pairs)
    shape = (len(trial.data), len(judge.attributes))
    read = {(member, target): np.full(shape, UNREAD) for member, targets in wanted.items() for target in targets}
    for drawn in trial.conditional_means("attributes", wanted):
        read[drawn.given, drawn.target][list(drawn.rows)] = _read(drawn.values, specs[drawn.target], judge)
    return read


def _joint(trial: Trial[Model], judge: AttributeJudge, specs: dict[str, Modality]) -> dict[str, float]:
    if len(specs) < 2:
        return {}
    samples = trial.prior_means("attributes/prior", tuple(specs))
    votes = [np.stack([_read(means[name], spec, judge) for name, spec in specs.items()], -1) for _, means in samples]
    read = np.concatenate(votes)  # (row, attribute, modality)
    agree = ((read == read[..., :1]).all(-1) & (read[..., 0] != UNREAD)).mean()
    by_attribute = zip(read.swapaxes(0, 1), judge.attributes, strict=True)
    kappas = [fleiss_kappa(np.where(seen == UNREAD, len(a.values), seen)) for seen, a in by_attribute]
    return {"joint": float(agree), "joint_kappa": float(np.mean(kappas))}


def _scores(trial: Trial[Model], read: dict[Pair, np.ndarray], pair: Pair, truth: np.ndarray) -> np.ndarray:
    """Weighted share of right readings by row and attribute, over the members of the posterior; NaN: does not count."""
    given, target = pair
    right = np.sum([weight * (read[m, target] == truth) for m, weight in members(trial.model, given)], 0)
    return _weights_where(trial.data, given, truth) * right
