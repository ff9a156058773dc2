"""Factor analysis of several views by expectation maximisation, and how many factors rows support. NumPy alone.

Factor analysis is the linear model of the form of a multimodal VAE: x_m = c_m + W_m z + noise, whose covariance Psi_m
is diagonal. The posterior of z given any subset A is Normal, with precision I + sum_A W_m' Psi_m^-1 W_m, so each view
brings a message (Rubin & Thayer 1982). EM starts from the principal components of all views side by side, each divided
by its first singular value, so that a large view does not drown a small one (multiple factor analysis, Escofier &
Pages 1994).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

ROUNDS = 20  # of EM: it nears ridge regression within them, and has not begun to fit noise
LEAST_NOISE = 1e-2  # variance of the noise of a standardised feature
MOST_HELD = 600  # rows whose errors are enough to tell numbers of factors apart

Views = Mapping[str, np.ndarray]  # by name: centred values (row, feature), 0 where a row lacks one; or Bool (row,)


class Factor(NamedTuple):
    """Of a view: loadings (feature, code), and noise (feature,), the variance that codes leave."""

    loadings: np.ndarray
    noise: np.ndarray

    @property
    def message(self) -> np.ndarray:
        """What an observed view tells of z per unit of each feature: (code, feature)."""
        return (self.loadings / self.noise[:, None]).T

    @property
    def precision(self) -> np.ndarray:
        return self.message @ self.loadings


def factors(views: Views, present: Views, codes: int) -> dict[str, Factor]:
    """Factor analysis of centred views (row, feature), 0 where a row lacks one; present: name -> Bool (row,).

    Codes are rotated so that the precisions of all views add up to a diagonal matrix, the largest first. Those beyond
    the rank of the data have loadings 0.
    """
    return next(analyses(views, present, [codes]))


def analyses(views: Views, present: Views, numbers: Sequence[int]) -> Iterator[dict[str, Factor]]:
    """`factors` with each of these numbers of codes; the principal components are found once."""
    firsts = (np.sqrt(np.linalg.eigvalsh(_gram(view))[-1].clip(1e-24)) for view in views.values())
    left = _components(np.hstack([view / first for view, first in zip(views.values(), firsts, strict=True)]))
    for codes in numbers:
        scores = left[:, :codes] * np.sqrt(len(left))
        found = {name: _regressed(view[present[name]], scores[present[name]]) for name, view in views.items()}
        for _ in range(ROUNDS):
            found = improved(found, views, present)
        rotation = np.linalg.eigh(np.sum([factor.precision for factor in found.values()], 0))[1][:, ::-1]
        padding = ((0, 0), (0, codes - scores.shape[1]))
        yield {name: Factor(np.pad(f.loadings @ rotation, padding), f.noise) for name, f in found.items()}


def _gram(table: np.ndarray) -> np.ndarray:
    """The products of rows, or of columns if they are fewer: as good as a singular value decomposition, and quicker."""
    return table @ table.T if len(table) < table.shape[1] else table.T @ table


def _components(table: np.ndarray) -> np.ndarray:
    """The left singular vectors (row, component) whose singular values can be told from 0, the largest first."""
    squares, vectors = np.linalg.eigh(_gram(table))
    told = np.flatnonzero(squares > 1e-12 * squares[-1])[::-1]
    if len(table) < table.shape[1]:
        return vectors[:, told]
    return table @ vectors[:, told] / np.sqrt(squares[told])


def _regressed(view: np.ndarray, scores: np.ndarray) -> Factor:
    loadings = np.linalg.lstsq(scores, view, rcond=None)[0].T
    return Factor(loadings, np.square(view - scores @ loadings.T).mean(0).clip(LEAST_NOISE))


def improved(found: Mapping[str, Factor], views: Views, present: Views) -> dict[str, Factor]:
    """One round of EM, each row by the views that it has."""
    mean, covariances, which = _posterior(found, views, present)
    result = {}
    for name, view in views.items():
        seen = present[name]
        counts = np.bincount(which[seen], minlength=len(covariances))
        second = mean[seen].T @ mean[seen] + np.tensordot(counts, covariances, 1)
        crossed = view[seen].T @ mean[seen]
        loadings = np.linalg.solve(second, crossed.T).T
        noise = (np.square(view[seen]).sum(0) - (loadings * crossed).sum(1)) / seen.sum()
        result[name] = Factor(loadings, noise.clip(LEAST_NOISE))
    return result


def filled(name: str, found: Mapping[str, Factor], views: Views, present: Views) -> np.ndarray:
    """The view `name` (row, feature) as expected given those views of a row that are `present`."""
    known = {other: view * present[other][:, None] for other, view in views.items()}
    return _posterior(found, known, present)[0] @ found[name].loadings.T


def without(name: str, present: Views) -> dict[str, np.ndarray]:
    """present, of all views but this one."""
    return {**present, name: np.zeros_like(present[name])}


def _posterior(found: Mapping[str, Factor], views: Views, present: Views) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of z given what a row has: means (row, code), covariances (pattern, code, code), and each row's pattern."""
    patterns, which = np.unique(np.stack([present[name] for name in views], 1), axis=0, return_inverse=True)
    precisions = np.stack([factor.precision for factor in found.values()])
    covariances = np.linalg.inv(np.eye(precisions.shape[1]) + np.tensordot(patterns.astype(float), precisions, 1))
    told = np.sum([view @ found[name].message.T for name, view in views.items()], 0)  # 0 from what a row lacks
    means = np.empty_like(told)
    for index, covariance in enumerate(covariances):
        means[which == index] = told[which == index] @ covariance
    return means, covariances, which


def cross_validated(
    views: Views, present: Views, known: Views, folds: np.ndarray, numbers: Sequence[int]
) -> np.ndarray:
    """Mean squared errors (number, view, row) with these numbers of codes, each view filled in given a row's others.

    known: name -> Bool (row, feature), the cells that count. folds: (row,), which fold a row is in. Rows of a fold are
    filled in by the factors of all rows outside it, until 600 rows are. NaN where a row lacks the view, or has nothing
    else, and in folds outside which no row has some view.
    """
    squares = np.full((len(numbers), len(views), len(folds)), np.nan)
    tried = 0
    for fold in np.unique(folds):
        held = folds == fold
        train, test = ({n: p[part] for n, p in present.items()} for part in (~held, held))
        if tried >= MOST_HELD or not all(seen.any() for seen in train.values()):
            continue
        tried += int(held.sum())
        rows = {name: view[held] for name, view in views.items()}
        fitted = analyses({name: view[~held] for name, view in views.items()}, train, numbers)
        for number, found in enumerate(fitted):
            for column, (name, view) in enumerate(rows.items()):
                given, counts = without(name, test), known[name][held]
                able = test[name] & np.any(list(given.values()), 0) & counts.any(1)
                wrong = np.square(view - filled(name, found, rows, given)) * counts
                squares[number, column, held] = np.where(able, wrong.sum(1) / np.maximum(counts.sum(1), 1), np.nan)
    return squares


def log_errors(squares: np.ndarray) -> np.ndarray:
    """(number,): means over views of log mean squared error, of what `cross_validated` finds; four digits."""
    scored = ~np.isnan(squares[0]).all(1)
    return np.log(np.nanmean(squares[:, scored], 2).clip(1e-12)).mean(1).round(4)


def clearly_best(squares: np.ndarray, usual: int) -> int:
    """The index of the number with the least error; `usual` where that is worse by at most two standard errors.

    These are of differences between two numbers in the same rows, in shares of each view's mean squared error.
    """
    least = int(log_errors(squares).argmin())
    scored = ~np.isnan(squares[0]).all(1)
    means = np.nanmean(squares[least, scored], 1, keepdims=True).clip(1e-12)
    shares = (squares[usual, scored] - squares[least, scored]) / means
    worse = np.nanmean(shares[:, ~np.isnan(shares).all(0)], 0)  # a row's views count alike
    is_close = worse.mean() <= 2 * worse.std() / np.sqrt(len(worse))
    return usual if is_close else least
