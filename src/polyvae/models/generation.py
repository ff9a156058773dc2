"""Generating modalities from a model: from its prior, or given part of a row. The base of all models that can."""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.models.blueprint import Blueprint
from polyvae.models.contract import Model, at_level
from polyvae.noise import Noise, drawing_from


@torch.no_grad()
def generate(
    model: Model,
    source: int | Batch,
    given: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    *,
    decode: Literal["mean", "sample"] = "mean",
    level: str | None = None,
    generator: Noise = None,
) -> dict[str, Tensor]:
    """Values of `targets`, name -> (batch, *shape), in the units of the data.

    source: a number of unconditional samples, or a batch to condition on through `given` (default: all it has).
    targets: default all modalities. decode: the likelihood's mean, or a draw from it.
    level: of the model's covariate, as if all rows had it. Default: the rows' own, or draws by the shares of levels.
    Raises InputError for unknown targets or levels, and for `given` without a batch.
    """
    wanted = model.names if targets is None else tuple(targets)
    if not wanted or set(wanted) - set(model.names):
        raise InputError(f"targets are {list(wanted)}; name at least one of {', '.join(model.names)}")
    if isinstance(source, Batch):
        codes = model.posterior_codes(source, model.names if given is None else given, wanted, generator)
    elif given is not None:
        raise InputError(f"given is {list(given)}, but there is only a count of samples; pass a batch to condition on")
    else:
        codes = {name: code for name, code in model.prior_codes(source, generator).items() if name in wanted}
    likelihoods = model.decode(at_level(model, codes, level))
    if decode == "mean":
        values = {name: likelihood.mean for name, likelihood in likelihoods.items()}
    else:
        with drawing_from(generator, next(iter(codes.values())).device):
            values = {name: likelihood.sample() for name, likelihood in likelihoods.items()}
    return {m.name: m.to_original(values[m.name]) for m in model.modalities if m.name in values}


class TrainableModel(nn.Module, Model):
    """The base of every model that is trained, saved and loaded: a module that keeps the contract.

    A subclass is built from a `Blueprint`, sets `names` and `modalities`, and defines `prior_codes`, `posterior_codes`
    and `decode`.
    is_joint: whether it is a `JointModel`. One that is not may have a `mixture`, S: its posterior given a subset is
    then the mixture of those of the members of S, and metrics score each member once.
    takes_covariate: whether it knows what to do with `Blueprint.covariate`.
    """

    is_joint: ClassVar[bool] = False
    takes_covariate: ClassVar[bool] = False

    @classmethod
    def of(cls, blueprint: Blueprint) -> Self:
        """The untrained model of a blueprint."""
        return cls(blueprint)

    @classmethod
    def network_dim(cls, blueprint: Blueprint) -> int:
        """How many dimensions each encoder gives and each decoder reads; the user's own networks must agree."""
        return blueprint.latent_dim

    @classmethod
    def code_dim(cls, blueprint: Blueprint) -> int:
        """Dimensions of all codes that a prior is over."""
        return blueprint.latent_dim

    generate = generate
