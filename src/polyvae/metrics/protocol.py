"""What a metric may know: a model that can be sampled, and the data, judge and seed to measure it with."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypedDict, TypeVar, Unpack

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polyvae.dataset import MultimodalDataset, chosen_rows, chunks
from polyvae.errors import InputError
from polyvae.gaussian import picked
from polyvae.intervals import Calibration
from polyvae.judges.extractors import AttributeJudge, Critic, Extractor, Judge, check_finite, in_bytes
from polyvae.metrics.pairs import Subset
from polyvae.modality import Batch
from polyvae.models.contract import Codes, Model, NotDefined, code_draws, is_joint
from polyvae.noise import Noise, RowNoise
from polyvae.objectives import Bound
from polyvae.posteriors import Posterior

BatchLoss = Callable[[Batch, Noise], Bound]  # what a run minimised, of one batch


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model is measured on. The data lie on the model's device.

    judge: reads classes, or what captions name; critic: of the training tuples; extractors: by name; each only if a
    metric asks for it.
    shifted: name -> test tuples with inputs unlike the training data.
    objective: what the run minimised, of a batch. beta: of the run, for L_S. samples: importance samples per row, for
    likelihoods.
    calibration: of the model's intervals. validation: rows that chose its weights, if there are some.
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
    calibration: Calibration | None = None
    validation: MultimodalDataset | None = None
    batch_size: int = 500
    cache: Path | None = None


class Options(TypedDict, total=False):
    """What every metric needs beside a model and data.

    seed: of all that is drawn (default 0). rows: the test rows measured on (default all), in any order. batch_size:
    rows at a time (default 500), on which only the values of regularisers depend, which compare rows of a batch.
    """

    seed: int
    rows: Sequence[int] | None
    batch_size: int


class Drawn(NamedTuple):
    """Means of one target's likelihood at draws from one posterior; `rows` are the test rows conditioned on.

    values: (row, *shape) in model units; images as a picture file holds them.
    """

    given: Subset
    target: str
    rows: tuple[int, ...]
    values: Tensor


AnyModel = TypeVar("AnyModel", bound=Model)


@dataclass(frozen=True, eq=False)
class Trial(Generic[AnyModel]):
    """A model on some rows. `measuring` has test rows ascend, so that no choice among them depends on the order given.

    Noise belongs to rows: a row's is the same for every `given`, so that subsets can be compared.
    """

    model: AnyModel
    data: MultimodalDataset
    rows: list[int]
    seed: int = 0
    batch_size: int = 500

    def noise(self, purpose: str, rows: tuple[int, ...], spread: float = 1.0) -> RowNoise:
        return RowNoise(self.seed, purpose, rows, spread)

    def batches(self) -> Iterator[tuple[tuple[int, ...], Batch]]:
        """(rows, their batch), one after another."""
        return ((ids, self.data.batch(ids)) for ids in chunks(self.rows, self.batch_size))

    def having(self, given: Sequence[str], most: int | None = None) -> "Trial[AnyModel]":
        """On those of the rows that have every modality of `given`; of more than `most`, a choice by the seed."""
        able = rows_with(self.data, self.rows, given)
        return replace(self, rows=[able[i] for i in chosen_rows(len(able), most, self.seed)])

    def part(
        self, ids: tuple[int, ...], batch: Batch, given: Subset, experts: Posterior | None
    ) -> tuple[tuple[int, ...], Batch, Posterior | None]:
        """The rows of a batch that have all of `given`: which, their batch, their experts."""
        able = tuple(rows_with(self.data, ids, given))
        if not able or len(able) == len(ids):
            return able, batch, experts
        chosen = set(able)
        places = [place for place, row in enumerate(ids) if row in chosen]
        return able, self.data.batch(able), None if experts is None else picked(experts, (slice(None), places))

    def prior_means(self, purpose: str, names: Subset) -> Iterator[tuple[tuple[int, ...], dict[str, Tensor]]]:
        """(sample numbers, modality -> means of its likelihood) of as many prior samples as rows.

        Images are as a picture file holds them.
        """
        for ids in chunks(range(len(self.rows)), self.batch_size):
            codes = self.model.prior_codes(len(ids), self.noise(purpose, ids))
            yield ids, self.shown({name: codes[name] for name in names})

    def conditional_means(
        self, purpose: str, wanted: Mapping[Subset, Subset], *, spread: float = 1.0, draws: int | None = None
    ) -> Iterator[Drawn]:
        """For each (given -> targets), one latent draw per row that has all of `given`, and the likelihoods' means.

        spread: of the noise; 0 for latent means. draws: as many per row instead, for the purposes <purpose>/<draw>;
        of a batch, all subsets are drawn from before the next draw.
        Raises RunError where images are not finite, once per batch, since a device is slow to answer.
        """
        purposes = [purpose] if draws is None else [f"{purpose}/{draw}" for draw in range(draws)]
        for ids, batch in self.batches():
            codes_of, seen = list(self._code_draws(ids, batch, wanted)), []
            for purpose in purposes:
                for given, able, codes in codes_of:
                    for target, law in self.model.decode(codes(self.noise(purpose, able, spread))).items():
                        yield Drawn(given, target, able, self._shown(target, law, seen))
            check_finite(seen)

    def _code_draws(
        self, ids: tuple[int, ...], batch: Batch, wanted: Mapping[Subset, Subset]
    ) -> Iterator[tuple[Subset, tuple[int, ...], Callable[[Noise], Codes]]]:
        """(given, the rows that have it, `code_draws` for them); what is given is encoded once for all subsets."""
        model = self.model
        names = set().union(*wanted)
        experts = model.encode(batch, names) if is_joint(model) else None
        for given, targets in wanted.items():
            able, part, own = self.part(ids, batch, given, experts)
            if able:
                yield given, able, code_draws(model, part, given, targets, own)

    def shown(self, codes: Codes) -> dict[str, Tensor]:
        """The means of the likelihoods at these codes; images are as a picture file holds them.

        Raises RunError where images are not finite.
        """
        seen: list[Tensor] = []
        means = {name: self._shown(name, law, seen) for name, law in self.model.decode(codes).items()}
        check_finite(seen)
        return means

    def _shown(self, name: str, law: Distribution, seen: list[Tensor]) -> Tensor:
        """The mean; images as a picture file holds them, `seen` is told whether they are finite."""
        if not next(m.is_image for m in self.model.modalities if m.name == name):
            return law.mean
        seen.append(law.mean.isfinite().all())
        return in_bytes(law.mean)


@contextmanager
def measuring(
    model: AnyModel, data: MultimodalDataset, *, least: int = 2, **options: Unpack[Options]
) -> Generator[Trial[AnyModel]]:
    """The model on the rows of `options`, without gradients, and a network in eval mode for the time being.

    Raises InputError unless model and data have the same modalities, for fewer than `least` rows, or a row named twice.
    """
    if model.names != data.names:
        raise InputError(f"the model has modalities {', '.join(model.names)}, the data {', '.join(data.names)}")
    rows = options.get("rows")
    chosen = sorted(range(len(data)) if rows is None else rows)
    if len(set(chosen)) < len(chosen):
        raise InputError("rows names a test row twice; name each once")
    if len(chosen) < least:
        raise InputError(f"{len(chosen)} test rows; a metric needs at least {least}")
    with scoring(model):
        yield Trial(model, data, chosen, options.get("seed", 0), options.get("batch_size", 500))


def has_all(data: MultimodalDataset, present: Tensor, given: Sequence[str]) -> Tensor:
    """Bool (row,): whether the row has every modality of `given`; present: Bool (row, modality)."""
    return present[:, [data.names.index(name) for name in given]].all(-1)


def rows_with(data: MultimodalDataset, rows: Sequence[int], given: Sequence[str]) -> list[int]:
    """Those of `rows` that have every modality of `given`."""
    if data.is_complete:
        return list(rows)
    able = has_all(data, data.present[list(rows)], given).tolist()
    return [row for row, is_able in zip(rows, able, strict=True) if is_able]


def readable(model: Model, extractor: Extractor) -> Subset:
    """The modalities that the extractor can look at. Raises NotDefined if there is none."""
    names = tuple(m.name for m in model.modalities if extractor.reads(m))
    if not names:
        raise NotDefined(f"the extractor {extractor.name!r} reads none of {', '.join(model.names)}")
    return names


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
