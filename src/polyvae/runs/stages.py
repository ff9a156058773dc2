"""What the stages of a run minimise: the method's objective with the settings of its config."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.models import TrainableModel
from polyvae.noise import Noise
from polyvae.objectives import Bound, OfTerms, Regulariser, objective_named
from polyvae.runs.plan import Plan
from polyvae.training import parallel
from polyvae.training.loop import TrainingStage


def stages_of(plan: Plan, model: TrainableModel) -> list[TrainingStage]:
    """The training stages of the plan's method; the loss of the last one is what the finished model is good at.

    Raises InputError for what compares rows, such as regularisers, in a team of processes, each of which sees its share
    of a batch alone.
    """
    settings, config = plan.settings, plan.config
    regularisers = plan.method.regularisers_for(plan.blueprint.options)
    if plan.method.compares_rows and parallel.team().size > 1:
        raise InputError(f"method {plan.method.name} compares all rows of a batch; train it in one process")
    weights = torch.tensor([m.weight for m in plan.modalities], device=plan.device)
    stages = []
    for stage in plan.method.stages:
        objective = stage.objective or _objective_of(plan, regularisers)

        def loss(batch: Batch, generator: Noise, objective: Any = objective) -> Bound:
            options = {"beta": config.beta, "weights": weights, "generator": generator, **settings.options}
            return objective(model, batch, plan.mixture, **options)

        epochs = max(1, round(stage.share * config.epochs))
        names = () if stage.objective else tuple(regulariser.name for regulariser in regularisers)
        prepare = None if stage.prepare is None else partial(stage.prepare, model)
        stages.append(TrainingStage(stage.name, loss, list(stage.parameters(model)), epochs, names, prepare))
    return stages


def _objective_of(plan: Plan, regularisers: Sequence[Regulariser]) -> Callable[..., Bound]:
    """What a stage without an objective of its own minimises."""
    recipe = plan.method.terms_for(plan.blueprint.options)
    if recipe is None:
        return objective_named(str(plan.settings.objective)).function
    return OfTerms(recipe, regularisers)
