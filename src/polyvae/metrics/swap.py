"""The swap test: which row is a picture of, if decoded from the shared code of one and the private code of another?

Coherence cannot tell whether a decoder takes the class from the shared code, or whether it hides in the private one.
"""

from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.judges.extractors import Judge
from polyvae.keys import SWAP_PRIVATE, SWAP_SHARED, of
from polyvae.metrics.bootstrap import interval_of_mean, with_interval
from polyvae.metrics.coherence import true_classes
from polyvae.metrics.protocol import Options, measuring, readable
from polyvae.models.contract import Model, NotDefined, can_swap
from polyvae.noise import derive_seed

MOST_ROWS = 1000


def swap(model: Model, data: MultimodalDataset, judge: Judge, **options: Unpack[Options]) -> dict[str, float]:
    """Shares in [0, 1] of values whose class is that of the row of the shared code, or of the private one.

    Each row that has every modality, of at most 1,000, has a partner of another class, drawn by the seed. A modality m
    is decoded from z drawn given all of the row and w_m drawn given x_m of the partner.
    Returns swap/shared/<modality>: the judge reads the row's class. swap/private/<modality>: the partner's.
    swap/shared, swap/private: means over the modalities that the judge reads, with _low and _high, a 95 % interval by
    bootstrap over rows. A decoder that takes the class from z alone has 1 and 0, from w_m alone 0 and 1; one that takes
    it from neither has the share of the class that it draws in both.
    Raises NotDefined for a model whose decoders do not read both codes, and without rows of two classes.
    """
    if not can_swap(model):
        raise NotDefined("no decoder reads a shared code beside a private one, so there is nothing to swap")
    truth, names = true_classes(data, judge), readable(model, judge)
    with measuring(model, data, **options) as on_all:
        trial = on_all.having(model.names, MOST_ROWS)
        rows = np.array(trial.rows, int)
        others = rows[partners(truth[rows], trial.seed)]
        partner_of = dict(zip(trial.rows, others.tolist(), strict=True))
        read: dict[str, list[Tensor]] = {name: [] for name in names}
        for ids, batch in trial.batches():
            other = data.batch([partner_of[row] for row in ids])
            codes = model.swapped_codes(batch, other, trial.noise("swap", ids))
            for name, values in trial.shown({name: codes[name] for name in names}).items():
                read[name].append(judge.read(name, values)[1].argmax(-1))
    found = torch.stack([torch.cat(parts) for parts in read.values()], -1).cpu().numpy()
    scores: dict[str, float] = {}
    for key, classes in ((SWAP_SHARED, truth[rows]), (SWAP_PRIVATE, truth[others])):
        hits = (found == classes[:, None]).astype(float)  # (row, modality)
        scores |= with_interval(key, float(hits.mean()), interval_of_mean(hits, trial.seed))
        scores |= {of(key, name): float(share) for name, share in zip(names, hits.mean(0), strict=True)}
    return scores


def partners(classes: np.ndarray, seed: int) -> np.ndarray:
    """For each row the place of one of another class, drawn by the seed. classes: Int (row,).

    Raises NotDefined unless there are two classes.
    """
    if len(np.unique(classes)) < 2:
        raise NotDefined("the test rows that have every modality are not of two classes, so none has a partner")
    rng = np.random.default_rng(derive_seed(seed, "swap"))
    return np.array([rng.choice(np.flatnonzero(classes != own)) for own in classes])
