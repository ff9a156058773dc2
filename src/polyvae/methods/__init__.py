"""The table of methods: a name, its S, its objective, its source.

Members of the family differ in S alone. A method outside the family gets its own file here, with its objective
and what it adds, and one line in `METHODS`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from polyvae import subsets
from polyvae.errors import InputError
from polyvae.objectives import Bound, elbo
from polyvae.subsets import SubsetMixture

Objective = Callable[..., Bound]


@dataclass(frozen=True)
class Stage:
    """One phase of training: what is minimised, over which parameters, for which share of the epochs."""

    name: str = "train"
    objective: Objective = elbo
    share: float = 1.0
    parameters: Callable[[nn.Module], Iterable[nn.Parameter]] = nn.Module.parameters


@dataclass(frozen=True)
class Method:
    """A row of the table. `mixture` makes S from the modality names; None: the user's own S."""

    name: str
    mixture: Callable[[Sequence[str]], SubsetMixture] | None
    summary: str
    source: str
    stages: tuple[Stage, ...] = (Stage(),)


METHODS = {
    method.name: method
    for method in (
        Method("unimodal", subsets.mmvae, "one modality alone: S = {{1}}", "Kingma & Welling 2014"),
        Method("mvae", subsets.mvae, "product of all experts: S = {all}", "Wu & Goodman 2018, without sub-sampling"),
        Method("mvae_plus", subsets.mvae_plus, "MVAE with ELBO sub-sampling: L(x) + sum L(x_i)", "eq. 84"),
        Method("mmvae", subsets.mmvae, "mixture of single experts: S = {{1}, ..., {M}}", "Shi et al. 2019, ELBO form"),
        Method("mopoe", subsets.mopoe, "mixture of products: S = all 2^M - 1 subsets", "Sutter et al. 2021"),
        Method("custom", None, "your own S: --subsets FILE.json", "Daunhawer et al. 2022, Definition 2"),
    )
}


def method_named(name: str) -> Method:
    """The method called `name`. Raises InputError that lists the choices."""
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[name]
