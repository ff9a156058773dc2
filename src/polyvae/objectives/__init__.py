"""Objectives: functions of (model, batch, S) that return numbers. All values in nats per example."""

from collections.abc import Callable
from dataclasses import dataclass

from polyvae.errors import InputError
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


@dataclass(frozen=True)
class Objective:
    """A row of the table. draws: whether it takes a number of samples, and an S whose terms all predict everything."""

    name: str
    function: Callable[..., Bound]
    draws: bool = True


OBJECTIVES = {
    function.__name__: Objective(function.__name__, function, draws=function is not elbo)
    for function in (elbo, elbo_tight, iwae, iwae_looser, dreg, dreg_looser, dreg_official, dreg_looser_official)
}


def objective_named(name: str) -> Objective:
    """The objective called `name`. Raises InputError that lists the choices."""
    if name not in OBJECTIVES:
        raise InputError(f"unknown objective {name!r}; choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


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
