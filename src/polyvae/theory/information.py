"""Entropies of all subsets of modalities, in nats: of a joint table in one pass, or given as numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import entr

from polyvae.errors import InputError

MOST_MODALITIES = 20
MOST_CELLS = 10**7
AT_ONCE = 2**17  # cells of an extended table that are held at once: what fits a cache
TOLERANCE = 1e-6  # how far a table's sum may be from 1


@dataclass(frozen=True, eq=False)
class Entropies:
    """H(X_A) of every subset A of the modalities `names`.

    values: Float64 (2^M,) in nats; bit i of an index says whether names[i] is in A, so values[0] = 0.
    is_discrete: False for differential entropies, for which the identities below hold, but not their signs.
    """

    names: tuple[str, ...]
    values: np.ndarray
    is_discrete: bool = True

    def index(self, subset: Iterable[str]) -> int:
        """The place of a subset in `values`. Raises InputError for an unknown name."""
        bits = 0
        for name in subset:
            if name not in self.names:
                raise InputError(f"unknown modality {name!r}; the entropies are of {', '.join(self.names)}")
            bits |= 1 << self.names.index(name)
        return bits

    def of(self, subset: Iterable[str], given: Iterable[str] = ()) -> float:
        """H(X_subset | X_given)."""
        known = self.index(given)
        return float(self.values[self.index(subset) | known] - self.values[known])

    @property
    def joint(self) -> float:
        """H(X), minus the expected log-evidence E log p(x) of the true law."""
        return float(self.values[-1])

    def information(self, a: Iterable[str], b: Iterable[str], given: Iterable[str] = ()) -> float:
        """I(X_a; X_b | X_given)."""
        a, b, given = tuple(a), tuple(b), tuple(given)
        return self.of(a, given) - self.of(a, (*given, *b))

    def total_correlation(self, subset: Iterable[str] | None = None, given: Iterable[str] = ()) -> float:
        """TC(X_subset | X_given) = sum of the single entropies - the joint one; subset defaults to all."""
        members, given = tuple(self.names if subset is None else subset), tuple(given)
        return sum(self.of((name,), given) for name in members) - self.of(members, given)

    def select(self, names: Sequence[str]) -> "Entropies":
        """The entropies of fewer modalities, in the order of `names`."""
        places = [self.index((name,)) for name in names]
        bits = np.zeros(1, np.int64)
        for place in places:
            bits = np.concatenate([bits, bits | place])
        return Entropies(tuple(names), self.values[bits], self.is_discrete)


def entropies(table: Any, names: Sequence[str] | None = None) -> Entropies:
    """H(X_A) of all subsets of a joint table, one axis per modality; names default to m0, m1, ...

    Every axis is extended by its sum, which makes all marginals, and minus x log x of the result is reduced axis by
    axis: 3^M cells for M binary modalities, a block of them at a time.
    Raises InputError for a table that is not a distribution, or larger than 20 modalities or 10^7 cells.
    """
    checked = check_table(table)
    labels = tuple(f"m{i}" for i in range(checked.ndim)) if names is None else tuple(names)
    check_names(checked, labels)
    return Entropies(labels, np.maximum(_all_subsets(checked).transpose().ravel(), 0.0))


def check_table(table: Any) -> np.ndarray:
    """The table as Float64 that sums to exactly 1. Raises InputError unless it is a distribution over modality axes."""
    try:
        array = np.asarray(table)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"the table is not an array ({error}); give one axis per modality") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"the table holds {array.dtype}; give probabilities")
    array = array.astype(np.float64)
    if not 1 <= array.ndim <= MOST_MODALITIES or array.size > MOST_CELLS or array.size == 0:
        raise InputError(
            f"a table of shape {array.shape}: it needs one axis per modality, from 1 to {MOST_MODALITIES}, and at most "
            f"{MOST_CELLS:,} cells"
        )
    if not np.isfinite(array).all() or array.min() < 0:
        place = tuple(int(i) for i in np.argwhere(~(array >= 0) | np.isinf(array))[0])
        raise InputError(f"the table holds {array[place]} at {place}; probabilities are finite and at least 0")
    if abs((total := array.sum()) - 1) > TOLERANCE:
        raise InputError(f"the table sums to {total:.8g}, not to 1; divide it by its sum")
    return array / total


def check_names(table: np.ndarray, names: Sequence[str]) -> None:
    """Raises InputError unless every axis of the table has a name of its own."""
    if len(names) != table.ndim or len(set(names)) < len(names):
        raise InputError(f"{len(names)} names {list(names)} for a table of {table.ndim} axes; name each axis once")


def _all_subsets(table: np.ndarray) -> np.ndarray:
    """Sums of -x log x over the cells of every marginal: (2, ..., 2), index 1 where an axis is kept."""
    if table.ndim > 1 and np.prod([size + 1 for size in table.shape], dtype=float) > AT_ONCE:
        kept = sum(_all_subsets(part) for part in table)
        return np.stack([_all_subsets(table.sum(0)), np.asarray(kept)])
    for axis in range(table.ndim):
        table = np.concatenate([table, table.sum(axis, keepdims=True)], axis)
    table = entr(table)
    for axis in range(table.ndim):
        kept, summed = np.split(table, [-1], axis)
        table = np.concatenate([summed, kept.sum(axis, keepdims=True)], axis)
    return table
