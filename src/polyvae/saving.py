"""A trained model on disk: model.json (what to build) and model.safetensors (its weights)."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from polyvae import files, networks, subsets
from polyvae.errors import InputError
from polyvae.modality import Modality
from polyvae.model import MultimodalVAE

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
        },
    )


def load(run: Path | str, *, networks: Networks | None = None, weights: str = "model") -> MultimodalVAE:
    """The model of a run folder, in eval mode, without its data set.

    networks: needed again where the run was made with networks of your own.
    weights: "model" (last) or "model_best" (lowest validation loss).
    Raises InputError for a missing or damaged file, or weights that do not fit.
    """
    folder = Path(run)
    content = files.read_object(folder / "model.json", ("modalities", "networks", "latent_dim", "subsets"))
    modalities = [Modality.from_json(item) for item in content["modalities"]]
    built = build_networks(modalities, content["networks"], content["latent_dim"], networks or {})
    model = MultimodalVAE(modalities, built, subsets.from_json(content["subsets"]), content["latent_dim"])
    tensors, _ = files.read_tensors(folder / f"{weights}.safetensors")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{folder}: the weights do not fit model.json ({error})") from error
    return model.eval()


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
