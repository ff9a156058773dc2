"""Objectives: functions of (model, batch, S) that return numbers. All values in nats per example."""

from collections.abc import Callable
from dataclasses import dataclass

from polyvae.models.contract import JointModel
from polyvae.objectives.elbo import elbo
from polyvae.objectives.importance import (
    dreg,
    dreg_looser,
    dreg_looser_multivae,
    dreg_looser_official,
    dreg_multivae,
    dreg_official,
    elbo_tight,
    iwae,
    iwae_looser,
)
from polyvae.objectives.of_terms import OfTerms, check_recipe, elbo_of_terms
from polyvae.objectives.parts import Allocation, Bound, check_covered, systematic_quantiles
from polyvae.objectives.regularisers import Contrast, Cycle, Regulariser, minimised_alone
from polyvae.objectives.terms import (
    PRIOR,
    Divergence,
    Draw,
    Geometric,
    Mix,
    Q,
    Recipe,
    Terms,
    alone,
    singles,
    terms_of,
)
from polyvae.objectives.weighting import Options
from polyvae.registry import Registry


@dataclass(frozen=True)
class Objective:
    """A row of the table. draws: whether it needs a number of samples, and an S whose terms all predict everything.

    revision: raised when its arithmetic changes. Above 1 it enters run ids, so no run of the old one stands for it.
    """

    name: str
    function: Callable[..., Bound]
    draws: bool = True
    revision: int = 1


DRAWING = (elbo_tight, iwae, iwae_looser, dreg, dreg_looser, dreg_multivae, dreg_looser_multivae)
REVISED = (dreg_official, dreg_looser_official)  # at revision 1 they were what *_multivae are now
ROWS = (
    Objective("elbo", elbo, draws=False),
    *(Objective(f.__name__, f) for f in DRAWING),
    *(Objective(f.__name__, f, revision=2) for f in REVISED),
)
OBJECTIVES = Registry("objective", {row.name: row for row in ROWS})
objective_named = OBJECTIVES.named

__all__ = [
    "OBJECTIVES",
    "PRIOR",
    "Allocation",
    "Bound",
    "Contrast",
    "Cycle",
    "Divergence",
    "Draw",
    "Geometric",
    "JointModel",
    "Mix",
    "Objective",
    "OfTerms",
    "Options",
    "Q",
    "Recipe",
    "Regulariser",
    "Terms",
    "alone",
    "check_covered",
    "check_recipe",
    "dreg",
    "dreg_looser",
    "dreg_looser_multivae",
    "dreg_looser_official",
    "dreg_multivae",
    "dreg_official",
    "elbo",
    "elbo_of_terms",
    "elbo_tight",
    "iwae",
    "iwae_looser",
    "minimised_alone",
    "objective_named",
    "singles",
    "systematic_quantiles",
    "terms_of",
]
