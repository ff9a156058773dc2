"""Label-free coherence: does a generated modality match its input, as judged by a critic that never saw a label?

The critic knows which values belong to one row, from real tuples alone. A generated value is ranked: how often does it
fit its own input better than another row's input? Blur must not be punished, so the upper anchor is what the same model
makes of the true target (its self-reconstruction), not the sharp original.
"""

from collections.abc import Mapping, Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.judges.extractors import Critic
from polyvae.keys import LABEL_FREE, joined
from polyvae.metrics.bootstrap import interval, with_interval
from polyvae.metrics.pairs import Pair, few_pairs, members, one_out_pairs, self_pairs, wanted_members
from polyvae.metrics.protocol import Options, Trial, measuring
from polyvae.models.contract import Model, NotDefined
from polyvae.noise import derive_seed

MOST_ROWS = 1000
SHUFFLES = 1000
ROUNDING = 1e-12  # of a mean, relative: what is apart by less is a tie
LEAST_ADVANTAGE = 0.1  # in mean rank, of true over shuffled pairs; below it the scale is too short to measure with


def label_free(model: Model, data: MultimodalDataset, critic: Critic, **options: Unpack[Options]) -> dict[str, float]:
    """Scores of generated targets: 0 like shuffled pairs, 1 like true pairs; over at most 1,000 rows.

    Returns label_free/ + conditional/<given>/<target> for single modalities (of up to 5) and all but the target;
    leave_one_out: the mean over targets, with _low and _high, a 95 % interval by bootstrap over rows. It may exceed 1:
    all other modalities together can tell more than the target's own posterior, and a model that reconstructs badly has
    a short scale.
    against_real (_low, _high): the same with real targets as the upper anchor: defined for any model and comparable
    between models, but it punishes blur.
    leave_one_out_p: the p-value of a permutation test of "targets drawn given all others are independent of them". It
    takes the targets of against_real, or else those of leave_one_out; without an upper anchor it needs neither score.
    real/<given>/<target>: the mean rank of real targets, .5 if the critic knows nothing, 1 if it always knows.
    A pair is left out where the model's self-reconstructions (or, for against_real, real targets) show the critic
    little: an advantage below .1 in mean rank.
    Mixtures are scored exactly: each member once, combined with its weight. Rows count that have all modalities.
    Raises NotDefined for one modality or when nothing can be scored.
    """
    names = model.names
    if len(names) < 2:
        raise NotDefined("with one modality there is nothing to agree with")
    pairs = few_pairs(names, names)
    with measuring(model, data, **options) as on_all:
        trial = on_all.having(names, MOST_ROWS)
        if len(trial.rows) < 2:
            raise NotDefined(
                f"{len(trial.rows)} test rows have every modality; a row is compared with at least one other"
            )
        generated = _embedded(trial, critic, [*pairs, *self_pairs(names)])
        batches = [batch for _, batch in trial.batches()]
        real = {name: torch.cat([critic.embed(name, batch.values[name]) for batch in batches]) for name in names}
    # Ranks of generated targets, of true targets as the model reconstructs them, and of true targets as they are.
    ranks: dict[Pair, np.ndarray] = {}
    rebuilt: dict[Pair, np.ndarray] = {}
    sharp: dict[Pair, np.ndarray] = {}
    scores: dict[str, float] = {}
    for given, target in pairs:
        anchors, label = [real[name] for name in given], f"{joined(given)}/{target}"
        pair = given, target
        ranks[pair] = np.sum([w * own_ranks(anchors, generated[m, target]) for m, w in members(model, given)], 0)
        rebuilt[pair] = own_ranks(anchors, generated[(target,), target]).diagonal()
        sharp[pair] = own_ranks(anchors, real[target]).diagonal()
        scores[f"real/{label}"] = float(sharp[pair].mean())
        if _can_measure(rebuilt[pair]):
            scores[f"conditional/{label}"] = relative(ranks[pair].diagonal(), rebuilt[pair])
    seen_rebuilt, seen_sharp = (
        [pair for pair in one_out_pairs(names, names) if _can_measure(true[pair])] for true in (rebuilt, sharp)
    )
    if not (tested := seen_sharp or seen_rebuilt):
        raise NotDefined("the critic sees nothing of what modalities share")
    for key, true, seen in (("leave_one_out", rebuilt, seen_rebuilt), ("against_real", sharp, seen_sharp)):
        if seen:
            own = np.stack([ranks[pair].diagonal() for pair in seen], -1)
            scores |= _summary(key, own, np.stack([true[pair] for pair in seen], -1), trial.seed)
    scores["leave_one_out_p"] = permutation_p([ranks[pair] for pair in tested], trial.seed)
    return {f"label_free/{key}": value for key, value in scores.items()}


def warnings(scores: Mapping[str, float]) -> dict[str, str]:
    """Key -> why it is not there."""
    if LABEL_FREE not in scores or "label_free/leave_one_out" in scores:
        return {}
    reason = "self-reconstructions fit their own input hardly better than another's, so they are not an upper anchor"
    return {"label_free/leave_one_out": reason}


def _can_measure(true: np.ndarray) -> bool:
    return bool(true.mean() - 0.5 >= LEAST_ADVANTAGE)


def own_ranks(anchors: Sequence[Tensor], targets: Tensor) -> np.ndarray:
    """Share of rows that target j fits worse than row i: (i, j), float64 in [0, 1]; the diagonal is its own row.

    anchors: embeddings (row, dimension) of each given modality; targets: (row, dimension). Ties count half.
    """
    scores = sum((anchor @ targets.T for anchor in anchors), torch.zeros(())).T.contiguous()  # (j, i)
    ordered = scores.sort(-1).values
    below, up_to = (torch.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return ((below + up_to - 1).double() / (2 * (len(anchors[0]) - 1))).T.cpu().numpy()


def relative(own: np.ndarray, true: np.ndarray) -> float:
    """Where the mean rank lies between that of shuffled pairs (1/2 exactly) and that of true pairs."""
    return float((own.mean() - 0.5) / (true.mean() - 0.5))


def permutation_p(ranks: Sequence[np.ndarray], seed: int) -> float:
    """One-sided p-value of the mean own rank under shuffling of inputs; 1 where outputs do not depend on them.

    ranks: (row, row) per target.
    """
    rng = np.random.default_rng(derive_seed(seed, "shuffles"))
    count = len(ranks[0])
    observed = sum(float(table.diagonal().mean()) for table in ranks)
    shuffled = []
    for _ in range(SHUFFLES - 1):
        order = rng.permutation(count)
        shuffled.append(sum(float(table[order, np.arange(count)].mean()) for table in ranks))
    return (1 + sum(value >= observed * (1 - ROUNDING) for value in shuffled)) / SHUFFLES


def _summary(key: str, own: np.ndarray, true: np.ndarray, seed: int) -> dict[str, float]:
    """The mean score and its bootstrap interval over rows; own, true: (row, target)."""

    def mean(times: np.ndarray) -> float:
        share = times / len(own)
        return float(((share @ own - 0.5) / (share @ true - 0.5)).mean())

    return with_interval(key, mean(np.ones(len(own))), interval(mean, len(own), seed))


def _embedded(trial: Trial[Model], critic: Critic, pairs: Sequence[Pair]) -> dict[Pair, Tensor]:
    """(member, target) -> embeddings of generated targets."""
    parts: dict[Pair, list[Tensor]] = {}
    for drawn in trial.conditional_means("label_free", wanted_members(trial.model, pairs)):
        parts.setdefault((drawn.given, drawn.target), []).append(critic.embed(drawn.target, drawn.values))
    return {pair: torch.cat(embeddings) for pair, embeddings in parts.items()}
