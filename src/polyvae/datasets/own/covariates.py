"""The column of the user's data that is a covariate: one level a row, words or integers."""

import numpy as np
import torch

from polyvae.covariate import Covariate, Levels
from polyvae.datasets.own.parts import Parts
from polyvae.errors import InputError


def taken_out(parts: Parts, name: str) -> tuple[Parts, np.ndarray]:
    """The data without the column `name`, and the level of every row as a string.

    Raises InputError where there is no such column, a row has no level, or levels are no words or integers.
    """
    if name not in parts.values:
        raise InputError(f"covariate {name!r} is no key of the data, which hold {', '.join(parts.values)}")
    column = parts.values[name]
    if column.ndim == 2 and column.shape[1] == 1:  # as tables hold one column of numbers
        column = column[:, 0]
    if column.ndim != 1 or column.dtype.kind not in "biuU":
        raise InputError(f"covariate {name!r} is {column.dtype} {column.shape}; it must be one word or integer a row")
    place = list(parts.values).index(name)
    if not (seen := parts.present[:, place]).all():
        raise InputError(f"covariate {name!r} is missing in row {int(np.argmin(seen))}; leave such rows out")
    values = {key: array for key, array in parts.values.items() if key != name}
    if not values:
        raise InputError(f"the data hold no modality beside the covariate {name!r}")
    return parts._replace(values=values, present=np.delete(parts.present, place, 1)), column.astype(str)


def covariate_of(name: str, column: np.ndarray, train: np.ndarray) -> Covariate:
    """Its levels, and their shares of the training rows. Raises InputError for a level that none of those has."""
    known = sorted(set(column.tolist()))
    counts = [int((column[train] == level).sum()) for level in known]
    if 0 in counts:
        lost = known[counts.index(0)]
        raise InputError(f"no training row has {name} {lost!r}, so nothing can be learned of it; leave its rows out")
    return Covariate(name, tuple(known), tuple(count / len(train) for count in counts))


def levels_of(covariate: Covariate, column: np.ndarray) -> Levels:
    """Raises InputError for an unknown level."""
    return Levels(covariate, torch.tensor([covariate.index_of(level) for level in column.tolist()]))
