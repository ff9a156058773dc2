"""What a row of the table of methods says, and a stage of one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from torch import nn

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.objectives import Bound, Recipe, Regulariser, Terms
from polyvae.options import check_call
from polyvae.posteriors import Family
from polyvae.subsets import SubsetMixture

Objective = Callable[..., Bound]


@dataclass(frozen=True)
class Stage:
    """One phase of training: what is minimised, over which parameters, for which share of the epochs.

    objective: None for the run's own (`Method.objective`, or what its config says); or the name of a regulariser of the
    method, which is minimised alone. One of your own is called as
    objective(model, batch, S, beta=..., weights=..., generator=...) and returns a `Bound`; weights: (modality,). For a
    joint model it also gets allocation=, and samples= if `Method.objective` draws some (docs/objectives.md). A plan
    refuses one that does not take these.
    share: of the epochs; or the name of what says it in the method's options. A stage with share 0 is left out.
    warm_up: share of the stage over which beta rises from 0 to the run's; the objective then gets it as a tensor, which
    it must not read.
    prepare: called as prepare(model, training rows) before the stage's first step, and again when it is resumed.
    compares_rows: whether the objective is a function of a whole batch, of which no process may see only a share.
    """

    name: str = "train"
    objective: Objective | str | None = None
    share: float | str = 1.0
    parameters: Callable[[nn.Module], Iterable[nn.Parameter]] = nn.Module.parameters
    prepare: Callable[[Any, MultimodalDataset], None] | None = None
    warm_up: float = 0.0
    compares_rows: bool = False


def parameters_of(*modules: str) -> Callable[[nn.Module], Iterable[nn.Parameter]]:
    """What a stage trains if it trains only these modules of the model."""
    return lambda model: chain(*(model.get_submodule(name).parameters() for name in modules))


@dataclass(frozen=True)
class Method:
    """A row of the table. `mixture` makes S from the modality names; None: the user's own S.

    objective, samples (K, if it draws any), allocation, prior and family of posteriors are defaults: a run's config may
    say otherwise. is_single: for one modality, with its share of the latent dimensions.
    recipe: what a row is trained by, called with the names of what it has and the method's options; None: `objective`.
    regularisers: what it adds to the loss of a recipe, called with the method's options.
    With a recipe S only says how posteriors are formed at test time, and is_bound whether log p(x) is bounded.
    model: the kind of model that it trains (`models.MODELS`); one that is not joint needs an objective in every stage,
    and leaves no choice of prior, posterior or allocation. options: a frozen dataclass of settings of its own with
    defaults, which --method-options changes; the model's blueprint holds them.
    revision: raised when the arithmetic of its stages changes, as `objectives.Objective.revision`.
    """

    name: str
    mixture: Callable[[Sequence[str]], SubsetMixture] | None
    summary: str
    source: str
    stages: tuple[Stage, ...] = (Stage(),)
    objective: str = "elbo"
    samples: int = 8
    allocation: str = "systematic"
    prior: str = "normal"
    family: Family = field(default_factory=Family)
    is_single: bool = False
    model: str = "joint"
    options: type[Any] | None = None
    recipe: Callable[[tuple[str, ...], Any], Terms] | None = None
    is_bound: bool = True
    regularisers: Callable[[Any], tuple[Regulariser, ...]] | None = None
    revision: int = 1

    def __post_init__(self) -> None:
        if self.regularisers is not None and self.recipe is None:
            raise InputError(f"method {self.name!r} has regularisers but no recipe for them to join; give it one")
        if self.recipe is not None:
            check_call(self.recipe, f"the recipe of method {self.name!r}", "recipe", ("names", "options"), ())

    def terms_for(self, options: Mapping[str, Any]) -> Recipe | None:
        """The recipe with these options. Raises InputError for values that they cannot have."""
        if (recipe := self.recipe) is None:
            return None
        chosen = self.chosen(options)
        return lambda names: recipe(names, chosen)

    @property
    def compares_rows(self) -> bool:
        """Whether it minimises a function of a whole batch, such as a regulariser."""
        return self.regularisers is not None or any(stage.compares_rows for stage in self.stages)

    def planned(self, options: Mapping[str, Any], epochs: int) -> list[tuple[Stage, int]]:
        """Its stages with these options, and for how many epochs each goes on, at least one."""
        chosen = self.chosen(options)
        shares = [
            getattr(chosen, stage.share) if isinstance(stage.share, str) else stage.share for stage in self.stages
        ]
        return [(stage, max(1, round(s * epochs))) for stage, s in zip(self.stages, shares, strict=True) if s]

    def regularisers_for(self, options: Mapping[str, Any]) -> tuple[Regulariser, ...]:
        """The regularisers with these options."""
        return () if self.regularisers is None else self.regularisers(self.chosen(options))

    def chosen(self, options: Mapping[str, Any]) -> Any:
        """Its options with these values, None if it has none."""
        return None if self.options is None else self.options(**options)
