"""How wide intervals of imputed tables have to be, from rows that the model was not trained on."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, combinations, compress

import torch
from torch import Generator, Tensor

from polyvae.dataset import MultimodalDataset, chosen_rows, chunks
from polyvae.imputation import DRAWS, Imputed, impute, rows_at_once
from polyvae.intervals import LEAST_ROWS, Calibration, factors
from polyvae.keys import all_but
from polyvae.metrics.pairs import Subset
from polyvae.metrics.protocol import rows_with, scoring
from polyvae.modality import Batch
from polyvae.models.contract import Model, NotDefined
from polyvae.noise import derive_seed

MOST_PATTERNS, MOST_ROWS = 32, 500  # that are calibrated, and of each the rows that are looked at


def calibrate(
    model: Model, rows: MultimodalDataset, train: MultimodalDataset, *, draws: int = DRAWS, seed: int = 0
) -> Calibration:
    """How many times as wide as the model's own the 80 % intervals of real-valued tables are to be, by what is given.

    rows: held out from training, on the model's device. Of each pattern at most 500 rows that have it count, and a
    table is calibrated where at least 4 of these have it. Patterns: all of at most five modalities; of more, all but
    one and what most rows of `train` have, 32 in all. A model whose posterior given some is `NotDefined` has no factors
    there. Rows that also chose the weights are not quite exchangeable with new ones.
    Raises InputError for rows that the model cannot fill in.
    """
    tables = [m.name for m in model.modalities if m.is_real_table]
    found = {}
    with scoring(model):
        for given in _patterns(rows.names, train.present):
            able = rows_with(rows, range(len(rows)), given)
            able = [able[place] for place in chosen_rows(len(able), MOST_ROWS, seed)]
            targets = [n for n in tables if n not in given and len(rows_with(rows, able, (n,))) >= LEAST_ROWS]
            generator = Generator(rows.present.device).manual_seed(derive_seed(seed, "calibration", *given))
            with suppress(NotDefined):
                found[given] = _factors(model, rows, able, given, targets, draws, generator) if targets else {}
    return Calibration({given: by_target for given, by_target in found.items() if by_target})


def _patterns(names: Subset, present: Tensor) -> list[Subset]:
    if 2 ** len(names) - 2 <= MOST_PATTERNS:
        return list(chain.from_iterable(combinations(names, count) for count in range(1, len(names))))
    common = Counter(tuple(compress(names, row)) for row in present.tolist() if not all(row)).most_common()
    one_out = [all_but(name, names) for name in names]
    return list(dict.fromkeys([*one_out, *(given for given, _ in common)]))[:MOST_PATTERNS]


def _factors(
    model: Model,
    rows: MultimodalDataset,
    able: Sequence[int],
    given: Subset,
    targets: Sequence[str],
    draws: int,
    generator: Generator,
) -> dict[str, tuple[float, ...]]:
    """target -> the factor of each feature, from the rows `able`, which have all of `given`."""
    parts: dict[str, list[tuple[Tensor, ...]]] = {target: [] for target in targets}
    is_given = torch.tensor([name in given for name in rows.names], device=rows.present.device)
    for ids in chunks(able, rows_at_once(model, draws, MOST_ROWS)):
        whole = rows.batch(ids)
        batch = Batch.known(whole.values, whole.present & is_given, None, is_complete=False, level=whole.level)
        filled = impute(model, batch, draws=draws, generator=generator, targets=targets)
        for modality, present in zip(model.modalities, whole.present.T, strict=True):
            if isinstance(imputed := filled.get(modality.name), Imputed):
                truth = modality.to_original(whole.values[modality.name]).where(present[:, None], torch.nan)
                parts[modality.name].append((truth, imputed.low, imputed.high))
    columns = {target: (torch.cat(part) for part in zip(*of, strict=True)) for target, of in parts.items()}
    return {target: tuple(factors(*of).tolist()) for target, of in columns.items()}
