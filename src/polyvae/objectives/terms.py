"""Objectives as data: which posteriors are decoded, which divergences are paid, both as functions of what a row has.

A method outside the family is a `Recipe`: names -> `Terms`. It is called with the names that a row has, so that factors
such as 1 / M count the modalities that are there, and a row that lacks some trains the model without them. `elbo` is
the recipe Draw(Q(A), w_A), Divergence(Q(A), PRIOR, w_A) for A in S, computed faster.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from polyvae.errors import InputError
from polyvae.objectives.typed import typed


@typed
class Q(NamedTuple):
    """A posterior: the product of the experts of `given`, and of N(0, I) if `prior_expert`.

    given: names of modalities, or of a further expert of the model (`contract.expert_names_of`).
    private: whose private codes have their own posterior, in a model that has some: those of `given`, of all that a row
    has, or of none; the others have p(w).
    """

    given: tuple[str, ...]
    prior_expert: bool = False
    private: Literal["given", "all", "none"] = "given"


@typed
class Mix(NamedTuple):
    """The mixture of posteriors with these weights, which sum to 1."""

    parts: tuple[tuple[float, Q], ...]


@typed
class Geometric(NamedTuple):
    """The normalised product of the densities to the power of these weights, which sum to 1 (Normal posteriors)."""

    parts: tuple[tuple[float, Q], ...]


PRIOR = Q((), prior_expert=True)  # as `against` it is the model's prior, elsewhere N(0, I)


@typed
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


@typed
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


@typed
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

    further: other experts of the model, which are not targets.
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


def _parts(of: Q | Mix | Geometric) -> tuple[Q, ...]:
    return (of,) if isinstance(of, Q) else tuple(law for _, law in of.parts)
