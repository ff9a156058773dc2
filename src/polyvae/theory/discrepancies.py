"""The generative discrepancy Delta(X, S), what it is made of, and the bounds that follow from it (docs/theory.md).

Wherever `law` stands, it is a joint table (one axis per modality, in the order of S's names), its `Entropies`, or a
generator that knows them (`.entropies`). All values in nats.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.special import comb

from polyvae import subsets
from polyvae.errors import InputError
from polyvae.subsets import Powerset, SubsetMixture, Term
from polyvae.theory.information import Entropies, entropies

CONTINUOUS = (
    "is a statement about discrete data: with densities H(X_A | Z_A) may be negative, and units change Delta; "
    "quantise the data, or score bytes by the mass of their bins (likelihood laplace_8bit)"
)


class KnowsEntropies(Protocol):
    @property
    def entropies(self) -> Entropies: ...


Law = Entropies | KnowsEntropies | np.ndarray | Sequence[Any]


def known(law: Law, S: SubsetMixture | None = None) -> Entropies:
    """The entropies of a law over the modalities of S. Raises InputError where S and the law do not fit."""
    given: Any = law
    H = given if isinstance(given, Entropies) else getattr(given, "entropies", None)
    if not isinstance(H, Entropies):
        axes = np.ndim(given)
        if S is not None and axes != len(S.names):
            raise InputError(f"the table has {axes} axes, S is over {len(S.names)} modalities: {', '.join(S.names)}")
        H = entropies(given, None if S is None else S.names)
    if S is None or S.names == H.names:
        return H
    if unknown := [name for name in S.names if name not in H.names]:
        raise InputError(f"S is over {unknown[0]!r}, which the law does not know; it knows {', '.join(H.names)}")
    return H.select(S.names)


def presets(names: tuple[str, ...]) -> dict[str, SubsetMixture]:
    """The members of the family over these modalities that are compared everywhere: method -> its S."""
    return {"mvae": subsets.mvae(names), "mmvae": subsets.mmvae(names), "mopoe": subsets.mopoe(names)}


def discrepancy(law: Law, S: SubsetMixture) -> float:
    """Delta(X, S) = sum_A w_A H(X_notA | X_A) = H(X) - sum_A w_A H(X_A) (paper, eq. 5; docs/theory.md, line 1).

    For differential entropies the same sum, which may be negative and depends on units.
    Raises InputError for an S that is not a mixture over targets `all` (eq. 84): Delta is not defined for it.
    """
    H = known(law, S)
    members, weights = _mixture(S, H)
    delta = float(H.joint - weights @ H.values[members])
    return max(delta, 0.0) if H.is_discrete else delta


class Share(NamedTuple):
    """What one subset adds to Delta: weight times missing = H(X_notA | X_A)."""

    given: tuple[str, ...]
    weight: float
    missing: float


def by_subset(law: Law, S: SubsetMixture) -> tuple[Share, ...]:
    """Delta by the subset that is encoded: the shares' weight * missing sum to it."""
    H = known(law, S)
    _mixture(S, H)
    return tuple(Share(t.given, t.weight, H.joint - float(H.values[H.index(t.given)])) for t in S.terms)


def by_modality(law: Law, S: SubsetMixture) -> dict[str, float]:
    """Delta by the modality that is missing: name -> its Shapley value in H(X_notA | X_A), averaged over S.

    H(X_notA | X_A) is added up over the modalities outside A in every order, and each is given its mean share; the
    values sum to Delta, and to sum of w_A H(X_m | X_A) where the modalities are independent given each X_A.
    """
    H = known(law, S)
    members, weights = _mixture(S, H)
    game = _expected_game(H, members, weights)
    return {name: float(value) for name, value in zip(H.names, _shapley(game, len(H.names)), strict=True)}


def beta_gap(law: Law, S: SubsetMixture, beta: float) -> float:
    """The least value of D + beta R over all models, up to beta H(w) (docs/theory.md, line 4).

    beta in [0, 1]: Delta + beta sum_A w_A H(X_A) = beta H(X) + (1 - beta) Delta; above 1: H(X).
    Raises InputError for continuous data.
    """
    if not (0 <= beta < float("inf")):
        raise InputError(f"beta is {beta}; it must be a finite number, at least 0")
    H = known(law, S)
    if not H.is_discrete:
        raise InputError(f"the beta gap {CONTINUOUS}")
    small = min(beta, 1.0)
    return small * H.joint + (1 - small) * discrepancy(H, S)


def weight_entropy(S: SubsetMixture) -> float:
    """H(w) of the weights of S, the most by which L_S falls short of the bound of the mixture itself (eq. 27)."""
    weights = S.weights.numpy()
    return float(-(weights * np.log(weights)).sum())


class Corollary2(NamedTuple):
    """The change of Delta when a modality is added, in three terms (paper, eq. 81-82); only `shared` is negative."""

    shared: float
    specific_to_old: float
    specific_to_new: float

    @property
    def change(self) -> float:
        return sum(self)


def corollary2(law: Law, added: str, method: str) -> Corollary2:
    """Corollary 2's terms for adding the modality `added` to the others, for S of `mmvae` or `mopoe`.

    Raises InputError for another method: the corollary is about their uniform weights.
    """
    uniform = {"mmvae": subsets.mmvae, "mopoe": subsets.mopoe}
    if method not in uniform:
        raise InputError(f"Corollary 2 is about the uniform weights of {' and '.join(uniform)}, not of {method!r}")
    H = known(law)
    old = tuple(name for name in H.names if name != added)
    if len(old) == len(H.names) or not old:
        raise InputError(f"cannot add {added!r} to {', '.join(old)}; name one of at least two modalities")
    given = [term.given for term in uniform[method](old).terms]
    before, after = len(given), len(uniform[method](H.names).terms)
    rest = {subset: tuple(name for name in old if name not in subset) for subset in given}
    shared = sum(H.information(rest[subset], (added,), subset) for subset in given)
    return Corollary2(
        (1 / after - 1 / before) * shared,
        sum(H.of(subset, (added,)) for subset in given) / (after * before),
        before / after * H.of((added,), old),
    )


def factorised_floor(
    S: SubsetMixture, unseen: Mapping[tuple[str, ...], float], law: Law, beta: float = 1.0
) -> tuple[float, float]:
    """Theorem 1 repaired (docs/theory.md, line 6): (the bound on D + beta R, the gap G at beta 1).

    unseen: subset A -> sum over components j outside A of H(x_j | X_A). A decoder that factorises over these
    components has D + beta R >= sum_A w_A {unseen(A) + beta H(X_A)}, for beta in [0, 1]; at beta 1 that is H(X) + G.
    For differential entropies only beta = 1 holds. Raises InputError for any other.
    """
    H = known(law, S)
    members, weights = _mixture(S, H)
    if not 0 <= beta <= 1 or (beta < 1 and not H.is_discrete):
        raise InputError(f"beta {beta}: the factorised bound holds for beta in [0, 1], for continuous data at 1 only")
    missing = float(weights @ [unseen[term.given] for term in S.terms])
    seen = float(weights @ H.values[members])
    return missing + beta * seen, missing + seen - H.joint


def modality_floor(law: Law, S: SubsetMixture, beta: float = 1.0) -> tuple[float, float]:
    """`factorised_floor` where the components are the modalities themselves: G = sum_A w_A TC(X_notA | X_A)."""
    H = known(law, S)
    rest = {term.given: [name for name in S.names if name not in term.given] for term in terms_of(S)}
    unseen = {given: sum(H.of((name,), given) for name in names) for given, names in rest.items()}
    return factorised_floor(S, unseen, H, beta)


def terms_of(S: SubsetMixture) -> tuple[Term, ...]:
    """The terms of a mixture that bounds the joint evidence. Raises InputError for MVAE+ (eq. 84)."""
    if not S.is_bound:
        raise InputError(
            "Delta is defined for an S whose terms all predict every modality (paper, Definition 3); for MVAE+ look at "
            "S = {all}: subsets.mvae"
        )
    return S.terms


def _mixture(S: SubsetMixture, H: Entropies) -> tuple[np.ndarray, np.ndarray]:
    """Places of the subsets of S in `H.values`, and their weights: (subset,) each."""
    if isinstance(S, Powerset):  # also beyond the size of a table of terms
        members = np.arange(1, len(H.values))
        return members, np.full(len(members), 1 / len(members))
    members = [H.index(term.given) for term in terms_of(S)]
    return np.array(members), S.weights.numpy()


def _expected_game(H: Entropies, members: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """v(B) = sum_A w_A H(X_{B minus A} | X_A) for every subset B as bits: (2^M,), in M 2^M steps.

    With m the Moebius transform of C -> H(X_notC), H(X_{A or B}) is the sum of m(T) over T outside A and B. So
    sum_A w_A H(X_{A or B}) is the sum over T outside B of m(T) times the weight of the A that miss T.
    """
    weight = np.zeros(len(H.values))
    np.add.at(weight, members, weights)
    missed = _subset_sums(weight)[::-1]  # index T: weight of all A inside the complement of T
    moebius = _subset_sums(H.values[::-1], -1)
    return _subset_sums(moebius * missed)[::-1] - weight @ H.values


def _subset_sums(values: np.ndarray, sign: int = 1) -> np.ndarray:
    """Sum over all subsets of every bit mask; with sign -1 its inverse, the Moebius transform: (2^M,)."""
    total = values.copy()
    for bit in range(len(values).bit_length() - 1):
        halves = total.reshape(-1, 2, 1 << bit)
        halves[:, 1] += sign * halves[:, 0]
    return total


def _shapley(game: np.ndarray, players: int) -> np.ndarray:
    """Shapley values of a game on bit masks: (player,)."""
    bits = np.arange(len(game))
    size = (bits[:, None] >> np.arange(players) & 1).sum(1)
    share = 1 / (players * comb(players - 1, np.arange(players)))
    values = np.zeros(players)
    for player in range(players):
        without = bits[(bits >> player & 1) == 0]
        values[player] = (share[size[without]] * (game[without | 1 << player] - game[without])).sum()
    return values
