"""What a report shows of tables: codes in a plane, cells filled in against the truth, and what rows lack."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polyvae import files
from polyvae.dataset import MultimodalDataset
from polyvae.imputation import Imputed, impute
from polyvae.intervals import Calibration
from polyvae.metrics.protocol import Trial, measuring
from polyvae.modality import Batch, Modality
from polyvae.models.contract import Model, code_mean, has_density, is_joint
from polyvae.noise import derive_seed
from polyvae.schema import CellFile, CodeFile, PatternFile, ViewsFile

CODES, COMPONENTS, ROWS, CELLS, PATTERNS = 500, 16, 40, 150, 20  # at most
DRAWS = 20  # some models draw slowly


def write_views(
    model: Model,
    data: MultimodalDataset,
    train: MultimodalDataset,
    path: Path,
    *,
    calibration: Calibration | None = None,
    seed: int = 0,
) -> ViewsFile:
    """Writes what is shown of the tables to a JSON file, and returns it.

    codes: for up to 500 rows of `data` the mean of the posterior given what each has, on up to 16 principal components;
    none for a model without one. cells: for each table some cells of rows that have every modality, as `impute` fills
    them in given all others, in model units. patterns: which modalities the rows of `train` have, the most frequent
    first; none where all have all.
    """
    with measuring(model, data, least=0, seed=seed) as trial:
        tables = [m for m in model.modalities if m.is_real_table] if len(model.names) > 1 else []
        cells = {m.name: found for m in tables if (found := _cells(trial, m, calibration))}
        names = list(data.info.get("label_names", ()))
        content = ViewsFile(codes=_codes(trial), label_names=names, cells=cells, patterns=_patterns(train))
        if (covariate := data.covariate) is not None:
            content |= {"covariate": covariate.name, "levels": list(covariate.levels)}
    files.write_json(path, content)
    return content


def _codes(trial: Trial[Model]) -> list[CodeFile]:
    model, rows = trial.model, trial.having((), CODES).rows
    if not is_joint(model) or not has_density(model, model.names) or len(rows) < 3:
        return []
    batch = trial.data.batch(rows)
    if not batch.is_complete and not all(has_density(model, (name,)) for name in model.names):
        return []
    means = code_mean(model, batch).double().cpu().numpy()
    left, scale, _ = np.linalg.svd(means - means.mean(0), full_matrices=False)
    on_components = np.pad((left * scale)[:, :COMPONENTS], ((0, 0), (0, max(0, 2 - len(scale)))))
    labels = [None] * len(rows) if batch.label is None else batch.label.tolist()
    codes = [
        CodeFile(x=_short(x), y=_short(y), further=[_short(value) for value in further], label=label)
        for (x, y, *further), label in zip(on_components, labels, strict=True)
    ]
    if batch.level is not None:
        for code, level in zip(codes, batch.level.argmax(1).tolist(), strict=True):
            code["level"] = level
    return codes


def _cells(trial: Trial[Model], target: Modality, calibration: Calibration | None) -> list[CellFile]:
    model = trial.model
    whole = trial.having(model.names, ROWS)
    if not whole.rows:
        return []
    batch = trial.data.batch(whole.rows)
    truth = batch.values[target.name]
    blind = batch.present & torch.tensor([name != target.name for name in model.names], device=truth.device)
    generator = torch.Generator(truth.device).manual_seed(derive_seed(trial.seed, "views", target.name))
    fill = partial(impute, draws=DRAWS, generator=generator, targets=[target.name], calibration=calibration)
    filled = fill(model, Batch(batch.values, blind, level=batch.level))[target.name]
    assert isinstance(filled, Imputed)
    scale = (lambda values: values) if target.transform is None else target.transform
    columns = [truth, *(scale(part) for part in (filled.mean, filled.low, filled.high))]
    known = truth.isfinite().flatten().nonzero().squeeze(1).cpu().numpy()
    rng = np.random.default_rng(derive_seed(trial.seed, "views", "cells"))
    chosen = torch.from_numpy(np.sort(rng.permutation(known)[:CELLS]))
    values = zip(*(column.flatten().cpu()[chosen].tolist() for column in columns), strict=True)
    return [CellFile(truth=_short(t), mean=_short(m), low=_short(low), high=_short(high)) for t, m, low, high in values]


def _patterns(data: MultimodalDataset) -> list[PatternFile]:
    if data.is_complete:
        return []
    patterns, counts = np.unique(data.present.cpu().numpy(), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:PATTERNS]
    names = np.array(data.names)
    return [PatternFile(present=names[patterns[i]].tolist(), rows=int(counts[i])) for i in order]


def _short(value: float | Tensor) -> float:
    return round(float(value), 4)
