"""Filling in what is missing: draws from the model given what a row has."""

import math
from collections.abc import Sequence
from itertools import compress
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from polyvae.errors import InputError
from polyvae.intervals import Calibration, interval, widened
from polyvae.modality import Batch, Modality
from polyvae.models import Model, at_level, code_draws
from polyvae.noise import drawing_from, opposites

DRAWS = 50
MOST_VALUES = 2**23  # drawn values that are held at a time


class Imputed(NamedTuple):
    """One modality in the units of the data, each (batch, *shape).

    mean: observed values where present, else (and for single missing ones) the mean of the likelihood's mean over draws
    of z and their mirror images about the mean of their law: exact for a Normal law and a linear decoder.
    sd: of draws from the likelihoods. low, high: their 80 % interval (`intervals.interval`), as wide as a calibration
    says; sd is 0 and low = high = mean where observed.
    """

    mean: Tensor
    sd: Tensor
    low: Tensor
    high: Tensor


class ImputedText(NamedTuple):
    """A text modality as token ids.

    ids: Int64 (batch, position), observed where present, else the likeliest words by the mean of all draws'
    probabilities. draws: Int64 (draw, batch, position), those of each draw; observed where present.
    """

    ids: Tensor
    draws: Tensor


@torch.no_grad()
def impute(
    model: Model,
    batch: Batch,
    *,
    draws: int = DRAWS,
    generator: Generator | None = None,
    targets: Sequence[str] | None = None,
    calibration: Calibration | None = None,
    level: str | None = None,
) -> dict[str, Imputed | ImputedText]:
    """Draws every absent modality given all that the row has, `draws` times, with likelihood noise (except for text).

    generator: makes the draws reproducible; by default torch's own. targets: the modalities that are
    returned, by default all. calibration: that of the model's weights. level: of the model's covariate, as if what
    is absent were measured at it; by default the rows' own.
    Raises InputError for fewer than two draws, which give no interval, and for unknown targets and levels.
    """
    _check(draws)
    wanted = model.names if targets is None else targets
    if unknown := [name for name in wanted if name not in model.names]:
        raise InputError(f"targets names {unknown[0]!r}; the model has {', '.join(model.names)}")
    with drawing_from(generator, batch.present.device):
        codes = code_draws(model, batch, model.names, wanted)
        pairs = [opposites(start, batch.present.device) for start in torch.randint(2**62, (draws,)).tolist()]
        likelihoods = [model.decode(at_level(model, codes(noise), level)) for noise, _ in pairs]
        sampled = [{name: law.sample() for name, law in drawn.items()} for drawn in likelihoods]
        mirrored: dict[str, Any] = {}  # not used for intervals, which need independent draws
        for _, noise in pairs:
            for name, law in model.decode(at_level(model, codes(noise), level)).items():
                mirrored[name] = mirrored.get(name, 0.0) + law.mean / draws
    result: dict[str, Imputed | ImputedText] = {}
    for index, modality in enumerate(model.modalities):
        name = modality.name
        if name not in wanted:
            continue
        if modality.vocabulary:
            result[name] = _text(modality, batch, [drawn[name].mean for drawn in likelihoods], index)
            continue
        observed = modality.to_original(batch.values[name])
        values = torch.stack([modality.to_original(draw[name]) for draw in sampled])
        low, high = interval(values)
        if calibration is not None:
            low, high = widened(low, high, _by_row(calibration, batch.present, model.names, index, low))
        low, high = modality.within(low), modality.within(high)
        seen = batch.present[:, index].view(-1, *(1,) * len(modality.shape)) & ~observed.isnan()
        mean = (torch.stack([drawn[name].mean for drawn in likelihoods]).mean(0) + mirrored[name]) / 2
        summary = Imputed(modality.to_original(mean), values.std(0), low, high)
        known = Imputed(observed, torch.zeros_like(observed), observed, observed)
        result[name] = Imputed(*(torch.where(seen, a, b) for a, b in zip(known, summary, strict=True)))
    return result


def rows_at_once(model: Model, draws: int, most: int) -> int:
    """Rows whose draws are held in memory together: `most`, or fewer where rows have many values."""
    _check(draws)
    return max(1, min(most, MOST_VALUES // (draws * sum(math.prod(m.shape) for m in model.modalities))))


def _check(draws: int) -> None:
    if draws < 2:
        raise InputError(f"draws is {draws}; an interval needs at least 2")


def _by_row(calibration: Calibration, present: Tensor, names: Sequence[str], index: int, like: Tensor) -> Tensor:
    """The factors of modality `index` for rows of any pattern, in the shape of `like`."""
    result = torch.ones_like(like)
    for pattern in present.unique(dim=0):
        if (factor := calibration.of(compress(names, pattern.tolist()), names[index])) is not None:
            result[(present == pattern).all(-1)] = factor.to(like)
    return result


def _text(modality: Modality, batch: Batch, probabilities: list[Tensor], index: int) -> ImputedText:
    observed, seen = modality.to_original(batch.values[modality.name]), batch.present[:, index, None]
    likeliest = modality.to_original(torch.stack(probabilities).mean(0))
    draws = torch.stack([modality.to_original(draw) for draw in probabilities])
    return ImputedText(torch.where(seen, observed, likeliest), torch.where(seen, observed, draws))
