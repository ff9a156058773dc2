"""Which modalities are given, which are drawn, and from which members of a mixture."""

from collections.abc import Iterable, Sequence
from itertools import combinations

from polyvae import subsets
from polyvae.keys import all_but
from polyvae.models.contract import JointModel, Model, has_density, mixture_of

Subset = tuple[str, ...]
Pair = tuple[Subset, str]  # (given, target)
MOST_FOR_ALL_SUBSETS = 5


def given_subsets(names: Subset) -> list[Subset]:
    """Every subset of up to 5 modalities; of more, the single ones and all of them."""
    sizes = range(1, len(names) + 1) if len(names) <= MOST_FOR_ALL_SUBSETS else (1, len(names))
    return [given for size in sizes for given in combinations(names, size)]


def known_subsets(model: JointModel) -> list[Subset]:
    """Those of `given_subsets` whose posterior has a density and moments."""
    return [given for given in given_subsets(model.names) if has_density(model, given)]


def all_pairs(names: Subset, targets: Subset) -> list[Pair]:
    """Targets outside `given` for every `given` of up to 5 modalities; with more, as `few_pairs`."""
    return _pairs(names, targets, range(1, len(names)) if len(names) <= MOST_FOR_ALL_SUBSETS else (1, len(names) - 1))


def few_pairs(names: Subset, targets: Subset) -> list[Pair]:
    """Single modalities (of up to 5), and all but the target."""
    sizes = (1,) * (len(names) <= MOST_FOR_ALL_SUBSETS) + (len(names) - 1,)
    return list(dict.fromkeys(pair for pair in _pairs(names, targets, sizes) if pair[0]))


def one_out_pairs(names: Subset, targets: Subset) -> list[Pair]:
    """All but the target."""
    return [(all_but(target, names), target) for target in targets] if len(names) > 1 else []


def self_pairs(targets: Subset) -> list[Pair]:
    """Each from itself alone."""
    return [((target,), target) for target in targets]


def _pairs(names: Subset, targets: Subset, sizes: Iterable[int]) -> list[Pair]:
    return [(given, t) for size in sizes for given in combinations(names, size) for t in targets if t not in given]


def members(model: Model, given: Subset) -> list[tuple[Subset, float]]:
    """The posterior of x_given as (subset, weight) pairs, each a posterior that is not a mixture.

    Metrics that are linear in the posterior score each member once and combine them with the weights.
    """
    mixture = mixture_of(model)
    if mixture is None:
        return [(given, 1.0)]
    return [(term.given, term.weight) for term in subsets.conditional(mixture, given).terms]


def wanted_members(model: Model, pairs: Sequence[Pair]) -> dict[Subset, Subset]:
    """member -> targets that must be decoded from it to score all (given, target) pairs."""
    wanted: dict[Subset, dict[str, None]] = {}
    for given, target in pairs:
        for member, _ in members(model, given):
            wanted.setdefault(member, {})[target] = None
    return {member: tuple(targets) for member, targets in wanted.items()}
