"""How wide intervals of imputed tables have to be, from rows that the model was not trained on."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
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

MOST_PATTERNS, MOST_ROWS = 32, 500  # that are calibrated, and rows looked at for each
FOLDS = 5  # of the values of a row; one at a time is hidden

Asked = Iterator[tuple[Batch, dict[str, Tensor]]]  # what is given, and target -> the truth (row, feature), NaN for none


def calibrate(
    model: Model, rows: MultimodalDataset, train: MultimodalDataset, *, draws: int = DRAWS, seed: int = 0
) -> Calibration:
    """How many times as wide as the model's own the 80 % intervals of real-valued tables are to be, by what is given.

    rows: held out from training, on the model's device. Of each pattern at most 500 rows that have it count, and a
    table is calibrated where at least 4 of these have it. Patterns: all of at most five modalities; of more, all but
    one and what most rows of `train` have, 32 in all. Single values of a table that lacks some are calibrated, too,
    given all else that a row has: each is hidden once, together with a fifth of the row's others. A model whose
    posterior given some is `NotDefined` has no factors there. Rows that also chose the weights are not quite
    exchangeable with new ones.
    Raises InputError for rows that the model cannot fill in.
    """
    tables = [m.name for m in model.modalities if m.is_real_table]
    gapped = [m.name for m in model.modalities if m.is_real_table and m.has_gaps and m.shape[0] > 1]
    calibrated = partial(_calibrated, model, rows, draws=draws, seed=seed)
    found = {}
    with scoring(model):
        for given in _patterns(rows.names, train.present):
            generator, missing = _generator(rows, given, seed), [name for name in tables if name not in given]
            found[given] = calibrated(given, missing, partial(_all_hidden, given=given), generator)
        generator = _generator(rows, rows.names, seed)
        found[rows.names] = calibrated((), gapped, partial(_values_hidden, generator=generator), generator)
    return Calibration({given: by_target for given, by_target in found.items() if by_target})


def _generator(rows: MultimodalDataset, given: Subset, seed: int) -> Generator:
    return Generator(rows.present.device).manual_seed(derive_seed(seed, "calibration", *given))


def _calibrated(
    model: Model,
    rows: MultimodalDataset,
    given: Subset,
    missing: Sequence[str],
    hide: Callable[[MultimodalDataset, Iterable[Sequence[int]], Sequence[str]], Asked],
    generator: Generator,
    *,
    draws: int,
    seed: int,
) -> dict[str, tuple[float, ...]]:
    """target -> the factor of each feature; of `missing` what enough of the rows have that have all of `given`.

    Empty where the model has no posterior.
    """
    able = rows_with(rows, range(len(rows)), given)
    able = [able[place] for place in chosen_rows(len(able), MOST_ROWS, seed)]
    targets = [name for name in missing if len(rows_with(rows, able, (name,))) >= LEAST_ROWS]
    if not targets:
        return {}
    asked = hide(rows, chunks(able, rows_at_once(model, draws, MOST_ROWS)), targets)
    try:
        return _factors(model, asked, targets, draws, generator)
    except NotDefined:
        return {}


def _patterns(names: Subset, present: Tensor) -> list[Subset]:
    if 2 ** len(names) - 2 <= MOST_PATTERNS:
        return list(chain.from_iterable(combinations(names, count) for count in range(1, len(names))))
    common = Counter(tuple(compress(names, row)) for row in present.tolist() if not all(row)).most_common()
    one_out = [all_but(name, names) for name in names]
    return list(dict.fromkeys([*one_out, *(given for given, _ in common)]))[:MOST_PATTERNS]


def _all_hidden(
    rows: MultimodalDataset, parts: Iterable[Sequence[int]], targets: Sequence[str], *, given: Subset
) -> Asked:
    """Rows that have all of `given`, and nothing else."""
    is_given = torch.tensor([name in given for name in rows.names], device=rows.present.device)
    for ids in parts:
        whole = rows.batch(ids)
        yield (
            Batch.known(whole.values, whole.present & is_given, None, is_complete=False, level=whole.level),
            {name: whole.values[name].where(_seen(rows, whole, name), torch.nan) for name in targets},
        )


def _values_hidden(
    rows: MultimodalDataset, parts: Iterable[Sequence[int]], targets: Sequence[str], *, generator: Generator
) -> Asked:
    """Rows without a fifth of the values of each target, each fifth in turn."""
    for ids in parts:
        whole = rows.batch(ids)
        places = {
            name: torch.rand(whole.values[name].shape, generator=generator, device=generator.device).argsort(1)
            for name in targets
        }
        for fold in range(FOLDS):
            hidden = {name: place % FOLDS == fold for name, place in places.items()}
            values = {
                **whole.values,
                **{name: whole.values[name].masked_fill(at, torch.nan) for name, at in hidden.items()},
            }
            yield (
                Batch.known(values, whole.present, None, is_complete=False, level=whole.level),
                {
                    name: whole.values[name].where(at & _seen(rows, whole, name), torch.nan)
                    for name, at in hidden.items()
                },
            )


def _seen(rows: MultimodalDataset, batch: Batch, name: str) -> Tensor:
    return batch.present[:, rows.names.index(name), None]


def _factors(
    model: Model, asked: Asked, targets: Sequence[str], draws: int, generator: Generator
) -> dict[str, tuple[float, ...]]:
    """target -> the factor of each feature."""
    parts: dict[str, list[tuple[Tensor, ...]]] = {target: [] for target in targets}
    for batch, truth in asked:
        filled = impute(model, batch, draws=draws, generator=generator, targets=targets)
        for modality in model.modalities:
            if isinstance(imputed := filled.get(modality.name), Imputed):
                parts[modality.name].append((modality.to_original(truth[modality.name]), imputed.low, imputed.high))
    columns = {target: (torch.cat(part) for part in zip(*of, strict=True)) for target, of in parts.items()}
    return {target: tuple(factors(*of).tolist()) for target, of in columns.items()}
