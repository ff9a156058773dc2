"""What a metric may know: a model that can be sampled, and the data, judge and seed to measure it with."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polyvae import subsets
from polyvae.dataset import MultimodalDataset, chunks
from polyvae.errors import InputError
from polyvae.gaussian import picked
from polyvae.judges.extractors import AttributeJudge, Critic, Extractor, Judge, prepared
from polyvae.modality import Batch
from polyvae.models.contract import Model, NotDefined, is_joint, mixture_of
from polyvae.noise import Noise, RowNoise
from polyvae.objectives import Bound

Subset = tuple[str, ...]
BatchLoss = Callable[[Batch, Noise], Bound]  # what a run minimised, of one batch
MOST_FOR_ALL_SUBSETS = 5


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model is measured on. The data lie on the model's device.

    judge: reads classes, or what captions name; critic: of the training tuples; extractors: by name; each only if a
    metric asks for it.
    shifted: name -> test tuples with inputs unlike the training data.
    objective: what the run minimised, of a batch. beta: of the run, for L_S. samples: importance samples per row, for
    likelihoods.
    cache: a folder for what is read in real data, the same for all runs on a data set.
    """

    test: MultimodalDataset
    train: MultimodalDataset
    judge: Judge | AttributeJudge | None = None
    critic: Critic | None = None
    extractors: Mapping[str, Extractor] = field(default_factory=dict)
    shifted: Mapping[str, MultimodalDataset] = field(default_factory=dict)
    objective: BatchLoss | None = None
    seed: int = 0
    beta: float = 1.0
    samples: int = 12
    batch_size: int = 500
    cache: Path | None = None


def members(model: Model, given: Subset) -> list[tuple[Subset, float]]:
    """The posterior of x_given as (subset, weight) pairs, each a posterior that is no mixture.

    Metrics that are linear in the posterior score each member once and combine them with the weights.
    """
    mixture = mixture_of(model)
    if mixture is None:
        return [(given, 1.0)]
    return [(term.given, term.weight) for term in subsets.conditional(mixture, given).terms]


def wanted_members(model: Model, pairs: Sequence[tuple[Subset, str]]) -> dict[Subset, Subset]:
    """member -> targets that must be decoded from it to score all (given, target) pairs."""
    wanted: dict[Subset, dict[str, None]] = {}
    for given, target in pairs:
        for member, _ in members(model, given):
            wanted.setdefault(member, {})[target] = None
    return {member: tuple(targets) for member, targets in wanted.items()}


@dataclass(frozen=True)
class Draws:
    """How the codes of rows are drawn: the seed and purpose of their noise, its spread (0: means), rows at a time."""

    seed: int
    purpose: str
    batch_size: int
    spread: float = 1.0

    def noise(self, rows: tuple[int, ...]) -> RowNoise:
        return RowNoise(self.seed, self.purpose, rows, self.spread)


class Drawn(NamedTuple):
    """Means of one target's likelihood at draws from one posterior; `rows` are the test rows conditioned on.

    values: (row, *shape) in model units; images as a picture file holds them.
    """

    given: Subset
    target: str
    rows: tuple[int, ...]
    values: Tensor


def conditional_means(
    model: Model, data: MultimodalDataset, wanted: Mapping[Subset, Subset], rows: Sequence[int], draws: Draws
) -> Iterator[Drawn]:
    """For each (given -> targets), one latent draw per row that has all of `given`, and the likelihoods' means.

    A row's noise is the same for every `given`, so that members can be compared.
    """
    images = image_names(model)
    for ids in chunks(rows, draws.batch_size):
        batch = data.batch(list(ids))
        experts = model.encode(batch) if is_joint(model) else None  # once for all subsets
        for given, targets in wanted.items():
            seen = has_all(data, batch.present, given)
            if not bool(seen.any()):
                continue
            kept = tuple(row for row, is_seen in zip(ids, seen.tolist(), strict=True) if is_seen)
            part = batch if len(kept) == len(ids) else data.batch(list(kept))
            noise = draws.noise(kept)
            if is_joint(model) and experts is not None:
                codes = model.posterior_codes(part, given, targets, noise, picked(experts, (slice(None), seen)))
            else:
                codes = model.posterior_codes(part, given, targets, noise)
            for target, likelihood in model.decode(codes).items():
                yield Drawn(given, target, kept, _as_shown(likelihood.mean, target in images))


def unconditional_means(
    model: Model, names: Subset, count: int, draws: Draws
) -> Iterator[tuple[tuple[int, ...], dict[str, Tensor]]]:
    """(sample ids, modality -> means of its likelihood) of `count` prior samples, of the modalities `names`."""
    images = image_names(model)
    for ids in chunks(range(count), draws.batch_size):
        codes = model.prior_codes(len(ids), draws.noise(ids))
        decoded = model.decode({name: codes[name] for name in names})
        yield ids, {name: _as_shown(decoded[name].mean, name in images) for name in names}


def _as_shown(mean: Tensor, is_image: bool) -> Tensor:
    """What a judge looks at: images as a picture file holds them, all else in model units."""
    return prepared(mean) if is_image else mean


def has_all(data: MultimodalDataset, present: Tensor, given: Sequence[str]) -> Tensor:
    """Bool (row,): whether the row has every modality of `given`; present: Bool (row, modality)."""
    return present[:, [data.names.index(name) for name in given]].all(-1)


def rows_with(data: MultimodalDataset, rows: Sequence[int], given: Sequence[str]) -> list[int]:
    """Those of `rows` that have every modality of `given`."""
    able = has_all(data, data.present[list(rows)], given).tolist()
    return [row for row, is_able in zip(rows, able, strict=True) if is_able]


def given_subsets(names: Subset) -> list[Subset]:
    """Every subset of up to 5 modalities; of more, the single ones and all of them."""
    sizes = range(1, len(names) + 1) if len(names) <= MOST_FOR_ALL_SUBSETS else (1, len(names))
    return [given for size in sizes for given in combinations(names, size)]


def image_names(model: Model) -> Subset:
    return tuple(m.name for m in model.modalities if m.is_image)


def readable(model: Model, extractor: Extractor) -> Subset:
    """The modalities that the extractor can look at. Raises NotDefined if there is none."""
    names = tuple(m.name for m in model.modalities if extractor.reads(m))
    if not names:
        raise NotDefined(f"the extractor {extractor.name!r} reads none of {', '.join(model.names)}")
    return names


def check_names(model: Model, data: MultimodalDataset, rows: Sequence[int] | None) -> list[int]:
    """`rows`, by default all, in ascending order, so that no choice among them depends on the order given.

    Raises InputError unless model and data have the same modalities, for fewer than 2 rows, or a row named twice.
    """
    check_same(model, data)
    kept = sorted(range(len(data)) if rows is None else rows)
    if len(set(kept)) < len(kept):
        raise InputError("rows names a test row twice; name each once")
    if len(kept) < 2:
        raise InputError(f"{len(kept)} test rows; a metric needs at least 2")
    return kept


def check_same(model: Model, data: MultimodalDataset) -> None:
    if model.names != data.names:
        raise InputError(f"the model has modalities {', '.join(model.names)}, the data {', '.join(data.names)}")


@contextmanager
def scoring(model: Model) -> Generator[None]:
    """No gradients, and a network in eval mode for the time being."""
    module = model if isinstance(model, nn.Module) else nn.Module()
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)
