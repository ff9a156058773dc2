"""Before training: intervals for Delta(X, S) on the user's own data, with the direction and reason of each end.

Real values are quantised first, so every number is about the quantised data. Upper ends are held-out cross-entropies of
normalised models. Lower ends are plug-in conditional entropies, which are too small in expectation whatever the data,
and, if there are labels, the same given the label, which assumes that modalities are independent given it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polyvae import subsets
from polyvae.conditionals import Rows, Score, network_model, table_model
from polyvae.dataset import MultimodalDataset
from polyvae.datasets import load
from polyvae.errors import InputError
from polyvae.noise import derive_seed
from polyvae.subsets import SubsetMixture
from polyvae.theory.plugin import edges_of, ids_of, interval, quantised, surprisal

LEAST_ROWS = 200
MOST_MODALITIES = 8
ROWS_A_CELL = 4  # training rows a cell of the joint table, at least, for counting instead of a network
PRESETS = ("mvae", "mmvae", "mopoe")
UPPER = "held-out cross-entropy of normalised models q(x_m | x_A) never falls below the entropy"
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


@dataclass(frozen=True)
class Estimate:
    """delta, factorised: method -> interval, in nats. factorised is the floor of line 6 at beta 0, which binds decoders
    that treat an unseen modality's features as independent, as nearly all do.

    refuted: why lower ends do not use the labels, where the data contradict that modalities are independent given them.
    joint: upper end of H(X). own: modality -> the interval of H(X_m | all others), what nothing else tells about it.
    """

    rows: int
    described: Mapping[str, str]
    refuted: str | None
    models: str
    joint: End
    own: Mapping[str, Interval]
    delta: Mapping[str, Interval]
    factorised: Mapping[str, Interval]

    @cached_property
    def advice(self) -> str:
        return "\n".join(_advice(self))


def estimate(
    data: Path | str | Mapping[str, Any] | MultimodalDataset,
    *,
    S: Mapping[str, SubsetMixture] | None = None,
    bins: int = 16,
    seed: int = 0,
    on_part: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Estimate:
    """Intervals of Delta for `S` (default: MVAE, MMVAE, MoPoE), from an .npz file, arrays or a data set.

    bins: values of a quantised feature, by quantiles of the training rows. on_part: is told the part under way, how
    many are done, and of how many. A fifth of the rows is held out.
    Raises InputError for fewer than 200 complete rows, one modality, or more than 8.
    """
    if bins < 2:
        raise InputError(f"bins {bins} must be at least 2")
    if isinstance(data, MultimodalDataset):
        parts = _cut(data, seed)
    else:
        parts = tuple(load("arrays", data=data, split=split, seed=seed) for split in ("train", "test"))
    train, test = (_complete(part) for part in parts)
    _check(parts[0], len(train), len(test))
    edges = {name: edges_of(_flat(train, name), bins) for name in train.names}
    rows, held_out = ({n: quantised(_flat(part, n), edges[n]) for n in edges} for part in (train, test))
    widths = {name: np.array([len(cuts) + 1 for cuts in edges[name]]) for name in edges}
    log_cells = sum(float(np.log(width).sum()) for width in widths.values())
    counted = log_cells + np.log(ROWS_A_CELL) <= np.log(len(train))
    scores: dict[str, Score] = {}
    for done, name in enumerate(edges):
        on_part(f"a model of {name} given the others", done, len(edges))
        scores[name] = table_model(rows, name, widths) if counted else network_model(rows, name, widths, seed)
    on_part("", len(edges), len(edges))
    everything = {name: np.concatenate([rows[name], held_out[name]]) for name in edges}
    labels = None if train.labels is None or test.labels is None else np.concatenate([train.labels, test.labels])
    mixtures = {name: getattr(subsets, name)(train.names) for name in PRESETS} if S is None else S
    bounds = _Bounds(tuple(edges), scores, held_out, everything, labels, seed)
    refuted = bounds.refuted
    if refuted is not None:
        bounds.label = None
    return Estimate(
        rows=len(train) + len(test),
        described={n: f"{len(w)} features of {w.min()} to {w.max()} values" for n, w in widths.items()},
        refuted=refuted,
        models="counts of every cell" if counted else "one masked network a modality",
        joint=bounds.joint,
        own={name: bounds.own(name) for name in edges},
        delta={name: bounds.delta(mixture) for name, mixture in mixtures.items()},
        factorised={name: bounds.factorised(mixture) for name, mixture in mixtures.items()},
    )


class _Bounds:
    """Per-row values of every bound, averaged over S row by row, so that a bootstrap sees all their correlations."""

    def __init__(
        self,
        names: tuple[str, ...],
        scores: Mapping[str, Score],
        held_out: Rows,
        everything: Rows,
        labels: np.ndarray | None,
        seed: int,
    ) -> None:
        self.names, self.scores, self.held_out, self.everything = names, scores, held_out, everything
        self.count = len(next(iter(everything.values())))
        self.single = {name: ids_of(rows) for name, rows in everything.items()}
        self.plugged: dict[Any, np.ndarray] = {}
        self.label = None if labels is None else ids_of(labels[:, None])
        self.rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
        self.known: dict[tuple[str, tuple[str, ...], bool], np.ndarray] = {}

    @property
    def joint(self) -> End:
        return self._upper(self._chain(()))

    @property
    def refuted(self) -> str | None:
        """Where a model tells more of a modality from the others than the label would allow, were it all they share."""
        for name in self.names if self.label is not None else ():
            least = interval(self._entropy((name,), None, True), self.rng)[0]
            reached = self._upper(self._score(name, self._rest((name,)), by_feature=True)).value
            if reached < least:
                return (
                    f"the labels are not used: features of {name} have {least:,.1f} nats given the label, but "
                    f"{reached:,.1f} given the other modalities, so modalities share more than the label"
                )
        return None

    def own(self, name: str) -> Interval:
        rest = tuple(n for n in self.names if n != name)
        return Interval(self._lower({rest: 1.0}), self._upper(self._score(name, rest)))

    def delta(self, S: SubsetMixture) -> Interval:
        terms = {t.given: t.weight for t in S.terms}
        upper = sum(weight * self._chain(given) for given, weight in terms.items())
        return Interval(self._lower(terms), self._upper(np.asarray(upper)))

    def factorised(self, S: SubsetMixture) -> Interval:
        """sum over A and features j outside A of w_A H(x_j | X_A)."""
        terms = {t.given: t.weight for t in S.terms}
        upper = sum(w * self._score(n, a, by_feature=True) for a, w in terms.items() for n in self._rest(a))
        return Interval(self._lower(terms, by_feature=True), self._upper(np.asarray(upper)))

    def _rest(self, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in given)

    def _score(self, name: str, given: tuple[str, ...], *, by_feature: bool = False) -> np.ndarray:
        """-log q(x_name | x_given) of held-out rows."""
        key = (name, tuple(n for n in self.names if n in given), by_feature)
        if key not in self.known:
            self.known[key] = self.scores[name](self.held_out, key[1], by_feature)
        return self.known[key]

    def _chain(self, given: tuple[str, ...]) -> np.ndarray:
        """-log q(x_rest | x_given), one modality after the other: (row,)."""
        total, seen = np.zeros(len(next(iter(self.held_out.values())))), tuple(given)
        for name in self._rest(given):
            total, seen = total + self._score(name, seen), (*seen, name)
        return total

    def _upper(self, values: np.ndarray) -> End:
        values = np.broadcast_to(values, len(next(iter(self.held_out.values()))))
        return End(interval(values, self.rng)[1], float(values.mean()), UPPER)

    def _lower(self, terms: Mapping[tuple[str, ...], float], *, by_feature: bool = False) -> End:
        """The larger of what holds without and with the assumption about labels."""
        found = [(PLUGIN, [w * self._entropy(self._rest(a), a, by_feature) for a, w in terms.items()])]
        if self.label is not None:
            found.append(
                (LABELLED, [w * self._entropy((n,), None, by_feature) for a, w in terms.items() for n in self._rest(a)])
            )
        ends = []
        for reason, parts in found:
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


def _cut(data: MultimodalDataset, seed: int) -> tuple[MultimodalDataset, MultimodalDataset]:
    order = np.random.default_rng(derive_seed(seed, "estimate")).permutation(len(data))
    held_out = max(1, len(data) // 5)
    return data.rows(order[held_out:].tolist()), data.rows(order[:held_out].tolist())


def _complete(data: MultimodalDataset) -> MultimodalDataset:
    return data.rows(data.present.all(-1).nonzero().squeeze(1))


def _flat(data: MultimodalDataset, name: str) -> np.ndarray:
    """(row, feature); a one-hot modality is one feature, its class."""
    values = data.values[name]
    kind = type(next(m for m in data.modalities if m.name == name).likelihood).__name__
    if kind == "Categorical":
        values = values.argmax(-1)
    return values.reshape(len(data), -1).double().numpy()


def _check(whole: MultimodalDataset, train: int, test: int) -> None:
    if train + test < LEAST_ROWS:
        raise InputError(
            f"{train + test} rows have every modality; an estimate needs at least {LEAST_ROWS}, or it says nothing"
        )
    if not 2 <= len(whole.names) <= MOST_MODALITIES:
        raise InputError(f"{len(whole.names)} modalities; an estimate takes 2 to {MOST_MODALITIES}, so give fewer")


def _advice(found: Estimate) -> list[str]:
    lines = []
    for method, (lower, upper) in found.delta.items():
        if upper.value <= 1e-9:
            lines.append(f"{method}: Delta is 0, it encodes every modality at once.")
        elif upper.value <= 0.02 * found.joint.value:
            lines.append(f"{method}: costs at most {upper.value:,.1f} nats, under 2 % of the data: cheap.")
        elif lower.value > 0.02 * found.joint.value:
            lines.append(
                f"{method}: costs at least {lower.value:,.1f} and at most {upper.value:,.1f} nats whatever is trained."
            )
        else:
            lines.append(
                f"{method}: between {lower.value:,.1f} and {upper.value:,.1f} nats: what it costs cannot be decided "
                "from these rows."
            )
        floor = found.factorised[method].lower
        if floor.value > lower.value:
            lines[-1] += f" Decoders with independent features lose at least {floor.value:,.1f}."
    most = max(found.own, key=lambda name: found.own[name].upper.value)
    lines.append(
        f"Most of it can come from {most}: up to {found.own[most].upper.value:,.1f} nats that no other modality tells. "
        "Methods with S = {all} (mvae) avoid the cost; mvae_plus adds terms that predict only what they encode."
    )
    return lines
