"""The column of the user's data that is a covariate: one level per row, words or integers."""

import numpy as np
import torch

from polyvae.covariate import Covariate, Levels
from polyvae.datasets.own.parts import called
from polyvae.errors import InputError


def covariate_of(name: str, column: np.ndarray, train: np.ndarray) -> Covariate:
    """Its levels, and their shares of the training rows. Raises InputError for a level that no training row has."""
    column = column.astype(str)
    known = sorted(set(column.tolist()))
    counts = [int((column[train] == level).sum()) for level in known]
    if 0 in counts:
        lost = known[counts.index(0)]
        raise InputError(f"no training row has {name} {lost!r}, so nothing can be learned about it; leave out its rows")
    return Covariate(name, tuple(known), tuple(count / len(train) for count in counts))


def levels_of(covariate: Covariate, column: np.ndarray, ids: np.ndarray) -> Levels:
    """The levels of rows. ids: their names. Raises InputError for unknown levels."""
    column = column.astype(str)
    if len(unknown := np.flatnonzero(~np.isin(column, covariate.levels))):
        first = int(unknown[0])
        raise InputError(
            f"{len(unknown):,} of {len(column):,} rows have a {covariate.name} that the model was not trained on, "
            f"first {called(first, ids)} with {str(column[first])!r}; it knows {', '.join(covariate.levels)}. Leave "
            "these rows out of the file, or train again with them"
        )
    return Levels(covariate, torch.tensor([covariate.index_of(level) for level in column.tolist()]))
