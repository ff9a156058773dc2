"""What looks wrong in the user's arrays although it can be read: reported, never changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyvae.datasets.own.missing import AS_TEXT
from polyvae.datasets.own.parts import called
from polyvae.file_rows import Array, FileRows, thinned
from polyvae.modality import Modality, Standardise
from polyvae.text import Vocabulary, tokenise

FAR = 50  # times the spread from the median
QUANTILES = (
    (0.25, 1.349),
    (0.05, 3.29),
    (0.005, 5.152),
)  # (lower quantile, width in sd of a Normal up to the upper one)
CODES = (99, 999, 9999, 99999, 999999)  # usual codes of missing values, also below zero
LEAST_ZEROS = 0.05  # share of zeros in a table that may hold counts
ROBUST = "--scaling robust"


@dataclass(frozen=True)
class Names:
    """What rows and columns are called where the user has names for them; else they have numbers.

    at: which of the rows are looked at; None: all.
    """

    ids: np.ndarray | None = None
    features: Sequence[str] = ()
    at: np.ndarray | None = None

    def row(self, row: int) -> str:
        row = row if self.at is None else int(self.at[row])
        return f"row {row}" if self.ids is None else called(row, self.ids)

    def feature(self, feature: int) -> str:
        return repr(self.features[feature]) if self.features else f"feature {feature}"


def doubts(
    modality: Modality,
    array: Array,
    present: np.ndarray,
    train: np.ndarray | None = None,
    ids: np.ndarray | None = None,
) -> str:
    """Doubts about one array, in sentences; empty if there are none. present: Bool (row,). ids: names of the rows.

    train: its training rows; None for new rows of a trained model, which are compared with its training rows. For rows
    in a file, every n-th training row that is present is looked at, so that 2^22 values are held.
    """
    at = None
    if isinstance(array, FileRows):
        here = np.flatnonzero(present) if train is None else train[present[train]]
        at = thinned(array, np.sort(here))
        array, present, train = array[at], np.ones(len(at), bool), None if train is None else np.arange(len(at))
    if array.dtype.kind == "U":
        long = _of_text(modality.vocabulary, array, present) if modality.vocabulary else []
        return " ".join([*long, *_marks(array, present)])
    if not isinstance(units := modality.transform, Standardise) or not present.any():
        return ""
    table = np.where(present[:, None], array.reshape(len(array), -1).astype(np.float64), np.nan)
    names = Names(ids, modality.feature_names, at)
    if at is not None and np.isnan(table).all(0).any():  # a feature that hardly any row has
        return ""
    if train is None:
        return " ".join(_wild(table, np.array(units.mean), np.array(units.sd), names))
    of_columns = [*_wild(table, *spread_of(table), names), *_codes(table, names), *_constant(table[train], names)]
    return " ".join([*of_columns, *_counts(modality.name, table)])


def spread_of(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and robust standard deviation of each feature without NaN; 0 if all but a few values are equal.

    What `numpy.nanmedian` and `numpy.nanquantile` find, from one sort of each feature.
    """
    ordered = np.sort(table.T.astype(float))  # NaN comes last
    features, last = np.arange(len(ordered)), np.maximum((~np.isnan(ordered)).sum(1) - 1, 0)
    median = (ordered[features, last // 2] + ordered[features, (last + 1) // 2]) / 2
    spread = np.zeros(len(ordered))
    for lower, width in QUANTILES:
        low, high = (_between(ordered, last * share) for share in (lower, 1 - lower))
        spread = np.where(spread > 0, spread, (high - low) / width)
    return median, spread


def _between(ordered: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Of each row the value at a place between two of its columns, linear between them."""
    features, before = np.arange(len(ordered)), np.floor(place).astype(int)
    low, high, share = ordered[features, before], ordered[features, np.ceil(place).astype(int)], place - before
    return np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))


def _wild(table: np.ndarray, centre: np.ndarray, spread: np.ndarray, names: Names) -> list[str]:
    far = (np.abs(table - centre) > FAR * spread) & (spread > 0)
    if not far.any():
        return []
    row, feature = map(int, np.argwhere(far)[0])
    others = f", as are {int(far.sum()) - 1} more values" if far.sum() > 1 else ""
    return [
        f"{names.row(row)}, {names.feature(feature)} is {table[row, feature]:.6g}, far from the rest (about "
        f"{centre[feature]:.4g}, give or take {spread[feature]:.2g}){others}. One outlier can spoil a whole column: "
        f"correct it, mask it, or train with {ROBUST}."
    ]


def _codes(table: np.ndarray, names: Names) -> list[str]:
    """Codes of missing values: far outside the range of all other values, and in more than one row."""
    for feature in np.flatnonzero(np.isin(np.abs(table), CODES).sum(0) > 1).tolist():
        column = table[:, feature]
        for code in (sign * value for value in CODES for sign in (1, -1)):
            others = column[(column != code) & ~np.isnan(column)]
            count = int((column == code).sum())
            if count < 2 or not len(others):
                continue
            if max(others.min() - code, code - others.max()) > max(np.ptp(others), 1e-9):
                return [
                    f"{names.feature(feature)} is {code} in {count} rows, far from all other values. If that means "
                    "missing, replace it by NaN."
                ]
    return []


def _constant(seen: np.ndarray, names: Names) -> list[str]:
    known = seen[~np.isnan(seen).all(1)]
    constant = np.flatnonzero(np.nanmin(known, 0) == np.nanmax(known, 0))
    if not len(constant):
        return []
    shown = [names.feature(feature).removeprefix("feature ") for feature in constant[:5].tolist()]
    some = ", ".join(shown) + (", ..." if len(constant) > 5 else "")
    return [
        f"{len(constant)} of {seen.shape[1]} features ({some}) are constant in the training rows. Leave them "
        "out: nothing can be learned from them, and they make likelihoods look too good."
    ]


def _counts(name: str, table: np.ndarray) -> list[str]:
    """Whole numbers from 0 up, with frequent zeros, that vary more than counts of one rate would."""
    known = table[~np.isnan(table)]
    if (known < 0).any() or (known % 1 != 0).any() or (known == 0).mean() < LEAST_ZEROS:
        return []
    if np.mean(np.nanvar(table, 0) > np.nanmean(table, 0)) < 0.5:
        return []
    return [
        "it holds only the numbers 0, 1, 2, ... but is scored as real numbers. If these are counts, use --likelihood "
        f"{name}=negative_binomial, and --library {name} if rows differ in depth."
    ]


def _of_text(words: Vocabulary, array: np.ndarray, present: np.ndarray) -> list[str]:
    lengths = [len(tokenise(text)) for text in array[present].tolist()]
    cut = sum(length >= words.length for length in lengths)
    if not cut:
        return []
    return [
        f"{cut} of {len(lengths)} texts are cut after {words.length - 1} words or marks: the longest has "
        f"{max(lengths)}; train with --text-length {max(lengths) + 1} to keep everything."
    ]


def _marks(array: np.ndarray, present: np.ndarray) -> list[str]:
    marks = sorted(set(array[present].tolist()) & set(AS_TEXT))
    if not marks:
        return []
    count = int(np.isin(array[present], marks).sum())
    return [f"{count} texts or classes read {', '.join(map(repr, marks))}. If that means missing, mask these rows."]


def doubts_of_labels(labels: np.ndarray | None) -> str:
    """scikit-learn marks rows without a class by -1 beside 0, 1, ..."""
    if labels is None or -1 not in labels or set(np.unique(labels).tolist()) <= {-1, 1}:
        return ""
    count = int((labels == -1).sum())
    return f"{count} rows have the label -1, which counts as a class. If these rows are unlabelled, leave them out."
