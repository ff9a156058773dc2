"""A trained model on disk: model.json (what to build) and model.safetensors (its weights)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from polyvae import files, networks, priors, subsets
from polyvae.errors import InputError
from polyvae.modality import Batch, Modality
from polyvae.models.vae import MultimodalVAE
from polyvae.posteriors import Family

Networks = Mapping[str, tuple[nn.Module, nn.Module]]  # name -> (encoder, decoder)


def save_model(folder: Path, model: MultimodalVAE, network_names: Mapping[str, str]) -> None:
    """Writes model.json and model.safetensors; network name 'own' marks networks that were passed as objects."""
    files.write_tensors(folder / "model.safetensors", model.state_dict())
    files.write_json(
        folder / "model.json",
        {
            "modalities": [m.to_json() for m in model.modalities],
            "subsets": subsets.to_json(model.mixture),
            "latent_dim": model.latent_dim,
            "networks": dict(network_names),
            "prior": priors.describe(model.prior),
            "posterior": model.family.to_json(),
        },
    )


def load(
    run: Path | str, *, networks: Networks | None = None, weights: str = "model", prior: str | None = None
) -> MultimodalVAE:
    """The model of a run folder, in eval mode, without its data set.

    networks: needed again where the run was made with networks of your own.
    weights: "model" (last) or "model_best" (lowest validation loss).
    prior: one that was fitted afterwards (`polyvae fit-prior`) in place of the model's own: gmm or flow.
    Raises InputError for a missing or damaged file, or weights that do not fit.
    """
    folder = Path(run)
    content = files.read_object(folder / "model.json", ("modalities", "networks", "latent_dim", "subsets"))
    modalities = [Modality.from_json(item) for item in content["modalities"]]
    built = build_networks(modalities, content["networks"], content["latent_dim"], networks or {})
    latent_dim = content["latent_dim"]
    model = MultimodalVAE(
        modalities,
        built,
        subsets.from_json(content["subsets"]),
        latent_dim,
        prior=_prior(content.get("prior", {"kind": "normal"}), modalities, latent_dim),
        family=Family(**content.get("posterior", {})),
    )
    tensors, _ = files.read_tensors(folder / f"{weights}.safetensors")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{folder}: the weights do not fit model.json ({error})") from error
    if prior is not None:
        model.prior = load_prior(folder, prior, latent_dim)
    return model.eval()


def _prior(described: Mapping[str, Any], modalities: Sequence[Modality], latent_dim: int) -> priors.Prior:
    """The prior that `priors.describe` describes; pseudo-inputs are filled in by the weights."""
    rows = described.get("components", 1)
    inputs = Batch({m.name: torch.zeros(rows, *m.shape) for m in modalities}) if described["kind"] == "vamp" else None
    return priors.make(latent_dim=latent_dim, inputs=inputs, **described)


def save_prior(folder: Path, kind: str, prior: priors.Prior, facts: Mapping[str, Any]) -> None:
    """Writes a prior that was fitted to a finished run: priors/<kind>.safetensors and .json, with `facts`."""
    files.write_tensors(folder / "priors" / f"{kind}.safetensors", cast(nn.Module, prior).state_dict())
    files.write_json(folder / "priors" / f"{kind}.json", {"prior": priors.describe(prior), **facts})


def load_prior(folder: Path, kind: str, latent_dim: int) -> priors.Prior:
    """A prior that `save_prior` wrote. Raises InputError where there is none, or its weights do not fit."""
    path = folder / "priors" / f"{kind}.json"
    if not path.is_file():
        raise InputError(f"{folder.name} has no fitted prior {kind!r}; make it with: polyvae fit-prior {folder.name}")
    prior = priors.make(latent_dim=latent_dim, **files.read_object(path, ("prior",))["prior"])
    try:
        cast(nn.Module, prior).load_state_dict(files.read_tensors(path.with_suffix(".safetensors"))[0])
    except RuntimeError as error:
        raise InputError(f"{path}: these weights do not fit; make it again with fit-prior") from error
    return prior


def build_networks(
    modalities: list[Modality], names: Mapping[str, str], latent_dim: int, own: Networks
) -> dict[str, tuple[nn.Module, nn.Module]]:
    """(encoder, decoder) of every modality, from `own` where the name is 'own'."""
    if missing := [m.name for m in modalities if names[m.name] == "own" and m.name not in own]:
        raise InputError(f"modality {missing[0]!r} was trained with your own networks; pass networks={{...}} again")
    return {
        m.name: own[m.name] if names[m.name] == "own" else networks.build(names[m.name], m, latent_dim)
        for m in modalities
    }
