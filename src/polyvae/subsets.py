"""The family as data: S = {(A, w_A)}, the set of weighted subsets that defines a method (paper, Definition 2).

`mvae`, `mmvae`, `mopoe` are the members of Table 1 with uniform weights; `mvae_plus` adds the ELBO sub-sampling
terms of eq. 84; `custom` takes any subsets and weights. The unimodal VAE is `mmvae` on one
modality: no prior expert.
"""

import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor

from polyvae.errors import InputError
from polyvae.noise import index_at
from polyvae.schema import Rule, fault, parsed

FORM = '{"names": ["m0", ...], "terms": [{"given": ["m0"], "weight": 1}, ...]}'
POWERSET = "powerset"  # in place of the terms of S = all subsets
CPU = torch.device("cpu")
MOST_TERMS = 65_536  # above this, a table of all subsets is refused; drawing them still works


class TermFile(TypedDict):
    """A `Term` in JSON."""

    given: list[str]
    weight: float
    target: NotRequired[list[str] | None]
    prior_expert: NotRequired[bool]


Terms = Annotated[
    Literal["powerset"] | list[TermFile],
    Rule(lambda terms: len(terms) <= MOST_TERMS, f"at most {MOST_TERMS:,} terms"),
]


class SubsetsFile(TypedDict):
    """S in JSON; the names are left out where the modalities are known."""

    names: NotRequired[list[str]]
    terms: Terms


@dataclass(frozen=True)
class Term:
    """One element of S: encode `given`, predict `target` (None: all modalities), with weight omega_A.

    `prior_expert` says whether N(0, I) joins the product of experts of this term.
    """

    given: tuple[str, ...]
    weight: float
    target: tuple[str, ...] | None = None
    prior_expert: bool = False


class Draw(NamedTuple):
    """What rows encode, `given` Bool (..., batch, modality), and whether the prior joins it, Bool (..., batch)."""

    given: Tensor
    prior_expert: Tensor


class Table(NamedTuple):
    """The terms of S as tensors on one device, named as in `SubsetMixture`.

    is_joint: Bool (subset,), which terms predict all modalities.
    """

    matrix: Tensor
    targets: Tensor
    weights: Tensor
    prior_experts: Tensor
    is_joint: Tensor


@dataclass(frozen=True)
class SubsetMixture(ABC):
    """A set S over named modalities: `Listed` holds its terms, `Powerset` enumerates them lazily."""

    names: tuple[str, ...]

    @property
    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """All elements of S. Raises InputError above 65,536."""

    @property
    def is_bound(self) -> bool:
        """Whether L_S is a lower bound on the joint log-evidence (at beta >= 1 with unit modality weights)."""
        return all(term.target is None for term in self.terms)

    @property
    def matrix(self) -> Tensor:
        """Bool (subset, modality): which modalities each term encodes."""
        return self.on(CPU).matrix

    @property
    def targets(self) -> Tensor:
        """Bool (subset, modality): which modalities each term predicts."""
        return self.on(CPU).targets

    @property
    def weights(self) -> Tensor:
        """Float64 (subset,): omega_A."""
        return self.on(CPU).weights

    @property
    def prior_experts(self) -> Tensor:
        """Bool (subset,): whether the prior joins the product of experts."""
        return self.on(CPU).prior_experts

    @cached_property
    def encoded(self) -> frozenset[str]:
        """The modalities that some term encodes."""
        return frozenset(name for term in self.terms for name in term.given)

    @cached_property
    def covers_any_row(self) -> bool:
        """Whether every modality is encoded by a term that predicts it too: then no row is left without a term."""
        return all(any(name in t.given and name in (t.target or self.names) for t in self.terms) for name in self.names)

    @property
    def observed(self) -> float:
        """sum_A w_A |A|: the mean number of modalities that are encoded."""
        return float((self.weights * self.matrix.sum(-1)).sum())

    @property
    def has_products(self) -> bool:
        """Whether a term multiplies experts, that of the prior included."""
        return any(len(term.given) + term.prior_expert > 1 for term in self.terms)

    @property
    def joined_by_prior(self) -> frozenset[bool]:
        """Whether the prior joins the product of experts: the answers of all terms."""
        return frozenset(term.prior_expert for term in self.terms)

    @cached_property
    def _tables(self) -> dict[torch.device, Table]:
        return {}

    def on(self, device: torch.device) -> Table:
        """The terms on `device`, copied there once; they stay as long as S, since captured steps read them there."""
        if device not in self._tables:
            self._tables[device] = _table(self, device)
        return self._tables[device]

    def within(self, present: Tensor) -> Draw:
        """What is left of every term in each row: `given` (subset, batch, modality), empty for a term that drops out.

        A term keeps its prior expert. present: Bool (batch, modality).
        """
        table = self.on(present.device)
        given = table.matrix[:, None] & present
        return Draw(given, table.prior_experts[:, None].expand(given.shape[:-1]))

    def covers(self, present: Tensor) -> Tensor:
        """Bool (batch,): whether some term encodes and predicts something of what each row has."""
        targets = self.on(present.device).targets[:, None] & present
        return (self.within(present).given.any(-1) & targets.any(-1)).any(0)

    def pick(self, u: Tensor, present: Tensor) -> Draw:
        """The term at quantile u (batch,) of each row's weights, renormalised over the terms `present` leaves.

        u: in [0, 1); present: Bool (batch, modality). Returns `given` (batch, modality), `prior_expert` (batch,).
        """
        left, weights = self.within(present), self.on(present.device).weights
        chosen = index_at(u, left.given.any(-1).T * weights)
        rows = torch.arange(len(chosen), device=chosen.device)
        return Draw(left.given[chosen, rows], left.prior_expert[chosen, rows])

    def draw(self, u: Tensor, present: Tensor) -> Tensor:
        """`pick(u, present).given`: Bool (batch, modality)."""
        return self.pick(u, present).given


@dataclass(frozen=True)
class Listed(SubsetMixture):
    """S as an explicit list.

    Raises InputError for unknown names, a subset that is empty or there twice, weights that are not a distribution.
    """

    elements: tuple[Term, ...]

    @property
    def terms(self) -> tuple[Term, ...]:
        return self.elements

    def __post_init__(self) -> None:
        _check_names(self.names)
        whole = set(self.names)  # a target that names every modality is the same as None
        plain = tuple(replace(t, target=None) if t.target and set(t.target) == whole else t for t in self.elements)
        object.__setattr__(self, "elements", plain)
        if not self.terms:
            raise InputError("S has no terms; give at least one (subset, weight)")
        for term in self.terms:
            for what, members in (("given", term.given), ("target", term.target)):
                if members is None:
                    continue
                if unknown := sorted(set(members) - set(self.names)):
                    raise InputError(
                        f"unknown modality {unknown[0]!r} in a term's {what}; known: {', '.join(self.names)}"
                    )
                if not members or len(set(members)) < len(members):
                    raise InputError(f"a term's {what} is {members!r}; name each modality once, and at least one")
            if not (term.weight > 0 and math.isfinite(term.weight)):
                raise InputError(
                    f"weight {term.weight} of subset {term.given} must be finite and above 0; else drop the term"
                )
        of_all = Counter(frozenset(term.given) for term in self.terms if term.target is None)
        if twice := next((given for given, count in of_all.items() if count > 1), None):
            raise InputError(f"S has subset {tuple(sorted(twice))} twice; give it once")
        total = sum(term.weight for term in self.terms if term.target is None)
        if any(term.target is None for term in self.terms) and abs(total - 1) > 1e-6:
            raise InputError(
                f"the weights of terms that predict all modalities sum to {total:g}, not to 1; divide them by {total:g}"
            )


@dataclass(frozen=True)
class Powerset(SubsetMixture):
    """All non-empty subsets with equal weights (MoPoE), drawn as bit masks: no 2^M table until one is asked for.

    The full set alone uses the prior expert, as in the published code. A row that lacks modalities has the MoPoE of
    those that it has: the set of them all is then the full one.
    """

    def __post_init__(self) -> None:
        _check_names(self.names)
        if len(self.names) > 52:
            raise InputError(f"MoPoE over {len(self.names)} modalities; bit masks are exact up to 52")

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        count = 2 ** len(self.names) - 1
        if count > MOST_TERMS:
            raise InputError(
                f"S has {count:,} subsets, a table holds at most {MOST_TERMS:,}; use allocation='systematic'"
            )
        return tuple(Term(given, 1 / count, prior_expert=given == self.names) for given in all_of(self.names))

    @property
    def is_bound(self) -> bool:
        return True

    @property
    def encoded(self) -> frozenset[str]:
        return frozenset(self.names)

    @property
    def covers_any_row(self) -> bool:
        return True

    @property
    def observed(self) -> float:
        return len(self.names) / (2 - 0.5 ** (len(self.names) - 1))

    @property
    def has_products(self) -> bool:
        return len(self.names) > 1

    @property
    def joined_by_prior(self) -> frozenset[bool]:
        return frozenset({True, len(self.names) == 1})

    def within(self, present: Tensor) -> Draw:
        matrix = self.on(present.device).matrix[:, None]
        given = matrix & ~(matrix & ~present).any(-1, keepdim=True)  # a subset of what the row has, or nothing
        return Draw(given, (given == present).all(-1))

    def covers(self, present: Tensor) -> Tensor:
        return present.any(-1)

    def pick(self, u: Tensor, present: Tensor) -> Draw:
        seen = present.sum(-1)
        subsets = 2**seen - 1
        bits = _scattered(1 + (u.double() * subsets).long().minimum(subsets - 1), seen)
        place = (present.cumsum(-1) - 1).clamp(min=0)  # the bit that stands for a present modality
        given = (bits[:, None] >> place & 1).bool() & present
        return Draw(given, (given == present).all(-1))


def number_of(given: Tensor) -> Tensor:
    """The numbers of subsets by their bits: Bool (..., modality) -> Int64 (...), 0 for the empty one."""
    return (given * 2 ** torch.arange(given.shape[-1], device=given.device)).sum(-1)


def all_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All non-empty subsets, by their numbers."""
    return [tuple(n for i, n in enumerate(names) if bits >> i & 1) for bits in range(1, 2 ** len(names))]


def _scattered(bits: Tensor, width: Tensor) -> Tensor:
    """A permutation of the non-zero numbers of `width` bits that makes every bit depend on all.

    The quantiles of a batch are evenly spaced: with more subsets than rows, the low bits of their ranks are the
    same in all rows, and without this a modality would be seen by a whole batch or by none of it.
    """
    mask, half = 2**width - 1, (width + 1) // 2
    for odd in (0x2545F4914F6CDD1D, 0x369DEA0F31A53F85):
        bits = bits * odd & mask  # odd factors are invertible modulo 2^width
        bits = bits ^ (bits >> half)
    return bits


def mvae(names: Sequence[str]) -> SubsetMixture:
    """MVAE without ELBO sub-sampling (Wu & Goodman 2018; paper, Table 1): S = {all}, with the prior expert."""
    return Listed(tuple(names), (Term(tuple(names), 1.0, prior_expert=True),))


def whole(names: Sequence[str]) -> SubsetMixture:
    """S = {all} without prior expert: the posterior of any subset is the product of its experts alone."""
    return Listed(tuple(names), (Term(tuple(names), 1.0),))


def mmvae(names: Sequence[str]) -> SubsetMixture:
    """MMVAE (Shi et al. 2019; paper, Table 1): each single modality with weight 1 / M."""
    return Listed(tuple(names), tuple(Term((name,), 1 / len(names)) for name in names))


def mopoe(names: Sequence[str]) -> SubsetMixture:
    """MoPoE-VAE (Sutter et al. 2021; paper, Table 1): every non-empty subset with weight 1 / (2^M - 1)."""
    return Powerset(tuple(names))


def every(names: Sequence[str]) -> SubsetMixture:
    """Every non-empty subset with weight 1 / (2^M - 1), as `mopoe`, but without prior expert.

    Raises InputError above 16 modalities.
    """
    if 2 ** len(names) - 1 > MOST_TERMS:
        raise InputError(
            f"S lists every subset of its modalities, at most {MOST_TERMS.bit_length() - 1} of them, and there are "
            f"{len(names)}; use --method mopoe, which draws subsets without a list"
        )
    return Listed(tuple(names), tuple(replace(term, prior_expert=False) for term in mopoe(names).terms))


def mvae_plus(names: Sequence[str]) -> SubsetMixture:
    """MVAE with ELBO sub-sampling (paper, eq. 84): L(x) + sum_i L(x_i). Weight 1 per term, and no joint bound."""
    everything = Term(tuple(names), 1.0, prior_expert=True)
    return Listed(
        tuple(names), (everything, *(Term((name,), 1.0, target=(name,), prior_expert=True) for name in names))
    )


def custom(terms: Iterable[Term | tuple[Sequence[str], float]], names: Sequence[str] | None = None) -> SubsetMixture:
    """Any S (paper, Definition 2) from terms or (subset, weight) pairs; `names` defaults to all names, sorted."""
    elements = tuple(t if isinstance(t, Term) else Term(tuple(t[0]), float(t[1])) for t in terms)
    if names is None:
        names = sorted({name for term in elements for name in (*term.given, *(term.target or ()))})
    return Listed(tuple(names), elements)


def conditional(mixture: SubsetMixture, given: Sequence[str]) -> SubsetMixture:
    """The test-time posterior of x_given as a mixture, by one rule for every S.

    The product of experts of `given` if `given` is in S or if S is not a mixture (eq. 84); else the renormalised
    mixture of the terms inside `given`; else the product of experts of `given`.
    Raises InputError for an empty or unknown `given`.
    """
    wanted = set(given)
    if not wanted or not wanted <= set(mixture.names):
        raise InputError(f"cannot condition on {sorted(wanted)}; name at least one of {', '.join(mixture.names)}")
    ordered = tuple(name for name in mixture.names if name in wanted)
    if isinstance(mixture, Powerset):
        return Listed(mixture.names, (Term(ordered, 1.0, prior_expert=len(ordered) == len(mixture.names)),))
    exact = [term for term in mixture.terms if set(term.given) == wanted and term.target is None]
    inside = [term for term in mixture.terms if set(term.given) <= wanted]
    if not mixture.is_bound or exact or not inside:
        prior = exact[0].prior_expert if exact else all(term.prior_expert for term in mixture.terms)
        return Listed(mixture.names, (Term(ordered, 1.0, prior_expert=prior),))
    total = sum(term.weight for term in inside)
    return Listed(mixture.names, tuple(Term(t.given, t.weight / total, prior_expert=t.prior_expert) for t in inside))


def to_json(mixture: SubsetMixture) -> dict[str, Any]:
    terms = POWERSET if isinstance(mixture, Powerset) else [asdict(term) for term in mixture.terms]
    return {"names": list(mixture.names), "terms": terms}


def from_json(content: Any, names: Sequence[str] | None = None) -> SubsetMixture:
    """S from {"names": [...], "terms": "powerset" or [{given, weight, target?, prior_expert?}, ...]}, or terms alone.

    names: of the modalities, in place of those in `content`. Raises InputError for other content.
    """
    terms = _terms(content)
    if names is None and not (isinstance(content, dict) and "names" in content):
        raise InputError(f"S must be {FORM}, but lacks 'names'")
    over = tuple(content["names"] if names is None else names)
    return Powerset(over) if isinstance(terms, str) else Listed(over, terms)


def terms_text(content: Any) -> str:
    """The terms in `content` (as for `from_json`) as canonical JSON text. Raises InputError for other content."""
    terms = _terms(content)
    return json.dumps(terms if isinstance(terms, str) else [asdict(term) for term in terms])


def from_text(text: str, names: Sequence[str]) -> SubsetMixture:
    """S over `names` from JSON text, such as that of `terms_text`. Raises InputError for other text."""
    try:
        content = parsed(text)
    except ValueError as error:
        raise InputError(f"{text!r} is not JSON; give the terms, json.dumps(subsets.to_json(S))") from error
    return from_json(content, names)


def _terms(content: Any) -> tuple[Term, ...] | str:
    """The terms in JSON content, checked for its form."""
    form = SubsetsFile if isinstance(content, dict) else Terms
    if (wrong := fault(content, form, () if isinstance(content, dict) else ("terms",))) is not None:
        raise InputError(f"S must be {FORM}, but {wrong}")
    terms = content["terms"] if isinstance(content, dict) else content
    return POWERSET if terms == POWERSET else tuple(map(_term, terms))


def _term(item: dict[str, Any]) -> Term:
    known = [field.name for field in fields(Term)]
    if unknown := set(item) - set(known):
        raise InputError(f"unknown key {sorted(unknown)[0]!r} in a term; known: {', '.join(known)}")
    target = None if item.get("target") is None else tuple(item["target"])
    return Term(tuple(item["given"]), float(item["weight"]), target, item.get("prior_expert", False))


def _table(mixture: SubsetMixture, device: torch.device) -> Table:
    names, terms = mixture.names, mixture.terms
    table = Table(
        matrix=_membership(names, [term.given for term in terms]),
        targets=_membership(names, [names if term.target is None else term.target for term in terms]),
        weights=torch.tensor([term.weight for term in terms], dtype=torch.float64),
        prior_experts=torch.tensor([term.prior_expert for term in terms]),
        is_joint=torch.tensor([term.target is None for term in terms]),
    )
    return Table(*(part.to(device) for part in table))


def _membership(names: Sequence[str], subsets: Iterable[Sequence[str]]) -> Tensor:
    return torch.tensor([[name in subset for name in names] for subset in map(set, subsets)])


def _check_names(names: Sequence[str]) -> None:
    if not names or len(set(names)) < len(names):
        raise InputError(f"modality names must be unique and at least one, got {list(names)}")
