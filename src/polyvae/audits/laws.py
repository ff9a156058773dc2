"""What is known of the law behind a run's data: entropies, the floors of lines 6 and 7, fresh rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from polyvae import datasets
from polyvae.dataset import MultimodalDataset
from polyvae.datasets import Sampler
from polyvae.datasets.polymnist.digits import DIGIT
from polyvae.datasets.symbols import SymbolsOptions, as_rows, symbols_law
from polyvae.datasets.toy import ToyOptions, linear_gaussian
from polyvae.errors import InputError
from polyvae.likelihoods import Bernoulli, BinnedLaplace, Categorical, Laplace
from polyvae.modality import Modality
from polyvae.runs.plan import Plan
from polyvae.theory import GENERATORS, DiscreteLaw, Entropies, ImageLaw, LinearGaussian, generator, image_law

Subset = tuple[str, ...]


class Rows(NamedTuple):
    """Rows of the law. weight: (row,), sums to 1. is_complete: all values of x with probabilities, not a sample."""

    data: MultimodalDataset
    weight: np.ndarray
    is_complete: bool

    def to(self, device: torch.device) -> "Rows":
        return self._replace(data=self.data.to(device))


@dataclass(frozen=True)
class Truth:
    """The law of a run's data, over the run's modalities.

    modalities: as an audit scores them (bytes by the mass of their bins). entropies: lower bounds where not exact.
    unseen: A -> sum of H(x_j | X_A) over the components j outside A that the decoder treats as independent (line 6).
    least_losses: A -> modality -> its least Laplace loss where A is encoded (line 7), or None.
    draw: (rows, rng) -> fresh rows.
    """

    description: str
    modalities: tuple[Modality, ...]
    entropies: Entropies
    is_exact: bool
    unseen: Callable[[Subset], float]
    least_losses: Callable[[Subset], dict[str, float]] | None
    draw: Callable[[int, np.random.Generator], Rows]


LAWS: dict[str, Callable[[int, int], DiscreteLaw | LinearGaussian]] = {"toy": linear_gaussian, "symbols": symbols_law}
"""Data set -> its law, of (modalities, seed)."""


def law_named(
    name: str, *, symbols: int | None = None, seed: int = 0, **options: Any
) -> DiscreteLaw | LinearGaussian | ImageLaw:
    """The law of a certified generator (`theory.GENERATORS`) or of a data set with one, by name.

    symbols: values of each modality of a generator. options: modalities of a generator, or those of a data set.
    Raises InputError for a name without a law and for options that it does not have.
    """
    if name in GENERATORS:
        return _generated(name, 2 if symbols is None else symbols, seed, **options)
    if symbols is not None:
        raise InputError(f"--symbols is for the generators {', '.join(GENERATORS)}, not for {name!r}")
    if name in LAWS:
        return LAWS[name](datasets.DATASETS[name].built(name, options).modalities, seed)
    sampler = datasets.sampler(name, **options) if name in datasets.DATASETS else None
    if sampler is None:
        known = (*GENERATORS, *LAWS, *(n for n, entry in datasets.DATASETS.items() if entry.sampler))
        raise InputError(f"no law is known for {name!r}; give a table (.npy) or one of {', '.join(known)}")
    return law_of(sampler)


def _generated(name: str, symbols: int, seed: int, modalities: int | None = None, **options: Any) -> DiscreteLaw:
    if given := [option for option, value in options.items() if value is not None and option != "data_dir"]:
        raise InputError(f"{name!r} has no option {given[0]!r}; it has modalities, symbols and seed")
    if modalities is not None and modalities < 1:
        raise InputError(f"{modalities} modalities; there must be at least 1")
    return generator(name, modalities or 3, symbols, seed)


def law_of(sampler: Sampler) -> ImageLaw:
    """The law of a PolyMNIST-type generator."""
    side = None if sampler.crop_range is None else sampler.crop_range + DIGIT
    shown = {id(picture): picture.pixels[:, :side, :side] for picture in sampler.pictures}
    pictures = [shown[id(picture)] for picture in sampler.pictures]  # one array where modalities share a picture
    return image_law(sampler.masks, sampler.labels, pictures, sampler.travel, sampler.held_out)


def truth_of(plan: Plan) -> Truth:
    """Raises InputError for data whose law is not known, and for likelihoods of images that have no bin masses."""
    if plan.sampler is not None:
        return _of_images(plan, plan.sampler)
    truths = {"toy": _of_toy, "symbols": _of_symbols}
    if plan.config.dataset not in truths:
        raise InputError(
            f"the entropies of {plan.config.dataset!r} are not known, so there is nothing to audit against; "
            "`polyvae theory estimate --data FILE` bounds Delta from data"
        )
    return truths[plan.config.dataset](plan)


def _of_toy(plan: Plan) -> Truth:
    law = linear_gaussian(plan.config.modalities or ToyOptions.modalities, plan.config.data_seed)
    names = tuple(m.name for m in plan.modalities)
    kept = [law.names.index(name) for name in names]

    def unseen(given: Subset) -> float:
        return law.feature_entropies([law.names.index(name) for name in given], kept)

    def draw(count: int, rng: np.random.Generator) -> Rows:
        drawn = law.draw(count, rng)
        values = {name: torch.from_numpy(drawn[name].astype(np.float32)) for name in names}
        return _sample(MultimodalDataset.complete("fresh rows", plan.modalities, values))

    entropies = law.entropies.select(names)
    return Truth("linear-Gaussian, in closed form", plan.modalities, entropies, True, unseen, None, draw)


def _of_symbols(plan: Plan) -> Truth:
    law = symbols_law(plan.config.modalities or SymbolsOptions.modalities, plan.config.data_seed)
    names = tuple(m.name for m in plan.modalities)
    entropies = law.entropies.select(names)
    for modality in plan.modalities:
        kind = type(modality.likelihood)
        if kind not in (Categorical, Bernoulli):
            raise InputError(
                f"modality {modality.name!r} is discrete but scored by {kind.__name__}, a density; "
                "an audit needs likelihood categorical or bernoulli"
            )

    def unseen(given: Subset) -> float:
        return sum(entropies.of((name,), given) for name in names if name not in given)

    def draw(count: int, rng: np.random.Generator) -> Rows:
        cells = np.argwhere(law.table > 0)
        is_complete = len(cells) <= count
        columns = dict(zip(law.names, cells.T, strict=True)) if is_complete else law.draw(count, rng)
        data = as_rows(columns, {}).select(names).with_modalities(plan.modalities)
        return Rows(data, law.table[tuple(cells.T)], True) if is_complete else _sample(data)

    return Truth("joint table, by sums", plan.modalities, entropies, True, unseen, None, draw)


def _of_images(plan: Plan, sampler: Sampler) -> Truth:
    law = law_of(sampler)
    names = tuple(m.name for m in plan.modalities)
    absent = tuple(name for name in law.names if name not in names)

    def unseen(given: Subset) -> float:
        return law.unseen_pixels((*given, *absent))

    def draw(count: int, rng: np.random.Generator) -> Rows:
        images, labels, _ = sampler.draw_tuples(count, rng)
        values = {name: images[law.names.index(name)] for name in names}
        return _sample(MultimodalDataset.complete("fresh tuples", plan.modalities, values, labels=labels))

    scored, least = tuple(map(_by_bins, plan.modalities)), _least_losses(plan, law)
    entropies = law.entropies.select(names)
    return Truth("digits on pictures, by the fold lemma", scored, entropies, law.is_exact, unseen, least, draw)


def _least_losses(plan: Plan, law: ImageLaw) -> Callable[[Subset], dict[str, float]] | None:
    """Line 7 where every modality is scored by a Laplace density of fixed scale."""
    fixed = {m.name: m.likelihood.scale for m in plan.modalities if isinstance(m.likelihood, Laplace)}
    scales = {name: scale for name, scale in fixed.items() if scale is not None}
    if len(scales) < len(plan.modalities):
        return None
    pixels = dict(zip(law.names, law.pixels, strict=True))

    def least(given: Subset) -> dict[str, float]:
        """Seen pixels at the mode of the density, unseen ones at their class's median."""
        return {
            n: p.components * math.log(2 * scales[n]) if n in given else p.laplace_loss(scales[n])
            for n, p in pixels.items()
            if n in scales
        }

    return least


def _by_bins(modality: Modality) -> Modality:
    likelihood = modality.likelihood
    if isinstance(likelihood, Laplace):
        return replace(modality, likelihood=BinnedLaplace(likelihood.scale))
    if isinstance(likelihood, BinnedLaplace):
        return modality
    raise InputError(
        f"modality {modality.name!r} is scored by {type(likelihood).__name__}, which gives no probability to a byte; "
        "an audit needs likelihood laplace or laplace_8bit"
    )


def _sample(data: MultimodalDataset) -> Rows:
    return Rows(data, np.full(len(data), 1 / len(data)), False)
