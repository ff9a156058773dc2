"""Objectives: functions of (model, batch, S) that return numbers. All values in nats per example."""

from collections.abc import Callable
from dataclasses import dataclass

from polyvae.models.contract import JointModel
from polyvae.objectives.elbo import elbo
from polyvae.objectives.importance import (
    dreg,
    dreg_looser,
    dreg_looser_official,
    dreg_official,
    elbo_tight,
    iwae,
    iwae_looser,
)
from polyvae.objectives.parts import UNCOVERED, Allocation, Bound, systematic_quantiles
from polyvae.objectives.weighting import Options
from polyvae.registry import Registry


@dataclass(frozen=True)
class Objective:
    """A row of the table. draws: whether it takes a number of samples, and an S whose terms all predict everything."""

    name: str
    function: Callable[..., Bound]
    draws: bool = True


FUNCTIONS = (elbo, elbo_tight, iwae, iwae_looser, dreg, dreg_looser, dreg_official, dreg_looser_official)
OBJECTIVES = Registry("objective", {f.__name__: Objective(f.__name__, f, draws=f is not elbo) for f in FUNCTIONS})
objective_named = OBJECTIVES.named

__all__ = [
    "OBJECTIVES",
    "UNCOVERED",
    "Allocation",
    "Bound",
    "JointModel",
    "Objective",
    "Options",
    "dreg",
    "dreg_looser",
    "dreg_looser_official",
    "dreg_official",
    "elbo",
    "elbo_tight",
    "iwae",
    "iwae_looser",
    "objective_named",
    "systematic_quantiles",
]
