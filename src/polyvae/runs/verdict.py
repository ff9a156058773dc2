"""A verdict in words: whether models fill in tables better than simpler methods, and whether intervals are right."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from polyvae import keys

ALIKE = 0.02  # share of an error: a smaller difference counts as a tie
RIGHT = 0.03  # how far the coverage of a right interval may be from .8
BY = {"mean": "the column mean", "ridge": "ridge", "knn": "kNN", "iterative": "IterativeImputer"}


@dataclass(frozen=True)
class Filled:
    """How well a method fills in a table: errors in the table's model units; `plain` is the best simpler method's.

    doubt: the standard error of the gain over rows, 0 where it is not known.
    """

    method: str
    where: str
    error: float
    baseline: str
    plain: float
    coverage: float | None
    doubt: float = 0.0

    @property
    def gain(self) -> float:
        return 1 - self.error / self.plain

    @property
    def least(self) -> float:
        """The smallest gain that counts: a share of the error, and twice what chance makes of it."""
        return max(ALIKE, 2 * self.doubt)

    @property
    def is_ahead(self) -> bool:
        return self.gain > self.least

    @property
    def said(self) -> str:
        if self.is_ahead:
            sizes = f"error {self.error:.3f}, {self.baseline} {self.plain:.3f}"
            give = f" ± {200 * self.doubt:.0f}" if self.doubt else ""
            return f"{self.method} gains {100 * self.gain:.0f}{give} % on {self.where} ({sizes})"
        found = "is better than" if self.gain < -self.least else "is as good as"
        sizes = f"error {self.plain:.3f}, {self.method} {self.error:.3f}"
        return f"{self.baseline} {found} {self.method} on {self.where} ({sizes})"


def verdict(scores: Mapping[str, Mapping[str, float]], names: Sequence[str], seeds: int) -> str:
    """The best method against the best simpler method for every table, and the intervals; empty if there is no table.

    scores: name of a method -> its metrics, means over at most `seeds` seeds. names: of all modalities.
    """
    if not (found := _best(scores, names)):
        return ""
    ahead = sum(filled.is_ahead for filled in found)
    lead = f" (better than simpler methods on {ahead} of {len(found)})" if len(found) > 1 else ""
    said = "; ".join(filled.said for filled in found)
    doubt = " With a single seed, small differences may be chance." if seeds == 1 else ""
    return f"Filling in tables{lead}: {said}.{_intervals(found)}{doubt}"


def in_short(scores: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> str:
    """The same as a headline: on how many tables a model is ahead, and whether its intervals are right."""
    if not (found := _best(scores, names)):
        return ""
    ahead = [filled for filled in found if filled.gain > ALIKE]
    what = found[0].where if len(found) == 1 else f"{len(ahead)} of {len(found)} tables"
    plain = found[0].baseline if len(found) == 1 else "simpler methods"
    if len(ahead) == 1 == len(found):
        lead = f"{ahead[0].method} fills in {what} {100 * ahead[0].gain:.0f} % better than {plain}"
    elif ahead:
        lead = f"{' or '.join(dict.fromkeys(filled.method for filled in ahead))} fills in {what} better than {plain}"
    else:
        lead = f"No model fills in {what if len(found) == 1 else 'these tables'} better than {plain}"
    return lead + _intervals_in_short(found)


def _best(scores: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> list[Filled]:
    """The best method for every table."""
    every = [filled for method, metrics in scores.items() for filled in _filled(method, metrics, names)]
    best = {filled.where: filled for filled in sorted(every, key=lambda filled: -filled.error)}
    return [best[where] for where in dict.fromkeys(filled.where for filled in every)]


def _filled(method: str, metrics: Mapping[str, float], names: Sequence[str]) -> Iterable[Filled]:
    for target in names:
        plain = {BY[name]: metrics[key] for name in BY if (key := keys.imputation_by(name, target)) in metrics}
        chosen = {BY[name]: metrics.get(keys.imputation_by(name, target, "validation"), math.inf) for name in BY}
        doubts = {BY[name]: metrics.get(keys.imputation_by(name, target, "gain_se"), 0.0) for name in BY}
        for given, (error, coverage) in _errors(metrics, target).items():
            if plain:
                baseline = min(plain, key=lambda name: (chosen[name], plain[name]))  # by validation rows, if it can be
                from_all = given == keys.joined(keys.all_but(target, names)) and len(names) > 2
                where = target if from_all else f"{target} given {given.replace('+', ' and ')}"
                yield Filled(method, where, error, baseline, plain[baseline], coverage, doubts[baseline])


def _errors(metrics: Mapping[str, float], target: str) -> dict[str, tuple[float, float | None]]:
    """given -> error and coverage of a target."""
    parts = {key: key.split("/") for key in metrics if key.startswith("imputation/")}
    return {
        part[1]: (metrics[key], metrics.get(keys.of(keys.stem(key), "coverage")))
        for key, part in parts.items()
        if part[2:] == [target, "rmse"] and part[1] not in keys.BASELINES
    }


def _intervals_in_short(found: Sequence[Filled]) -> str:
    held = [filled.coverage for filled in found if filled.coverage is not None]
    if not held:
        return ""
    faults = " and some ".join(_faults(held))
    return f"; some 80 % intervals are {faults}" if faults else "; 80 % intervals hold what they should"


def _intervals(found: Sequence[Filled]) -> str:
    held = [filled.coverage for filled in found if filled.coverage is not None]
    if not held:
        return ""
    low, high = min(held), max(held)
    span = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
    faults = _faults(held)
    judged = f"but some are {' and some '.join(faults)}" if faults else "as they should"
    return f" 80 % intervals hold {span} of the truth on test rows, {judged}."


def _faults(held: Sequence[float]) -> list[str]:
    return ["too narrow"] * (min(held) < 0.8 - RIGHT) + ["wider than necessary"] * (max(held) > 0.8 + RIGHT)
