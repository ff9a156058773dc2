"""Checkpoints: one safetensors file with weights, optimiser state, other weights and the place in the run."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from polyvae import files, schema
from polyvae.errors import InputError, RunError
from polyvae.schema import Count

NAMES = re.compile(r"(model|best|average|optimiser\.[0-9]+)\..+")


class ProgressFile(TypedDict):
    """`Progress` in JSON."""

    stage: Count
    epoch: Count
    batch: Count
    step: Count
    rows: Count
    sums: list[float]
    seconds: float
    total_seconds: float
    best_loss: float | None
    best_epoch: int
    eager: NotRequired[str]


class Meta(TypedDict):
    """What a checkpoint holds beside tensors."""

    progress: ProgressFile
    sha256: str


@dataclass
class Progress:
    """Where training stands. Random streams are functions of the seed and the step, so they need no state.

    sums: of the history's quantities over the `rows` of the epoch so far. seconds: of the epoch so far.
    best: lowest validation loss and its epoch, -1 for the weights that a stage begins with. eager: why steps on a GPU
    could not be captured as a CUDA graph, if so.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    rows: int = 0
    sums: list[float] = field(default_factory=list)
    seconds: float = 0.0
    total_seconds: float = 0.0
    best_loss: float | None = None
    best_epoch: int = -1
    eager: str = ""


class Kept(NamedTuple):
    """Weights beside those that are trained: the best so far, and the running average of all; {} if there are none."""

    best: dict[str, Tensor]
    average: dict[str, Tensor]


def check_finite(progress: Progress, model: nn.Module) -> None:
    """Raises RunError, so that the previous checkpoint is kept, if a weight is not finite."""
    if bad := [name for name, value in model.state_dict().items() if not bool(torch.isfinite(value).all())]:
        raise RunError(f"weight {bad[0]} is not finite at step {progress.step}; the last good checkpoint is kept")


def save(path: Path, progress: Progress, model: nn.Module, optimiser: Optimizer | None, kept: Kept) -> None:
    """Writes the checkpoint atomically; between stages there is no optimiser."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for part, values in kept._asdict().items():
        tensors |= {f"{part}.{name}": value for name, value in values.items()}
    for index, state in ({} if optimiser is None else optimiser.state_dict()["state"]).items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
    files.write_tensors(path, tensors, {"progress": asdict(progress), "sha256": files.digest(tensors)})


def place(path: Path) -> Progress:
    """The place in the run alone. Raises InputError when the file is damaged."""
    meta = files.read_meta(path)
    if (fault := schema.fault(meta, Meta)) is not None:
        raise files.damaged(path, fault)
    return _progress(meta)


def load(path: Path, model: nn.Module) -> tuple[Progress, Kept, dict[int, dict[str, Tensor]]]:
    """Restores the model's weights; returns the place in the run, its other weights and the optimiser's state.

    Raises InputError when the file is damaged or belongs to another model.
    """
    tensors, meta = files.read_tensors(path)
    if (fault := schema.fault(meta, Meta)) is not None:
        raise files.damaged(path, fault)
    if meta["sha256"] != files.digest(tensors):
        raise files.damaged(path, "its tensors are not those that were written")
    if odd := [name for name in tensors if not NAMES.fullmatch(name)]:
        raise files.damaged(path, f"no tensor of a checkpoint is called {odd[0]!r}")
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "average": {}, "optimiser": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value.clone()  # the file stays memory-mapped otherwise, and is about to be replaced
    try:
        model.load_state_dict(parts["model"])
    except RuntimeError as error:
        raise InputError(f"{path} belongs to another model; delete its run folder to start afresh") from error
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimiser"].items():
        index, _, key = name.partition(".")
        states.setdefault(int(index), {})[key] = value
    return _progress(meta), Kept(parts["best"], parts["average"]), states


def _progress(meta: Mapping[str, Any]) -> Progress:
    return Progress(**{f.name: meta["progress"][f.name] for f in fields(Progress) if f.name in meta["progress"]})
