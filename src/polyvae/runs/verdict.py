"""A verdict in words: whether models fill in tables better than simpler methods, and whether intervals are right."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from polyvae import keys

ALIKE = 0.02  # share of an error: a smaller difference counts as a tie
RIGHT = 0.03  # how far the coverage of a right interval may be from .8
NARROW, WIDE = "too narrow", "wider than necessary"
BY = {"mean": "the column mean", "ridge": "ridge", "knn": "kNN", "iterative": "IterativeImputer"}


@dataclass(frozen=True)
class Filled:
    """How well a method fills in a table: errors in the table's model units; `plain` is the best simpler method's.

    doubt: the standard error of the gain over rows, or over groups of them: infinite where all rows are of one group, 0
    where a record does not tell. validation: the method's own error on validation rows. tried: of how many methods this
    one is the best on the test rows, 1 where these had no part in the choice. spread: the standard error of the
    coverage, 0 where a record does not tell. mean: the error of the column mean, which shows how large an error is.
    accuracy: of classes, the share of rows whose likeliest one is true, and that of the simpler method.
    """

    method: str
    where: str
    error: float
    baseline: str
    plain: float
    coverage: float | None
    doubt: float = 0.0
    validation: float | None = None
    tried: int = 1
    spread: float = 0.0
    mean: float | None = None
    accuracy: tuple[float, float] | None = None

    @property
    def gain(self) -> float:
        if not self.plain:
            return -math.inf if self.error else 0.0
        return 1 - self.error / self.plain

    @property
    def least(self) -> float:
        """The smallest gain that counts: a share of the error, and twice what chance makes of it."""
        return max(ALIKE, 2 * self.doubt)

    @property
    def is_ahead(self) -> bool:
        return self.gain > self.least

    @property
    def chosen(self) -> str:
        """How the method was chosen, where that flatters it."""
        return f" (best of {self.tried} on these test rows)" if self.tried > 1 else ""

    @property
    def scale(self) -> str:
        """The error of the column mean, unless that is the simpler method; and how often classes are found."""
        named = self.mean is None or self.baseline == BY["mean"]
        shares = [f"{100 * share:.0f} %" for share in self.accuracy or ()]
        correct = (
            f"; {self.method} finds the class in {shares[0]} of rows, {self.baseline} in {shares[1]}" if shares else ""
        )
        return ("" if named else f", {BY['mean']} {self.mean:.3f}") + correct

    @property
    def said(self) -> str:
        if self.gain < -self.least:
            sizes = f"error {self.plain:.3f}, {self.method} {self.error:.3f}{self.scale}"
            return f"{self.baseline} is better than {self.method}{self.chosen} on {self.where} ({sizes})"
        sizes = f"error {self.error:.3f}, {self.baseline} {self.plain:.3f}{self.scale}"
        if not self.is_ahead:
            return f"{self.method}{self.chosen} does not differ clearly from {self.baseline} on {self.where} ({sizes})"
        low, high = (100 * (self.gain + side * self.doubt) for side in (-2, 2))
        within = f" (95 %: {low:.0f} to {high:.0f})" if self.doubt else ""
        return f"{self.method}{self.chosen} gains {100 * self.gain:.0f} %{within} on {self.where} ({sizes})"

    @property
    def interval_fault(self) -> str | None:
        """What is wrong with the intervals, beyond what chance makes of their coverage on few test rows."""
        if self.coverage is None or abs(self.coverage - 0.8) <= max(RIGHT, 2 * self.spread):
            return None
        return NARROW if self.coverage < 0.8 else WIDE


def verdict(scores: Mapping[str, Mapping[str, float]], names: Sequence[str], seeds: int) -> list[str]:
    """Sentences: the best method against the best simpler one for every table, then the intervals; [] without a table.

    Validation rows choose both, where every method has an error there.
    scores: name of a method -> its metrics, means over at most `seeds` seeds. names: of all modalities.
    """
    if not (found := _best(scores, names)):
        return []
    ahead = sum(filled.is_ahead for filled in found)
    sentences = [f"{filled.said}." for filled in found]
    if len(found) > 1:
        sentences.insert(0, f"better than simpler methods on {ahead} of {len(found)} tables.")
    doubt = "With a single seed, small differences may be chance." if seeds == 1 else ""
    return [f"Filling in tables: {sentences[0]}", *sentences[1:], *filter(None, (_intervals(found), doubt))]


def in_short(scores: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> str:
    """The same as a headline: on how many tables a model is ahead, and whether its intervals are right."""
    if not (found := _best(scores, names)):
        return ""
    ahead = [filled for filled in found if filled.is_ahead]
    what = found[0].where if len(found) == 1 else f"{len(ahead)} of {len(found)} tables"
    plain = found[0].baseline if len(found) == 1 else "simpler methods"
    if len(ahead) == 1 == len(found):
        lead = f"{ahead[0].method} fills in {what} {100 * ahead[0].gain:.0f} % better than {plain}"
    elif ahead:
        lead = f"{' or '.join(dict.fromkeys(filled.method for filled in ahead))} fills in {what} better than {plain}"
    else:
        lead = f"No model fills in {what if len(found) == 1 else 'these tables'} better than {plain}"
    chosen = max(ahead, key=lambda filled: filled.tried).chosen if ahead else ""
    return lead + chosen + _intervals_in_short(found)


def _best(scores: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> list[Filled]:
    """The best method for every table."""
    by_table: dict[str, list[Filled]] = defaultdict(list)
    for method, metrics in scores.items():
        for filled in _filled(method, metrics, names):
            by_table[filled.where].append(filled)
    return [_chosen(candidates) for candidates in by_table.values()]


def _chosen(candidates: Sequence[Filled]) -> Filled:
    """The one with the least error on validation rows; where a record lacks it, on the test rows."""
    known = [(filled.validation, filled) for filled in candidates if filled.validation is not None]
    if len(known) == len(candidates):
        return min(known, key=lambda pair: pair[0])[1]
    return replace(min(candidates, key=lambda filled: filled.error), tried=len(candidates))


def _filled(method: str, metrics: Mapping[str, float], names: Sequence[str]) -> Iterable[Filled]:
    fillings = keys.fillings(metrics)
    for target in names:
        plain = {BY[name]: metrics[key] for name in BY if (key := keys.imputation_by(name, target)) in metrics}
        chosen = {BY[name]: metrics.get(keys.imputation_by(name, target, "validation"), math.inf) for name in BY}
        accuracies = {BY[name]: metrics.get(keys.imputation_by(name, target, "accuracy"), math.nan) for name in BY}
        doubts = {BY[name]: _doubt(metrics, name, target) for name in BY}
        for filling in fillings:
            if plain and filling.target == target:
                baseline = min(plain, key=lambda name: (chosen[name], plain[name]))  # by validation rows, if it can be
                from_all = filling.is_from_all_others(names) and len(names) > 2
                where = target if from_all else f"{target} given {filling.given.replace('+', ' and ')}"
                held, coverage, spread, accuracy = (
                    metrics.get(filling.key(score)) for score in ("validation", "coverage", "coverage_se", "accuracy")
                )
                doubt = doubts[baseline]
                yield Filled(
                    *(method, where, metrics[filling.key()], baseline, plain[baseline], coverage, doubt, held),
                    spread=spread or 0.0,
                    mean=plain.get(BY["mean"]),
                    accuracy=None if accuracy is None else (accuracy, accuracies[baseline]),
                )


def _doubt(metrics: Mapping[str, float], baseline: str, target: str) -> float:
    """The standard error of the gain; infinite where a gain has none, 0 where a record has neither."""
    gain, error = (keys.imputation_by(baseline, target, score) for score in ("gain", "gain_se"))
    return metrics.get(error, math.inf if gain in metrics else 0.0)


def _intervals_in_short(found: Sequence[Filled]) -> str:
    if all(filled.coverage is None for filled in found):
        return ""
    faults = " and some ".join(_faults(found))
    return f"; some 80 % intervals are {faults}" if faults else "; 80 % intervals hold what they should"


def _intervals(found: Sequence[Filled]) -> str:
    held = [filled.coverage for filled in found if filled.coverage is not None]
    if not held:
        return ""
    low, high = f"{min(held):.2f}", f"{max(held):.2f}"
    span = low if low == high else f"{low} to {high}"
    doubt = 2 * max(filled.spread for filled in found)
    within = f" (95 %: ± {doubt:.2f}{' at most' * (len(held) > 1)})" if doubt else ""
    faults = _faults(found)
    judged = f"but some are {' and some '.join(faults)}" if faults else "as they should"
    return f"80 % intervals hold {span} of the truth on test rows{within}, {judged}."


def _faults(found: Sequence[Filled]) -> list[str]:
    there = {filled.interval_fault for filled in found}
    return [fault for fault in (NARROW, WIDE) if fault in there]
