"""What the stages of a run minimise: the method's objective with the settings of its config."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from polyvae.errors import InputError
from polyvae.methods import Stage
from polyvae.modality import Batch
from polyvae.models import TrainableModel
from polyvae.noise import Noise
from polyvae.objectives import Bound, OfTerms, Regulariser, minimised_alone, objective_named
from polyvae.runs.plan import Plan
from polyvae.training import parallel
from polyvae.training.loop import TrainingStage


def stages_of(plan: Plan, model: TrainableModel) -> list[TrainingStage]:
    """The training stages of the plan's method; the loss of the last one is what the finished model is good at.

    Raises InputError for what compares rows, such as regularisers, in a team of processes, each of which sees its share
    of a batch only, and for a stage of a regulariser that the method does not have.
    """
    settings, config = plan.settings, plan.config
    regularisers = plan.method.regularisers_for(plan.blueprint.options)
    if plan.method.compares_rows and parallel.team().size > 1:
        raise InputError(f"method {plan.method.name} compares all rows of a batch; train it in one process")
    weights = torch.tensor([m.weight for m in plan.modalities], device=plan.device)
    stages = []
    for stage, epochs in plan.method.planned(plan.blueprint.options, config.sizes.epochs):
        added = [r for r in regularisers if stage.objective in (None, r.name)]
        objective = _objective_of(plan, stage, added)
        beta = torch.tensor(config.beta, device=plan.device) if stage.warm_up else config.beta

        def loss(batch: Batch, generator: Noise, objective: Any = objective, beta: Any = beta) -> Bound:
            how = {"beta": beta, "weights": weights, "generator": generator, **settings.options}
            return objective(model, batch, plan.mixture, **how)

        names = tuple(regulariser.name for regulariser in added)
        prepare = None if stage.prepare is None else partial(stage.prepare, model)
        warm = partial(_rise, beta, config.beta, stage.warm_up) if isinstance(beta, Tensor) else None
        stages.append(TrainingStage(stage.name, loss, list(stage.parameters(model)), epochs, names, prepare, warm))
    return stages


def _rise(beta: Tensor, whole: float, share: float, done: float) -> None:
    """Sets beta when a share `done` of a stage is over; its rise takes the first `share`."""
    beta.fill_(whole * min(1.0, done / share))


def _objective_of(plan: Plan, stage: Stage, regularisers: Sequence[Regulariser]) -> Callable[..., Bound]:
    """What a stage minimises, with these regularisers. Raises InputError for a name that the method does not have."""
    if isinstance(stage.objective, str):
        if not regularisers:
            raise InputError(f"stage {stage.name!r} minimises {stage.objective!r}, not a regulariser of its method")
        return minimised_alone(*regularisers)
    if stage.objective is not None:
        return stage.objective
    recipe = plan.method.terms_for(plan.blueprint.options)
    if recipe is None:
        return objective_named(str(plan.settings.objective)).function
    return OfTerms(recipe, regularisers)
