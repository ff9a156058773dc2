"""The column of the user's data that is a covariate: one level per row, words or integers."""

import numpy as np
import torch

from polyvae.covariate import Covariate, Levels
from polyvae.datasets.own.parts import Parts
from polyvae.errors import InputError


def taken_out(parts: Parts, name: str) -> tuple[Parts, np.ndarray]:
    """The data without the column `name`, and the level of every row as a string.

    Raises InputError if there is no such column, a row has no level, or levels are neither words nor integers.
    """
    if name not in parts.values:
        raise InputError(f"covariate {name!r} is not a key of the data; keys are {', '.join(parts.values)}")
    column = parts.values[name]
    if column.ndim == 2 and column.shape[1] == 1:  # as tables hold one column of numbers
        column = column[:, 0]
    if column.ndim != 1 or column.dtype.kind not in "biuU":
        raise InputError(f"covariate {name!r} is {column.dtype} {column.shape}; it must be one word or integer per row")
    place = list(parts.values).index(name)
    if not (seen := parts.present[:, place]).all():
        raise InputError(f"covariate {name!r} is missing in row {int(np.argmin(seen))}; leave out such rows")
    values = {key: array for key, array in parts.values.items() if key != name}
    if not values:
        raise InputError(f"the data hold only the covariate {name!r}; add at least one modality")
    return parts._replace(values=values, present=np.delete(parts.present, place, 1)), column.astype(str)


def covariate_of(name: str, column: np.ndarray, train: np.ndarray) -> Covariate:
    """Its levels, and their shares of the training rows. Raises InputError for a level that no training row has."""
    known = sorted(set(column.tolist()))
    counts = [int((column[train] == level).sum()) for level in known]
    if 0 in counts:
        lost = known[counts.index(0)]
        raise InputError(f"no training row has {name} {lost!r}, so nothing can be learned about it; leave out its rows")
    return Covariate(name, tuple(known), tuple(count / len(train) for count in counts))


def levels_of(covariate: Covariate, column: np.ndarray) -> Levels:
    """Raises InputError for an unknown level."""
    return Levels(covariate, torch.tensor([covariate.index_of(level) for level in column.tolist()]))
