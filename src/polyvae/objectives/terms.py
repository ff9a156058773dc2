"""Objectives as data: which posteriors are decoded, which divergences are paid, both as functions of what a row has.

A method outside the family is a `Recipe`: names -> `Terms`. It is called with the names that a row has, so that factors
such as 1 / M count the modalities that are there, and a row that lacks some trains the model without them. `elbo` is
the recipe Draw(Q(A), w_A), Divergence(Q(A), PRIOR, w_A) for A in S, computed faster.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from polyvae import gaussian, posteriors, subsets
from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.models.contract import (
    UNSEEN,
    JointModel,
    expert_names_of,
    further_experts_of,
    has_private_codes,
    shared_dim_of,
)
from polyvae.noise import Noise, index_at
from polyvae.objectives.checked import checked
from polyvae.objectives.parts import (
    Allocation,
    Bound,
    bound_of,
    check_allocation,
    check_beta,
    rsample,
    scores_of,
    systematic_quantiles,
)
from polyvae.objectives.regularisers import Regulariser
from polyvae.posteriors import Posterior
from polyvae.priors import Prior
from polyvae.subsets import SubsetMixture

MOST_PATTERNS = 1024  # of missing modalities, laid out at once; with more, a step asks which ones its rows have


@checked
class Q(NamedTuple):
    """A posterior: the product of the experts of `given`, and of N(0, I) if `prior_expert`.

    given: names of modalities, or of a further expert of the model (`contract.expert_names_of`).
    private: whose private codes have their own posterior, in a model that has some: those of `given`, of all that a row
    has, or of none; the others have p(w).
    """

    given: tuple[str, ...]
    prior_expert: bool = False
    private: Literal["given", "all", "none"] = "given"


@checked
class Mix(NamedTuple):
    """The mixture of posteriors with these weights, which sum to 1."""

    parts: tuple[tuple[float, Q], ...]


@checked
class Geometric(NamedTuple):
    """The normalised product of the densities to the power of these weights, which sum to 1 (Normal posteriors)."""

    parts: tuple[tuple[float, Q], ...]


PRIOR = Q((), prior_expert=True)  # as `against` it is the model's prior, elsewhere N(0, I)


@checked
class Draw(NamedTuple):
    """weight * sum over targets of E[log likelihood(x_m | z)], z from `of`. targets: None for all that a row has.

    unseen: what a target reads whose private code is not its own in `of`: draws of p(w), of the learned reference r
    (`models.private`), or 0; no divergence counts it.
    others: the weight of targets that are not given in `of`, None for that of all. is_own_constant: no gradient passes
    through the shared z to targets that are.
    """

    of: Q | Mix
    weight: float = 1.0
    targets: tuple[str, ...] | None = None
    unseen: Literal["prior", "reference", "zero"] = "prior"
    others: float | None = None
    is_own_constant: bool = False


@checked
class Divergence(NamedTuple):
    """weight * KL(of || against), as a part of the rate, which beta multiplies.

    of: a `Mix` from PRIOR is the weighted mean of the divergences of its parts, or that of the part drawn for the row.
    how: "closed" (from PRIOR where it has a closed form); "sampled", log of - log against at the one draw of `of`, as a
    `Mix` needs; "pairwise", for a `Mix` the weighted mean of the closed divergences from its parts, an upper bound.
    at: the posterior at whose draw a sampled one is taken, None for `of`.
    """

    of: Q | Mix
    against: Q | Mix | Geometric
    weight: float = 1.0
    how: Literal["closed", "sampled", "pairwise"] = "closed"
    at: Q | None = None

    @property
    def others(self) -> tuple[Q, ...]:
        """The posteriors that it is from: none where that is the model's prior."""
        return () if self.against == PRIOR else _parts(self.against)


@checked
class Terms(NamedTuple):
    """What one row adds to the objective, which is maximised: all draws, minus beta times all divergences."""

    draws: tuple[Draw, ...]
    divergences: tuple[Divergence, ...]

    @property
    def laws(self) -> tuple[Q, ...]:
        """Every posterior in these terms once, in the order of their first use; PRIOR only where N(0, I) is one."""
        found: dict[Q, None] = {}
        for draw in self.draws:
            found |= dict.fromkeys(_parts(draw.of))
        for divergence in self.divergences:
            of, at = _parts(divergence.of), _parts(divergence.at or divergence.of)
            found |= dict.fromkeys((*of, *at, *divergence.others))
        return tuple(found)

    @property
    def needs_normal(self) -> bool:
        """Whether the terms need posteriors with products, and N(0, I) as the law of z where it is one of them."""
        fused = any(isinstance(divergence.against, Geometric) for divergence in self.divergences)
        return fused or any(len(law.given) + law.prior_expert > 1 or law == PRIOR for law in self.laws)


Recipe = Callable[[tuple[str, ...]], Terms]
ByRow = Callable[[Tensor], Tensor]  # a table (..., pattern) to what each row finds in it, (..., batch)


def singles(names: Sequence[str], private: Literal["given", "all", "none"] = "given") -> tuple[tuple[float, Q], ...]:
    """The posterior of every modality, each with weight 1 / M."""
    return tuple((1 / len(names), Q((name,), private=private)) for name in names)


def alone(names: Sequence[str]) -> Terms:
    """The sum of the ELBOs of every modality alone."""
    laws = [Q((name,)) for name in names]
    return Terms(tuple(Draw(law, targets=law.given) for law in laws), tuple(Divergence(law, PRIOR) for law in laws))


def terms_of(recipe: Recipe, names: tuple[str, ...]) -> Terms:
    """The terms of a row that has these modalities. Raises InputError for a recipe that returns something else."""
    terms = recipe(names)
    if not isinstance(terms, Terms):
        form = "Terms((Draw(...), ...), (Divergence(...), ...))"
        raise InputError(f"a recipe returned {type(terms).__name__} for {', '.join(names)}; it must return {form}")
    return terms


def check_terms(terms: Terms, names: tuple[str, ...], further: Sequence[str] = ()) -> None:
    """Raises InputError for divergences without a value, and terms of what a row with these modalities does not have.

    further: other experts of the model, which are no targets.
    """
    for of, against, _, how, _ in terms.divergences:
        if isinstance(of, Mix) and against != PRIOR:
            raise InputError("a divergence of a Mix is from PRIOR; name its parts, one divergence each")
        if isinstance(against, Mix) and how == "closed":
            raise InputError("a divergence from a Mix has no closed form; say how='sampled' or 'pairwise'")
    read = {name for law in terms.laws for name in law.given if name not in further}
    predicted = {name for draw in terms.draws for name in draw.targets or ()}
    if unknown := (read | predicted) - set(names):
        raise InputError(
            f"a recipe names {min(unknown)!r} for a row that has {', '.join((*names, *further))}; "
            "it must use the names that it is called with"
        )


def check_recipe(recipe: Recipe, names: tuple[str, ...], present: Tensor, further: Sequence[str] = ()) -> None:
    """Raises InputError for a recipe by which no such rows can train a model: those that `OfTerms` would meet.

    present: Bool (row, modality). further: as of `check_terms`.
    """
    if bool(present.all()):
        patterns = [names]
    elif 2 ** len(names) > MOST_PATTERNS:
        patterns = _patterns(names, present.unique(dim=0))
    else:
        patterns = subsets.all_of(names)
    for pattern in patterns:
        check_terms(terms_of(recipe, pattern), pattern, further)


def _patterns(names: tuple[str, ...], rows: Tensor) -> list[tuple[str, ...]]:
    """Rows of Bool (row, modality) as the names that each has."""
    return [tuple(n for n, has in zip(names, row, strict=True) if has) for row in rows.tolist()]


@dataclass(eq=False)
class OfTerms:
    """The objective of a recipe, as stages of a method call it; S is not looked at.

    regularisers: added to the loss by their weights, of the same experts.
    Terms are asked for once for every pattern. Tables of them are copied to a device once, and stay as long as this,
    since captured steps read them there.
    """

    recipe: Recipe
    regularisers: Sequence[Regulariser] = ()
    kept: dict[Any, "_Layout"] = field(default_factory=dict)
    terms: dict[Any, Terms] = field(default_factory=dict)

    def __call__(
        self,
        model: JointModel,
        batch: Batch,
        mixture: SubsetMixture | None = None,
        *,
        beta: float | Tensor = 1.0,
        allocation: Allocation = "systematic",
        weights: Tensor | None = None,
        generator: Noise = None,
    ) -> Bound:
        """As `elbo_of_terms`."""
        check_beta(beta)
        check_allocation(allocation)
        layout, which = self._layout(model, batch, allocation)

        def at(table: Tensor) -> Tensor:
            return (
                table.expand(*table.shape[:-1], len(batch.present)) if which is None else table.index_select(-1, which)
            )

        experts = model.encode(batch, None if self.regularisers else layout.encoded)
        sources = _sources(layout, generator, at)
        laws = _laws(model, experts, layout, sources, at)
        z = rsample(gaussian.picked(laws, slice(len(sources))), generator)
        log_likelihood = _decoded(model, batch, layout, z, sources, at)
        kl = _divergence(model, layout, laws, z, at)
        bound = bound_of(log_likelihood, kl, beta, weights)
        values = {r.name: r.function(model, batch, experts, generator) for r in self.regularisers}
        added = [regulariser.weight * values[regulariser.name] for regulariser in self.regularisers]
        return bound._replace(loss=sum(added, bound.loss), regularisers=values)

    def _layout(self, model: JointModel, batch: Batch, allocation: Allocation) -> tuple["_Layout", Tensor | None]:
        """Tables of the patterns that rows can have, and which one each has, Int64 (batch,); None: all the same."""
        names, present = model.names, batch.present
        if not batch.is_complete and 2 ** len(names) > MOST_PATTERNS:
            rows, which = present.unique(dim=0, return_inverse=True)
            return self._laid_out(model, _patterns(names, rows), allocation, present.device), which
        kind = names, expert_names_of(model), has_private_codes(model), model.prior.has_closed_kl
        key = kind, batch.is_complete, allocation, present.device
        if key not in self.kept:
            patterns = [names] if batch.is_complete else subsets.all_of(names)
            self.kept[key] = self._laid_out(model, patterns, allocation, present.device)
        if batch.is_complete:
            return self.kept[key], None
        return self.kept[key], subsets.number_of(present) - 1

    def _laid_out(
        self, model: JointModel, patterns: Sequence[tuple[str, ...]], allocation: Allocation, device: torch.device
    ) -> "_Layout":
        """Raises InputError for terms of what a row, or the model, does not have."""
        further = further_experts_of(model)
        for pattern in patterns:
            if (further, pattern) not in self.terms:
                check_terms(terms := terms_of(self.recipe, pattern), pattern, further)
                self.terms[further, pattern] = terms
        return _laid_out([self.terms[further, pattern] for pattern in patterns], model, patterns, allocation, device)


def elbo_of_terms(model: JointModel, batch: Batch, recipe: Recipe, **how: Any) -> Bound:
    """The objective of a recipe, negated in `loss`; one draw of each posterior, shared by all terms that need one.

    how: beta (default 1), generator, weights, allocation. For many steps `OfTerms(recipe)` does the same faster.
    weights: (modality,) factors on the log-likelihoods in the loss (default 1). allocation: "systematic" draws from one
    part of each `Mix` per row, evenly over the batch; "exact" decodes every part.
    With up to 10 modalities nothing is read from the device, whatever rows lack.
    Raises InputError for a negative beta, a posterior of what the model does not have, and products of posteriors that
    have none.
    """
    return OfTerms(recipe)(model, batch, **how)


def _laws(model: JointModel, experts: Posterior, layout: "_Layout", sources: Tensor, at: ByRow) -> Posterior:
    """The posteriors that rows need, (place, batch, latent): of codes, of what is paid, geometric means."""
    if layout.needs_normal and not experts.has_products:
        raise gaussian.no_product(experts)
    which = torch.cat([sources, at(layout.paid)])
    product = experts, _picked(at(layout.member).movedim(1, 2), which), at(layout.prior_expert).gather(0, which)
    if has_private_codes(model) and layout.own is not None:
        laws = model.fuse(*product, _picked(at(layout.own).movedim(1, 2), which))
    else:
        laws = gaussian.product(*product)
    if layout.geometric is None:
        return laws
    parts, share = (at(table) for table in layout.geometric)
    means = gaussian.geometric(_taken(laws, parts), share.to(laws.mean.dtype))
    return laws.like(*(torch.cat(fields) for fields in zip(laws, means, strict=True)))


def _sources(layout: "_Layout", generator: Noise, at: ByRow) -> Tensor:
    """The law that each code is drawn from, (code, batch): of a mixture one part a row, evenly over the batch."""
    source, share = (at(table) for table in layout.codes)
    if len(source) == 1:
        return source[0]
    u = systematic_quantiles(source.shape[-1], generator, share.device)
    return source.gather(0, index_at(u, share.movedim(0, -1))[None])[0]


def _decoded(model: JointModel, batch: Batch, layout: "_Layout", z: Tensor, sources: Tensor, at: ByRow) -> Tensor:
    """log likelihoods (batch, modality), each the weighted sum over the draws that predict it."""
    scores = scores_of(model, batch, {name: _read(model, layout, name, z, sources, at) for name in layout.reads})
    columns = [
        (_weight(model, layout, name, sources, at).to(z.dtype) * scores[name]).sum(0)
        if name in scores
        else z.new_zeros(z.shape[1])
        for name in model.names
    ]
    return torch.stack(columns, -1)


def _weight(model: JointModel, layout: "_Layout", name: str, sources: Tensor, at: ByRow) -> Tensor:
    """Of what decoder `name` reads, (draw, batch)."""
    read = layout.reads[name]
    if read.others is None:
        return at(read.weight)
    is_given = _said(layout.member, read, model.names.index(name), sources, at)
    return torch.where(is_given, at(read.weight), at(read.others))


def _said(table: Tensor, read: "_Reads", index: int, sources: Tensor, at: ByRow) -> Tensor:
    """What a table (law, modality, pattern) says of a modality and the laws that are read, (draw, batch)."""
    laws = sources if read.code is None else sources.gather(0, at(read.code))
    return at(table[:, index]).gather(0, laws)


def _read(model: JointModel, layout: "_Layout", name: str, z: Tensor, sources: Tensor, at: ByRow) -> Tensor:
    """What decoder `name` reads, (draw, batch, latent)."""
    read, index = layout.reads[name], model.names.index(name)
    codes = z if read.code is None else _picked(z, at(read.code))
    if read.unseen is not None and has_private_codes(model) and layout.own is not None:
        codes = model.unseen(name, codes, _said(layout.own, read, index, sources, at), at(read.unseen))
    if read.is_own_constant is not None:
        is_constant = at(read.is_own_constant) & _said(layout.member, read, index, sources, at)
        is_shared = torch.arange(codes.shape[-1], device=codes.device) < shared_dim_of(model)
        codes = torch.where(is_constant[..., None] & is_shared, codes.detach(), codes)
    return codes


def _divergence(model: JointModel, layout: "_Layout", laws: Posterior, z: Tensor, at: ByRow) -> Tensor:
    """The weighted sum of all divergences, (batch,)."""
    total = z.new_zeros(z.shape[1])
    if layout.to_prior is not None:
        of, code, weight = (at(table) for table in layout.to_prior)
        total = total + (weight.to(z.dtype) * model.prior.kl(_taken(laws, of), _picked(z, code))).sum(0)
    if layout.closed is not None:
        of, against, weight = (at(table) for table in layout.closed)
        total = total + (weight.to(z.dtype) * posteriors.kl(_taken(laws, of), _taken(laws, against))).sum(0)
    if layout.sampled is not None:
        of, code, weight = (at(table) for table in layout.sampled)
        parts, share = (at(table) for table in layout.mixes)
        drawn = _picked(z, code)
        density = (_taken(laws, parts).log_prob(drawn) + share.to(z.dtype).log()).logsumexp(0)
        total = total + (weight.to(z.dtype) * (_taken(laws, of).log_prob(drawn) - density)).sum(0)
    if layout.sampled_prior is not None:
        of, code, weight = (at(table) for table in layout.sampled_prior)
        total = total + (weight.to(z.dtype) * Prior.kl(model.prior, _taken(laws, of), _picked(z, code))).sum(0)
    return total


def _picked(field: Tensor, index: Tensor) -> Tensor:
    """field (law, batch, latent) at index (..., batch): (..., batch, latent)."""
    flat = index.flatten(0, -2)[..., None].expand(-1, -1, field.shape[-1])
    return field.gather(0, flat).view(*index.shape, field.shape[-1])


def _taken(laws: Posterior, index: Tensor) -> Posterior:
    return laws.like(_picked(laws.mean, index), _picked(laws.logvar, index))


Indexed = tuple[Tensor, ...]  # tables (..., pattern): places, then weights, 0 where a pattern has fewer entries


class _Reads(NamedTuple):
    """What one decoder reads, tables (draw, pattern): codes, None for all in turn; weights where the modality is given,
    and where it is not, None for the same; for private codes, an index of UNSEEN; whether z is a constant where the
    modality is given. None where no draw is concerned."""

    code: Tensor | None
    weight: Tensor
    others: Tensor | None
    unseen: Tensor | None
    is_own_constant: Tensor | None


class _Layout(NamedTuple):
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
    reads: dict[str, _Reads]
    to_prior: Indexed | None
    closed: Indexed | None
    sampled: Indexed | None
    mixes: Indexed
    sampled_prior: Indexed | None


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
    reads: dict[str, list[tuple[int, int, int, float, float]]] = field(default_factory=dict)
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
                    read = (_place(self.codes, part), UNSEEN.index(unseen), int(is_constant), *weights)
                    self.reads.setdefault(name, []).append(read)
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


def _parts(of: Q | Mix | Geometric) -> tuple[Q, ...]:
    return (of,) if isinstance(of, Q) else tuple(law for _, law in of.parts)


def _shares(of: Q | Mix | Geometric, place: Callable[[Any], int]) -> list[tuple[int, float]]:
    """The places of its parts, or its own, and their weights."""
    return [(place(part), share) for share, part in of.parts] if isinstance(of, Mix) else [(place(of), 1.0)]


def _place(seen: dict[Any, int], one: Any) -> int:
    return seen.setdefault(one, len(seen))


def _laid_out(
    every: Sequence[Terms],
    model: JointModel,
    patterns: Sequence[tuple[str, ...]],
    allocation: Allocation,
    device: torch.device,
) -> _Layout:
    """The terms of each of these patterns. Raises InputError for private codes that the model does not have."""
    names, expert_names = model.names, expert_names_of(model)
    is_closed = model.prior.has_closed_kl
    columns = [_Column(pattern, terms, allocation, is_closed) for pattern, terms in zip(patterns, every, strict=True)]
    _check_private(model, columns)
    most, count, paid = (max(len(getattr(c, what)) for c in columns) for what in ("laws", "codes", "paid"))
    for column in columns:
        column.lay_out(count, paid)
    laws = [[*column.laws, *(PRIOR,) * (most - len(column.laws))] for column in columns]
    further = [[*map(column.laws.__getitem__, column.paid), *(0,) * (paid - len(column.paid))] for column in columns]
    encoded = frozenset(name for column in laws for law in column for name in law.given)
    member = [[[name in column[i].given for column in laws] for name in expert_names] for i in range(most)]
    own = None
    if has_private_codes(model):
        has_own = [[_own(law, column.names) for law in of] for of, column in zip(laws, columns, strict=True)]
        each = [[[name in of[i] for of in has_own] for name in names] for i in range(most)]
        own = torch.tensor(each, device=device)
    reads = {}
    for name in names:
        entries = [column.reads.get(name, []) for column in columns]
        if table := _beside(entries, device, weights=2):
            code, unseen, constant, weight, others = table
            is_all = len(code) == count and all(i == place for each in entries for i, (place, *_) in enumerate(each))
            kinds, constants = ({entry[k] for each in entries for entry in each} for k in (1, 2))
            is_alike = all(entry[3] == entry[4] for each in entries for entry in each)
            reads[name] = _Reads(
                None if is_all else code,
                weight,
                None if is_alike else others,
                unseen if any(kinds) else None,
                constant.bool() if any(constants) else None,
            )
    return _Layout(
        needs_normal=any(terms.needs_normal for terms in every),
        encoded=None if has_private_codes(model) else encoded,
        member=torch.tensor(member, device=device),
        prior_expert=torch.tensor([[c[i].prior_expert for c in laws] for i in range(most)], device=device),
        own=own,
        geometric=_nested([[_shares(Mix(law.parts), c.place) for law in c.geometric] for c in columns], device),
        codes=_nested([[_shares(code, c.laws.__getitem__) for code in c.codes] for c in columns], device) or (),
        paid=torch.tensor(further, dtype=torch.int64, device=device).T,
        reads=reads,
        to_prior=_beside([column.to_prior for column in columns], device),
        closed=_beside([column.closed for column in columns], device),
        sampled=_beside([column.sampled for column in columns], device),
        mixes=_nested([c.mixes for c in columns], device) or (),
        sampled_prior=_beside([column.sampled_prior for column in columns], device),
    )


def _own(law: Q, present: tuple[str, ...]) -> tuple[str, ...]:
    """Whose private codes have their own posterior."""
    return {"given": law.given, "all": present, "none": ()}[law.private]


def _check_private(model: JointModel, columns: Sequence[_Column]) -> None:
    """Raises InputError for terms of private codes or references that the model does not have."""
    terms = [column.terms for column in columns]
    kinds = {draw.unseen for each in terms for draw in each.draws} - {"prior"}
    is_private = bool(kinds) or any(law.private != "given" for each in terms for law in each.laws)
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
