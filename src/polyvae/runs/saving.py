"""A trained model on disk: model.json (its blueprint) and model.safetensors (its weights)."""

import math
import shlex
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

from torch import Tensor, nn

from polyvae import files, likelihoods, models, priors
from polyvae.errors import InputError
from polyvae.intervals import Calibration, CalibrationFile
from polyvae.models import JOINT, Blueprint, Model, ModelFile, Networks, NotDefined, TrainableModel
from polyvae.networks import NETWORKS
from polyvae.priors import Prior, PriorFile
from polyvae.runs.record import Record, Weights
from polyvae.runs.store import RECORD, check_kept

Module = TypeVar("Module", bound=nn.Module)
MOST_TIMES = 10  # as many numbers as a file holds are made before they are compared
PRIORS = "priors"  # the folder of those fitted after training
CALIBRATION = "calibration.json"


class FittedFile(TypedDict):
    """priors/<kind>.json. The first ones lack the checksum."""

    prior: PriorFile
    sha256: NotRequired[str]
    seed: NotRequired[int]
    log_density_own_prior: NotRequired[float]
    log_density: NotRequired[float]


def save_model(folder: Path, model: nn.Module, blueprint: Blueprint) -> None:
    """Writes model.json and model.safetensors."""
    files.write_tensors(folder / "model.safetensors", model.state_dict())
    files.write_json(folder / "model.json", blueprint.to_json())


def load(
    run: Path | str, *, networks: Networks | None = None, weights: str = "auto", prior: str | None = None
) -> TrainableModel:
    """The model of a run folder, in eval mode, without its data set.

    It is a `MultimodalVAE`, unless the run's method trains its own kind of model.
    networks: needed again where the run was made with networks of your own.
    weights: "model" (last), "model_best" (lowest validation loss), or "auto": those that the record's metrics are of,
    the best where the run held rows out for validation.
    prior: one that was fitted afterwards (`polyvae fit-prior`) in place of the model's own: gmm, flow or pruned.
    Raises InputError for a missing or damaged file, weights that do not fit, are not finite or are not those that the
    record names, or a kind that no plug-in has registered.
    """
    folder = Path(run)
    content = _content(folder)
    path, tensors = _weights(folder, scored_weights(folder) if weights == "auto" else weights)
    with _building(folder / "model.json"):
        blueprint = Blueprint.from_json(content, networks)
        asked = blueprint.elements() if blueprint.kind == JOINT else 0  # other kinds know how many networks they make
    _check_size(path, asked, tensors)
    with _building(folder / "model.json"):
        model = models.build(blueprint)
    _fill(model, path, tensors)
    if prior is not None:
        check_has_prior(folder, model)
        model.prior = load_prior(folder, prior, _code_dim(content))
    return model.eval()


def checksums(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 of the model and weights of a run, for its record."""
    paths = [folder / "model.json", folder / CALIBRATION, *sorted(folder.glob("*.safetensors"))]
    return {path.name: files.sha256(path) for path in paths if path.is_file()}


def scored_weights(folder: Path) -> Weights:
    """Which weights the metrics of a run are of; the last ones before it is finished."""
    return Record.read(folder / RECORD).resolved.scored_weights if (folder / RECORD).is_file() else "model"


def load_best(model: TrainableModel, folder: Path) -> None:
    """Gives the model of a run that was just trained its best weights."""
    path = folder / "model_best.safetensors"
    _fill(model, path, files.read_tensors(path)[0])


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Writes calibration.json."""
    files.write_json(folder / CALIBRATION, calibration.to_json())


def load_calibration(run: Path | str) -> Calibration | None:
    """How much to widen the intervals of a run's scored weights; None where it held no rows out for that.

    Raises InputError for a damaged file, or one that does not fit the model.
    """
    folder = Path(run)
    path = folder / CALIBRATION
    if not path.is_file():
        if CALIBRATION in _recorded(folder):
            raise files.damaged(path, "it is missing")
        return None
    content = files.read_object(path, CalibrationFile)
    _check_sum(path, _recorded(folder).get(path.name))
    widths = {m["name"]: math.prod(m["shape"]) for m in _content(folder)["modalities"]}
    for given, factors in content["factors"].items():
        if unknown := {*given.split("+"), *factors} - set(widths):
            raise files.damaged(path, f"the model has no modality {min(unknown)!r}")
        if wrong := [name for name, values in factors.items() if len(values) != widths[name]]:
            raise files.damaged(path, f"{wrong[0]!r} has {widths[wrong[0]]} features")
    return Calibration.from_json(content)


def check_has_prior(folder: Path, model: Model) -> None:
    """Raises InputError for the model of a run for which no prior can be fitted."""
    try:
        models.joint(model)
    except NotDefined as reason:
        raise InputError(f"run {folder.name} cannot have a fitted prior: {reason}") from reason


def save_prior(folder: Path, kind: str, prior: Prior, facts: Mapping[str, Any]) -> None:
    """Writes a prior that was fitted to a finished run: priors/<kind>.safetensors and .json, with `facts`."""
    path = folder / PRIORS / f"{kind}.safetensors"
    files.write_tensors(path, prior.state_dict())
    content = {"prior": prior.describe(), "sha256": files.sha256(path), **facts}
    files.write_json(path.with_suffix(".json"), content)


def load_prior(folder: Path, kind: str, latent_dim: int) -> Prior:
    """A prior that `save_prior` wrote. Raises InputError where there is none, or it is damaged."""
    path = folder / PRIORS / f"{kind}.json"
    if not path.is_file():
        command = shlex.join(["polyvae", "fit-prior", str(folder), "--kind", kind])
        raise InputError(f"{folder.name} has no fitted prior {kind!r}; make it with: {command}")
    content = files.read_object(path, FittedFile)
    weights = path.with_suffix(".safetensors")
    tensors = _finite_tensors(weights, content.get("sha256"))
    _check_size(weights, priors.elements(latent_dim=latent_dim, **content["prior"]), tensors)
    with _building(path):
        prior = priors.make(latent_dim=latent_dim, **content["prior"])
    return _fill(prior, weights, tensors)


def faults(folder: Path) -> list[str]:
    """What is wrong with the model, its weights and its fitted priors; empty where nothing is.

    A model that needs a plug-in or networks not at hand is not built: only its checksums are checked.
    """
    names = {"model", *(path.stem for path in folder.glob("*.safetensors"))}
    kinds = sorted({path.stem for path in (folder / PRIORS).glob("*") if path.suffix in (".json", ".safetensors")})
    checks: list[Callable[[], object]] = [partial(_check_model, folder, weights) for weights in sorted(names)]
    checks += [partial(load_calibration, folder)]
    checks += [lambda kind=kind: load_prior(folder, kind, _code_dim(_content(folder))) for kind in kinds]
    found = []
    for check in checks:
        try:
            check()
        except InputError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def _check_model(folder: Path, weights: str) -> None:
    content = _content(folder)
    scored_by = {modality["likelihood"]["kind"] for modality in content["modalities"]}
    tables = ((models.MODELS, {content.get("kind", JOINT)}), (likelihoods.LIKELIHOODS, scored_by))
    if all(names <= set(table) for table, names in (*tables, (NETWORKS, set(content["networks"].values())))):
        load(folder, weights=weights)
    else:
        _weights(folder, weights)


def _content(folder: Path) -> dict[str, Any]:
    """model.json."""
    path = folder / "model.json"
    check_kept(path)
    content = files.read_object(path, ModelFile)
    _check_sum(path, _recorded(folder).get(path.name))
    return content


def _code_dim(content: Mapping[str, Any]) -> int:
    """How many dimensions the priors of the model have; for a kind that is not registered, as model.json says."""
    kind = content.get("kind", JOINT)
    if kind not in models.MODELS:
        return content["latent_dim"]
    return models.MODELS[kind].code_dim(Blueprint.from_json(content))


def misfit(path: Path, reason: str) -> InputError:
    again = "make it again with fit-prior" if path.parent.name == PRIORS else "run the command that made it again"
    return InputError(f"{path}: the weights do not fit ({reason}); copy the file again, or {again}")


def _recorded(folder: Path) -> Mapping[str, str]:
    """File name -> SHA-256 as the record has it: none before a run is finished, or in records of earlier releases."""
    path = folder / RECORD
    return Record.read(path).resolved.sha256 if path.is_file() else {}


def _weights(folder: Path, name: str) -> tuple[Path, dict[str, Tensor]]:
    path = folder / f"{name}.safetensors"
    return path, _finite_tensors(path, _recorded(folder).get(path.name))


def _check_sum(path: Path, sha256: str | None) -> None:
    if sha256 is not None and files.sha256(path) != sha256:
        raise files.damaged(path, "its checksum is not the recorded one")


def _finite_tensors(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """The tensors of a file. Raises InputError unless they are finite and have the checksum, where one is known."""
    tensors, _ = files.read_tensors(path)
    _check_sum(path, sha256)
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise misfit(path, f"{name!r} is not finite")
    return tensors


def _check_size(path: Path, asked: int, tensors: Mapping[str, Tensor]) -> None:
    """Raises InputError for sizes that the weights do not bear out, before memory is taken for them."""
    held = sum(value.numel() for value in tensors.values())
    if asked > MOST_TIMES * held:  # else what is missing can be named
        raise misfit(path, f"its JSON file describes at least {asked:,} numbers, and there are {held:,}")


@contextmanager
def _building(path: Path) -> Generator[None]:
    """Whatever cannot be built from a file is a fault of that file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ArithmeticError, AssertionError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise files.damaged(path, f"nothing can be built from it: {type(error).__name__}: {error}") from error


def _fill(module: Module, path: Path, tensors: Mapping[str, Tensor]) -> Module:
    """The module with these weights, those of `path`. Raises InputError that names the tensor that does not fit."""
    wanted = module.state_dict()
    for name, value in wanted.items():
        if name not in tensors:
            raise misfit(path, f"it lacks {name!r}")
        if (was := _form(tensors[name])) != (form := _form(value)):
            raise misfit(path, f"{name!r} is {was}, not {form}")
    if extra := sorted(set(tensors) - set(wanted)):
        raise misfit(path, f"the model has no {extra[0]!r}")
    module.load_state_dict(tensors)
    return module


def _form(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
