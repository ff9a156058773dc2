"""A trained model on disk: model.json (its blueprint) and model.safetensors (its weights)."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from polyvae import files, models, priors
from polyvae.errors import InputError
from polyvae.models import Blueprint, Networks, TrainableModel
from polyvae.priors import Prior

Module = TypeVar("Module", bound=nn.Module)


def save_model(folder: Path, model: nn.Module, blueprint: Blueprint) -> None:
    """Writes model.json and model.safetensors."""
    files.write_tensors(folder / "model.safetensors", model.state_dict())
    files.write_json(folder / "model.json", blueprint.to_json())


def load(
    run: Path | str, *, networks: Networks | None = None, weights: str = "model", prior: str | None = None
) -> TrainableModel:
    """The model of a run folder, in eval mode, without its data set.

    It is a `MultimodalVAE`, unless the run's method trains its own kind of model.
    networks: needed again where the run was made with networks of your own.
    weights: "model" (last) or "model_best" (lowest validation loss).
    prior: one that was fitted afterwards (`polyvae fit-prior`) in place of the model's own: gmm or flow.
    Raises InputError for a missing or damaged file, weights that do not fit, or a kind that no plug-in has registered.
    """
    folder = Path(run)
    content = files.read_object(folder / "model.json", ("modalities", "networks", "latent_dim", "subsets"))
    model = models.build(Blueprint.from_json(content, networks))
    _fill(model, folder / f"{weights}.safetensors", "the weights do not fit model.json")
    if prior is not None:
        model.prior = load_prior(folder, prior, content["latent_dim"])
    return model.eval()


def save_prior(folder: Path, kind: str, prior: Prior, facts: Mapping[str, Any]) -> None:
    """Writes a prior that was fitted to a finished run: priors/<kind>.safetensors and .json, with `facts`."""
    files.write_tensors(folder / "priors" / f"{kind}.safetensors", prior.state_dict())
    files.write_json(folder / "priors" / f"{kind}.json", {"prior": prior.describe(), **facts})


def load_prior(folder: Path, kind: str, latent_dim: int) -> Prior:
    """A prior that `save_prior` wrote. Raises InputError where there is none, or its weights do not fit."""
    path = folder / "priors" / f"{kind}.json"
    if not path.is_file():
        command = shlex.join(["polyvae", "fit-prior", str(folder), "--kind", kind])
        raise InputError(f"{folder.name} has no fitted prior {kind!r}; make it with: {command}")
    prior = priors.make(latent_dim=latent_dim, **files.read_object(path, ("prior",))["prior"])
    return _fill(prior, path.with_suffix(".safetensors"), "these weights do not fit; make it again with fit-prior")


def _fill(module: Module, path: Path, misfit: str) -> Module:
    """The module with the weights of a file. Raises InputError where they do not fit."""
    tensors, _ = files.read_tensors(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: {misfit} ({error})") from error
    return module
