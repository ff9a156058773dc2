"""What simpler methods make of a missing table: whether a model is worthwhile."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset, chosen_rows
from polyvae.metrics.pairs import Subset
from polyvae.metrics.protocol import rows_with
from polyvae.modality import Batch, Modality

MOST_ROWS, MOST_VALUES = 5000, 2**24  # training rows, and values in them, that are learned from
COMPONENTS = 300
PENALTIES = 10.0 ** np.arange(-1, 6)
NEIGHBOURS = 10
MOST_COLUMNS, FEWER_ROWS, ROUNDS = 64, 1000, 10  # of IterativeImputer, which regresses every column on all others


def baselines(train: MultimodalDataset, test: Batch, given: Subset, target: str, seed: int = 0) -> dict[str, Tensor]:
    """Baseline -> `target` of the test rows in model units, (row, feature), filled in from what is given.

    They learn from the training rows that have the target: at most 5,000, and 2^24 values, drawn by `seed`. What these
    lack of the given modalities counts as its mean, beside indicators of what is there. Text is not read. The level of
    a covariate is, as the model reads it.
    mean: of the training rows. ridge: regression on up to 300 principal components of what is given, the penalty of
    each feature chosen by leaving rows out. knn: mean of the 10 nearest rows in these components. iterative:
    scikit-learn's IterativeImputer, 10 rounds on at most 1,000 rows, where given and target have at most 64 columns.
    """
    views = [m for m in train.modalities if m.name in given and not m.vocabulary]
    widths = [math.prod(m.shape) for m in views]
    widths += [] if train.covariate is None else [len(train.covariate.levels)]
    columns = sum(widths) + sum(math.prod(m.shape) for m in train.modalities if m.name == target)
    able = rows_with(train, range(len(train)), (target,))
    chosen = chosen_rows(len(able), min(MOST_ROWS, MOST_VALUES // columns), seed)
    known = train.batch([able[place] for place in chosen])
    wanted = _table(known.values[target])
    mean = _mean(wanted)
    filled = {"mean": np.tile(mean, (len(test.present), 1))}
    if widths and len(wanted) > NEIGHBOURS:
        seen, asked = (_seen(batch, views, train.names) for batch in (known, test))
        filled |= _regressed(seen, np.where(np.isnan(wanted), mean, wanted), asked, widths)
        if columns <= MOST_COLUMNS:
            fewer = chosen_rows(len(wanted), FEWER_ROWS, seed)
            filled["iterative"] = _iterative(np.hstack([seen, wanted])[fewer], asked)
    return {name: torch.from_numpy(values) for name, values in filled.items()}


def _regressed(seen: np.ndarray, wanted: np.ndarray, asked: np.ndarray, widths: Sequence[int]) -> dict[str, np.ndarray]:
    from sklearn.decomposition import PCA  # here: scikit-learn starts slowly
    from sklearn.linear_model import RidgeCV
    from sklearn.neighbors import KNeighborsRegressor

    mean, starts = _mean(seen), np.cumsum([0, *widths[:-1]])
    components = PCA(min(COMPONENTS, *seen.shape), random_state=0).fit(np.where(np.isnan(seen), mean, seen))

    def inputs(values: np.ndarray) -> np.ndarray:
        is_there = np.logical_or.reduceat(~np.isnan(values), starts, 1)
        return np.hstack([components.transform(np.where(np.isnan(values), mean, values)), is_there])

    models = {"ridge": RidgeCV(PENALTIES, alpha_per_target=True), "knn": KNeighborsRegressor(NEIGHBOURS)}
    predicted = {name: model.fit(inputs(seen), wanted).predict(inputs(asked)) for name, model in models.items()}
    return {name: values.reshape(len(asked), -1) for name, values in predicted.items()}


def _iterative(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The columns that `asked` lacks of `known`, which come last there."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    imputer = IterativeImputer(max_iter=ROUNDS, random_state=0, keep_empty_features=True)
    empty = np.full((len(asked), known.shape[1] - asked.shape[1]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it gets ten rounds
        return imputer.fit(known).transform(np.hstack([asked, empty]))[:, asked.shape[1] :]


def _table(values: Tensor) -> np.ndarray:
    return values.flatten(1).cpu().double().numpy()


def _seen(batch: Batch, views: Sequence[Modality], names: Sequence[str]) -> np.ndarray:
    """(row, column) of all views, NaN where a row lacks them, and of the level of a covariate."""
    present = batch.present.cpu().numpy()
    tables = {m.name: _table(batch.values[m.name]) for m in views}
    level = [] if batch.level is None else [_table(batch.level)]
    return np.hstack([*(np.where(present[:, [names.index(n)]], t, np.nan) for n, t in tables.items()), *level])


def _mean(values: np.ndarray) -> np.ndarray:
    """By column, of what is known; 0 where nothing is."""
    return np.nansum(values, 0) / np.maximum((~np.isnan(values)).sum(0), 1)
