"""A compiler of terms: those of every pattern of missing modalities, side by side as tables that a step reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polyvae.errors import InputError
from polyvae.models.contract import UNSEEN, JointModel, expert_names_of, has_private_codes
from polyvae.objectives.parts import Allocation
from polyvae.objectives.terms import PRIOR, Divergence, Geometric, Mix, Q, Terms

Indexed = tuple[Tensor, ...]  # tables (..., pattern): places, then weights, 0 where a pattern has fewer entries


class Reads(NamedTuple):
    """What one decoder reads, tables (draw, pattern): codes, None for all in turn; weights where the modality is given,
    and where it is not, None for the same; for private codes, an index of UNSEEN; whether z is a constant where the
    modality is given. None where no draw is concerned."""

    code: Tensor | None
    weight: Tensor
    others: Tensor | None
    unseen: Tensor | None
    is_own_constant: Tensor | None


class Layout(NamedTuple):
    """The terms of every pattern side by side, as tables (..., pattern), so that a step is the same for all rows.

    encoded: the experts that some law takes, None for all. geometric: parts of those at the last places.
    member: Bool (law, expert, pattern); prior_expert: Bool (law, pattern).
    own: Bool (law, modality, pattern), whose private codes have their own posterior; None in a model without.
    codes: parts of what is drawn. paid: the laws that divergences need beside those, (law, pattern); a place is that of
    a code, then of one of these. reads: modality -> what it is decoded from.
    to_prior, sampled, sampled_prior: places, codes, weights. closed: pairs of places, weights. mixes: what is sampled
    against.
    """

    needs_normal: bool
    encoded: frozenset[str] | None
    member: Tensor
    prior_expert: Tensor
    own: Tensor | None
    geometric: Indexed | None
    codes: Indexed
    paid: Tensor
    reads: dict[str, Reads]
    to_prior: Indexed | None
    closed: Indexed | None
    sampled: Indexed | None
    mixes: Indexed
    sampled_prior: Indexed | None


class _Entry(NamedTuple):
    """A draw that a decoder reads: the place of its code; an index of UNSEEN; 1 if z is a constant where the modality
    is given, else 0; its weight there, and elsewhere."""

    code: int
    unseen: int
    is_own_constant: int
    weight: float
    others: float


@dataclass
class _Column:
    """The terms of one pattern as places: of codes, and of laws, those of codes first, then paid ones, geometric means.

    Only what is drawn or paid for a row has a place: of a mixture that is drawn, one part.
    """

    names: tuple[str, ...]
    terms: Terms
    allocation: Allocation
    is_closed: bool  # whether no divergence from the model's prior looks at a code, unless it is sampled
    codes: dict[Q | Mix, int] = field(default_factory=dict)
    paid: dict[Q, int] = field(default_factory=dict)
    geometric: dict[Geometric, int] = field(default_factory=dict)
    reads: dict[str, list[_Entry]] = field(default_factory=dict)
    to_prior: list[tuple[int, int, float]] = field(default_factory=list)
    closed: list[tuple[int, int, float]] = field(default_factory=list)
    sampled: list[tuple[int, int, float]] = field(default_factory=list)
    mixes: list[list[tuple[int, float]]] = field(default_factory=list)
    sampled_prior: list[tuple[int, int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.laws = {law: number for number, law in enumerate(self.terms.laws)}
        self.divergences = [one for divergence in self.terms.divergences for one in self._each(divergence)]
        for of, weight, targets, unseen, others, is_constant in self.terms.draws:
            each = of.parts if isinstance(of, Mix) and self.allocation == "exact" else ((1.0, of),)
            for share, part in each:
                weights = share * weight, share * (weight if others is None else others)
                for name in targets or self.names:
                    entry = _Entry(_place(self.codes, part), UNSEEN.index(unseen), int(is_constant), *weights)
                    self.reads.setdefault(name, []).append(entry)
        for divergence in self.divergences:
            at, looks = divergence.at or divergence.of, divergence.against == PRIOR and not self.is_closed
            if looks or divergence.how == "sampled" or isinstance(at, Mix):
                _place(self.codes, at)
        for divergence in self.divergences:
            of = divergence.of
            for law in (*divergence.others, *(() if isinstance(of, Mix) else (of,))):
                if law not in self.codes:
                    _place(self.paid, law)

    def _each(self, divergence: Divergence) -> list[Divergence]:
        """Those of the parts of a mixture, if all of them are paid."""
        of = divergence.of
        if not isinstance(of, Mix) or self.allocation == "systematic":
            return [divergence]
        return [divergence._replace(of=part, weight=share * divergence.weight) for share, part in of.parts]

    def lay_out(self, codes: int, paid: int) -> None:
        """codes, paid: how many of each there are at most in any pattern."""
        self.most_codes, self.most_paid = codes, paid
        for of, against, weight, how, at in self.divergences:
            law, code = self.place(of), self.codes.get(at or of, 0)  # a closed form looks at none
            if against == PRIOR:
                (self.sampled_prior if how == "sampled" else self.to_prior).append((law, code, weight))
            elif how == "sampled":
                self.sampled.append((law, code, weight))
                self.mixes.append(_shares(against, self.place))
            elif isinstance(against, Mix):
                self.closed += [(law, self.place(part), weight * share) for share, part in against.parts]
            else:
                self.closed.append((law, self.place(against), weight))

    def place(self, law: Q | Mix | Geometric) -> int:
        if isinstance(law, Geometric):
            return self.most_codes + self.most_paid + _place(self.geometric, law)
        return self.codes[law] if isinstance(law, Mix) or law in self.codes else self.most_codes + self.paid[law]


def _shares(of: Q | Mix | Geometric, place: Callable[[Any], int]) -> list[tuple[int, float]]:
    """The places of its parts, or its own, and their weights."""
    return [(place(part), share) for share, part in of.parts] if isinstance(of, Mix) else [(place(of), 1.0)]


def _place(seen: dict[Any, int], one: Any) -> int:
    return seen.setdefault(one, len(seen))


def laid_out(
    every: Sequence[Terms],
    model: JointModel,
    patterns: Sequence[tuple[str, ...]],
    allocation: Allocation,
    device: torch.device,
) -> Layout:
    """The terms of each of these patterns. Raises InputError for private codes that the model does not have."""
    _check_private(model, every)
    is_closed, is_private = model.prior.has_closed_kl, has_private_codes(model)
    columns = [_Column(pattern, terms, allocation, is_closed) for pattern, terms in zip(patterns, every, strict=True)]
    most, codes, paid = (max(len(getattr(c, what)) for c in columns) for what in ("laws", "codes", "paid"))
    for column in columns:
        column.lay_out(codes, paid)
    laws = [[*column.laws, *(PRIOR,) * (most - len(column.laws))] for column in columns]
    owners = [[_own(law, column.names) for law in of] for of, column in zip(laws, columns, strict=True)]
    further = [[*map(column.laws.__getitem__, column.paid), *(0,) * (paid - len(column.paid))] for column in columns]
    reads = {name: _reads(columns, name, device) for name in model.names}
    return Layout(
        needs_normal=any(terms.needs_normal for terms in every),
        encoded=None if is_private else frozenset(name for column in laws for law in column for name in law.given),
        member=_held([[law.given for law in column] for column in laws], expert_names_of(model), device),
        prior_expert=torch.tensor(
            [[law.prior_expert for law in row] for row in zip(*laws, strict=True)], device=device
        ),
        own=_held(owners, model.names, device) if is_private else None,
        geometric=_nested([[_shares(Mix(law.parts), c.place) for law in c.geometric] for c in columns], device),
        codes=_nested([[_shares(code, c.laws.__getitem__) for code in c.codes] for c in columns], device) or (),
        paid=torch.tensor(further, dtype=torch.int64, device=device).T,
        reads={name: read for name, read in reads.items() if read is not None},
        to_prior=_beside([column.to_prior for column in columns], device),
        closed=_beside([column.closed for column in columns], device),
        sampled=_beside([column.sampled for column in columns], device),
        mixes=_nested([c.mixes for c in columns], device) or (),
        sampled_prior=_beside([column.sampled_prior for column in columns], device),
    )


def _reads(columns: Sequence[_Column], name: str, device: torch.device) -> Reads | None:
    """What the decoder of this modality reads; None where no pattern has a draw for it."""
    entries = [column.reads.get(name, []) for column in columns]
    table = _beside(entries, device, weights=2)
    if table is None:
        return None
    code, unseen, constant, weight, others = table
    every = [entry for each in entries for entry in each]
    in_turn = all(place == entry.code for each in entries for place, entry in enumerate(each))
    return Reads(
        code=None if in_turn and len(code) == columns[0].most_codes else code,
        weight=weight,
        others=None if all(entry.weight == entry.others for entry in every) else others,
        unseen=unseen if any(entry.unseen for entry in every) else None,
        is_own_constant=constant.bool() if any(entry.is_own_constant for entry in every) else None,
    )


def _held(sets: Sequence[Sequence[tuple[str, ...]]], names: Sequence[str], device: torch.device) -> Tensor:
    """Which of these names each set holds, Bool (law, name, pattern); sets: by pattern, then by law."""
    return torch.tensor(
        [[[name in held for held in row] for name in names] for row in zip(*sets, strict=True)], device=device
    )


def _own(law: Q, present: tuple[str, ...]) -> tuple[str, ...]:
    """Whose private codes have their own posterior."""
    return {"given": law.given, "all": present, "none": ()}[law.private]


def _check_private(model: JointModel, every: Sequence[Terms]) -> None:
    """Raises InputError for terms of private codes or references that the model does not have."""
    kinds = {draw.unseen for terms in every for draw in terms.draws} - {"prior"}
    is_private = bool(kinds) or any(law.private != "given" for terms in every for law in terms.laws)
    if is_private and not has_private_codes(model):
        raise InputError("a recipe is about private codes, and the model has none; use the kind of model 'private'")
    if "reference" in kinds and has_private_codes(model) and model.references is None:
        raise InputError("a recipe reads references, and the model has none; use the kind of model 'private_reference'")


def _beside(columns: Sequence[Sequence[tuple[float, ...]]], device: torch.device, weights: int = 1) -> Indexed | None:
    """Columns of entries (*places, *weights) as tables (entry, pattern); None without any."""
    if not any(columns):
        return None
    longest, width = max(map(len, columns)), len(next(filter(None, columns))[0])
    filled = [[*column, *[(0,) * width] * (longest - len(column))] for column in columns]
    tables = ([[column[i][k] for column in filled] for i in range(longest)] for k in range(width))
    kinds = (*(torch.int64,) * (width - weights), *(torch.float64,) * weights)
    return tuple(torch.tensor(table, dtype=kind, device=device) for table, kind in zip(tables, kinds, strict=True))


def _nested(columns: Sequence[Sequence[list[tuple[int, float]]]], device: torch.device) -> Indexed | None:
    """Columns of mixtures of (place, weight) as two tables (part, entry, pattern); what is not there is place 0."""
    if not any(columns):
        return None
    longest, parts = max(map(len, columns)), max(len(mix) for column in columns for mix in column)
    filled = [[*column, *[[(0, 1.0)]] * (longest - len(column))] for column in columns]
    padded = [[[*mix, *[(0, 0.0)] * (parts - len(mix))] for mix in column] for column in filled]
    places, weights = (
        [[[column[i][k][part] for column in padded] for i in range(longest)] for k in range(parts)] for part in (0, 1)
    )
    return torch.tensor(places, device=device), torch.tensor(weights, dtype=torch.float64, device=device)
