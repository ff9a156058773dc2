"""Filling in what is missing: draws from the model given whatever a row has."""

from typing import NamedTuple

import torch
from torch import Tensor

from polyvae.errors import InputError
from polyvae.modality import Batch, Modality
from polyvae.models import Model, code_draws
from polyvae.noise import drawing_from


class Imputed(NamedTuple):
    """One modality in the units of the data, each (batch, *shape).

    mean: observed values where present, else (and for single missing ones) the mean over draws of z of the
    likelihood's mean. sd, low, high: of draws from the likelihoods, with their 10 % and 90 % quantiles (an 80 %
    interval); sd is 0 and low = high = mean where observed.
    """

    mean: Tensor
    sd: Tensor
    low: Tensor
    high: Tensor


class ImputedText(NamedTuple):
    """A text modality as token ids.

    ids: Int64 (batch, position), observed where present, else of the likeliest words, given the mean of all draws'
    probabilities. draws: Int64 (draw, batch, position), those of each draw; observed where present.
    """

    ids: Tensor
    draws: Tensor


@torch.no_grad()
def impute(
    model: Model, batch: Batch, *, draws: int = 50, generator: torch.Generator | None = None
) -> dict[str, Imputed | ImputedText]:
    """Draws every absent modality given all that the row has, `draws` times, likelihood noise included (of text: not).

    generator: makes the draws reproducible; by default torch's own is drawn from.
    Raises InputError for fewer than two draws, which give no interval.
    """
    if draws < 2:
        raise InputError(f"draws is {draws}; an interval needs at least 2")
    with drawing_from(generator, batch.present.device):
        codes = code_draws(model, batch, model.names, model.names)
        likelihoods = [model.decode(codes(None)) for _ in range(draws)]
        sampled = [{name: d.sample() for name, d in drawn.items()} for drawn in likelihoods]
    result: dict[str, Imputed | ImputedText] = {}
    for index, modality in enumerate(model.modalities):
        if modality.vocabulary:
            result[modality.name] = _text(modality, batch, [drawn[modality.name].mean for drawn in likelihoods], index)
            continue
        observed = modality.to_original(batch.values[modality.name])
        values = torch.stack([modality.to_original(draw[modality.name]) for draw in sampled])
        low, high = values.quantile(torch.tensor([0.1, 0.9], dtype=values.dtype, device=values.device), 0)
        seen = batch.present[:, index].view(-1, *(1,) * len(modality.shape)) & ~observed.isnan()
        mean = torch.stack([drawn[modality.name].mean for drawn in likelihoods]).mean(0)
        summary = Imputed(modality.to_original(mean), values.std(0), low, high)
        known = Imputed(observed, torch.zeros_like(observed), observed, observed)
        result[modality.name] = Imputed(*(torch.where(seen, a, b) for a, b in zip(known, summary, strict=True)))
    return result


def _text(modality: Modality, batch: Batch, probabilities: list[Tensor], index: int) -> ImputedText:
    observed, seen = modality.to_original(batch.values[modality.name]), batch.present[:, index, None]
    likeliest = modality.to_original(torch.stack(probabilities).mean(0))
    draws = torch.stack([modality.to_original(draw) for draw in probabilities])
    return ImputedText(torch.where(seen, observed, likeliest), torch.where(seen, observed, draws))
