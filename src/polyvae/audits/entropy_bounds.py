"""Bounds of conditional entropies from rows of quantised data, averaged over an S; `estimate` is their user."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from polyvae.audits.conditionals import Rows, Score
from polyvae.noise import derive_seed
from polyvae.subsets import SubsetMixture
from polyvae.theory.plugin import ids_of, interval, surprisal

UPPER = (
    "held-out cross-entropy of normalised models q(x_m | x_A) never falls below the entropy; a row of the worst "
    "kind is added, as rare ones may be missing"
)
PLUGIN = "plug-in conditional entropy is too small in expectation (concavity); no assumption"
LABELLED = "plug-in entropy given the label; assumes that modalities are independent given it"


class End(NamedTuple):
    """One end of an interval, in nats: value with its bootstrap 95 % limit on the outer side already taken."""

    value: float
    estimate: float
    reason: str


class Interval(NamedTuple):
    lower: End
    upper: End


class EntropyBounds:
    """Per-row values of every bound, averaged over S row by row, so that a bootstrap sees all their correlations."""

    def __init__(
        self, scores: Mapping[str, Score], test_rows: Rows, everything: Rows, labels: np.ndarray | None, seed: int
    ) -> None:
        """scores: of every modality; test_rows: held out from them; everything: these and the training rows.

        labels: Int (row,) of everything; not used where the data refute that they are all that modalities share.
        """
        self.names, self.scores, self.test_rows, self.everything = tuple(scores), scores, test_rows, everything
        self.test_count, self.count = (len(next(iter(rows.values()))) for rows in (test_rows, everything))
        self.single = {name: ids_of(rows) for name, rows in everything.items()}
        self.label = None if labels is None else ids_of(labels[:, None])
        self.rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
        self.scored: dict[tuple[str, tuple[str, ...], bool], np.ndarray] = {}
        self.plugged: dict[Any, np.ndarray] = {}
        self.refuted = None if labels is None else self._refuted()
        if self.refuted is not None:
            self.label = None

    @property
    def joint(self) -> End:
        return self._upper(self._chain(()))

    def delta(self, S: SubsetMixture) -> Interval:
        terms = _weights(S)
        upper = sum(weight * self._chain(given) for given, weight in terms.items())
        return Interval(self._lower(terms), self._upper(np.asarray(upper)))

    def hidden(self, name: str, S: SubsetMixture) -> Interval:
        """sum over A without the modality of w_A H(X_m | X_A)."""
        terms = {given: weight for given, weight in _weights(S).items() if name not in given}
        upper = sum(weight * self._score(name, given) for given, weight in terms.items())
        return Interval(self._lower(terms, (name,)), self._upper(np.asarray(upper)))

    def factorised(self, S: SubsetMixture) -> Interval:
        """sum over A and features j outside A of w_A H(x_j | X_A)."""
        terms = _weights(S)
        upper = sum(w * self._score(n, a, by_feature=True) for a, w in terms.items() for n in self._rest(a))
        return Interval(self._lower(terms, by_feature=True), self._upper(np.asarray(upper)))

    def alone(self, name: str) -> Interval:
        """sum over the features j of a modality of H(x_j)."""
        return Interval(self._plugin(name, ()), self._upper(self._score(name, (), by_feature=True)))

    def known(self, name: str) -> Interval:
        """sum over the features j of a modality of I(x_j; all others): 0 for each if it shares nothing with them.

        No assumption about labels enters: that modalities are independent given them would decide the matter.
        """
        rest, alone = self._rest((name,)), self.alone(name)
        least, most = self._plugin(name, rest), self._upper(self._score(name, rest, by_feature=True))
        lower, upper = alone.lower.value - most.value, alone.upper.value - least.value
        return Interval(
            End(max(0.0, lower), alone.lower.estimate - most.estimate, f"{PLUGIN}; {UPPER}"),
            End(max(0.0, upper), alone.upper.estimate - least.estimate, f"{UPPER}; {PLUGIN}"),
        )

    def _plugin(self, name: str, given: tuple[str, ...]) -> End:
        """A lower end of sum_j H(x_j | x_given)."""
        values = self._entropy((name,), given, True)
        return End(interval(values, self.rng)[0], float(values.mean()), PLUGIN)

    def _refuted(self) -> str | None:
        """Where a model tells more of a modality from the others than the label would allow, were it all they share."""
        for name in self.names:
            least = interval(self._entropy((name,), None, True), self.rng)[0]
            reached = self._upper(self._score(name, self._rest((name,)), by_feature=True)).value
            if reached < least:
                return (
                    f"the labels are not used: features of {name} have {least:,.1f} nats given the label, but "
                    f"{reached:,.1f} given the other modalities, so modalities share more than the label"
                )
        return None

    def _rest(self, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in given)

    def _score(self, name: str, given: tuple[str, ...], *, by_feature: bool = False) -> np.ndarray:
        """-log q(x_name | x_given) of held-out rows, and the most it could be: (2, row)."""
        key = (name, tuple(n for n in self.names if n in given), by_feature)
        if key not in self.scored:
            self.scored[key] = self.scores[name](self.test_rows, key[1], by_feature)
        return self.scored[key]

    def _chain(self, given: tuple[str, ...]) -> np.ndarray:
        """-log q(x_rest | x_given), one modality after the other, and the most it could be: (2, row)."""
        total, seen = np.zeros((2, self.test_count)), given
        for name in self._rest(given):
            total, seen = total + self._score(name, seen), (*seen, name)
        return total

    def _upper(self, values: np.ndarray) -> End:
        """values: as `_chain`. A bootstrap knows only the rows that it saw, and where costly ones are rare there may be
        few or none among them. So one more is added, of the most that any row could cost. If all cost 0 or that, its
        limit is within a row of the exact binomial one (Clopper & Pearson 1934): 3 where none was seen, not 3.7."""
        nats, most = np.broadcast_to(values, (2, self.test_count))
        return End(interval(np.append(nats, most.max()), self.rng)[1], float(nats.mean()), UPPER)

    def _lower(
        self, terms: Mapping[tuple[str, ...], float], of: tuple[str, ...] | None = None, *, by_feature: bool = False
    ) -> End:
        """The larger of what holds without and with the assumption about labels; of: None for all outside A."""
        pairs = [(a, w, self._rest(a) if of is None else of) for a, w in terms.items()]
        bounds = [(PLUGIN, [w * self._entropy(rest, a, by_feature) for a, w, rest in pairs])]
        if self.label is not None:
            bounds.append((LABELLED, [w * self._entropy((n,), None, by_feature) for _, w, rest in pairs for n in rest]))
        ends = []
        for reason, parts in bounds:
            values = sum(parts, np.zeros(self.count))
            ends.append(End(max(0.0, interval(values, self.rng)[0]), float(values.mean()), reason))
        return max(ends, key=lambda end: end.value)

    def _entropy(self, names: tuple[str, ...], given: tuple[str, ...] | None, by_feature: bool) -> np.ndarray:
        """Per-row plug-in H(x_names | x_given), given None: the label; by_feature: summed feature by feature."""
        if by_feature and len(names) > 1:
            return sum((self._entropy((name,), given, True) for name in names), np.zeros(self.count))
        key = (names, given, by_feature)
        if key not in self.plugged:
            condition = self.label if given is None and self.label is not None else self._ids(given or ())
            columns = list(self.everything[names[0]].T) if by_feature and names else [self._ids(names)]
            self.plugged[key] = sum((surprisal(column, condition) for column in columns), np.zeros(self.count))
        return self.plugged[key]

    def _ids(self, names: tuple[str, ...]) -> np.ndarray:
        """Numbers of the joint value of `names` in all rows."""
        return ids_of(np.stack([self.single[name] for name in names], 1)) if names else np.zeros(self.count, np.int64)


def _weights(S: SubsetMixture) -> dict[tuple[str, ...], float]:
    """subset A -> its weight, summed over terms of the same A."""
    weights: dict[tuple[str, ...], float] = {}
    for term in S.terms:
        weights[term.given] = weights.get(term.given, 0.0) + term.weight
    return weights
