"""What a modality is, and what a batch of several of them is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.distributions import Distribution

from polyvae import likelihoods
from polyvae.errors import InputError
from polyvae.likelihoods import Form, Likelihood
from polyvae.schema import Positive, Size
from polyvae.text import Vocabulary


class UnitsFile(TypedDict):
    """`Standardise` in JSON."""

    mean: list[float]
    sd: list[Positive]
    from_zero: NotRequired[list[bool]]


class WordsFile(TypedDict):
    """A `Vocabulary` in JSON."""

    words: list[str]
    length: Size


class LikelihoodFile(TypedDict):
    """A likelihood in JSON, beside settings of its own."""

    kind: str


class ModalityFile(TypedDict):
    """A `Modality` in JSON."""

    name: str
    shape: list[Size]
    likelihood: LikelihoodFile
    weight: Positive
    transform: UnitsFile | WordsFile | None
    feature_names: NotRequired[list[str]]


@dataclass(frozen=True)
class Standardise:
    """A table's units: model value = (original - mean) / sd, per feature, fitted on the training rows.

    limit: of the size of model values; what is beyond is clipped. from_zero: by feature, whether no training row is
    below 0 there, as for counts, sizes and concentrations; then no value of a model is, either. Empty for none.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    limit: float | None = None
    from_zero: tuple[bool, ...] = ()

    @cached_property
    def _kept(self) -> dict[tuple[torch.device, torch.dtype], list[Tensor]]:
        """Mean and sd as tensors: copied from the host once, and kept as long as this, for captured steps."""
        return {}

    def _like(self, values: Tensor) -> list[Tensor]:
        key = values.device, values.dtype
        if key not in self._kept:
            least = [0.0 if is_from_zero else -math.inf for is_from_zero in self.from_zero] or [-math.inf]
            parts = (self.mean, self.sd, least)
            self._kept[key] = [torch.tensor(part, device=key[0], dtype=key[1]) for part in parts]
        return self._kept[key]

    def __call__(self, values: Tensor) -> Tensor:
        mean, sd, _ = self._like(values)
        scaled = (values - mean) / sd
        return scaled if self.limit is None else scaled.clamp(-self.limit, self.limit)

    def inverse(self, values: Tensor) -> Tensor:
        mean, sd, least = self._like(values)
        return torch.maximum(values * sd + mean, least)

    def within(self, values: Tensor) -> Tensor:
        """Values in original units, at least 0 where `from_zero` says so."""
        return torch.maximum(values, self._like(values)[-1])

    def to_json(self) -> dict[str, Any]:
        limit = {} if self.limit is None else {"limit": self.limit}
        from_zero = {"from_zero": list(self.from_zero)} if self.from_zero else {}
        return {"mean": list(self.mean), "sd": list(self.sd)} | limit | from_zero


@dataclass(frozen=True)
class Modality:
    """One modality: its name, the shape of one example, how it is scored, and its weight in the loss.

    Images have shape (channels, height, width) and values in [0, 1]; tables (features,); classes (classes,) one-hot;
    text (position, word) one-hot, with a vocabulary as its transform: in original units it is token ids (position,).
    has_gaps: whether single values may be missing (NaN) where a row has it; they are not scored.
    feature_names: of a table's columns, or of the classes; empty where they have none.
    Raises InputError for a wrong number of names, or for one twice.
    """

    name: str
    shape: tuple[int, ...]
    likelihood: Likelihood
    weight: float = 1.0
    transform: Standardise | Vocabulary | None = None
    has_gaps: bool = False
    feature_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "_-" for c in self.name):
            raise InputError(f"modality name {self.name!r} may hold letters, digits, '_' and '-' only; rename it")
        if not self.shape or min(self.shape) < 1:
            raise InputError(f"modality {self.name!r} has shape {self.shape}; every axis must be at least 1")
        if not 0 < self.weight < float("inf"):
            raise InputError(f"weight {self.weight} of modality {self.name!r} must be a finite number above 0")
        if self.feature_names and (len(self.feature_names), len(set(self.feature_names))) != (*self.shape, *self.shape):
            raise InputError(f"modality {self.name!r} has shape {self.shape}: give as many different names of features")
        if (words := self.vocabulary) and self.shape != (words.length, len(words)):
            raise InputError(f"text {self.name!r} has shape {self.shape}, its vocabulary {(words.length, len(words))}")

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def is_classes(self) -> bool:
        """Whether its values are one-hot classes."""
        return self.likelihood.is_one_hot and self.vocabulary is None

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words of a text modality; None for all others."""
        return self.transform if isinstance(self.transform, Vocabulary) else None

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of one example in original units: `shape`, or (position,) for token ids."""
        return self.shape[:1] if self.vocabulary else self.shape

    @property
    def is_table(self) -> bool:
        """Whether its values are one axis of numbers."""
        return len(self.shape) == 1 and not self.is_classes

    @property
    def is_real_table(self) -> bool:
        """Whether it is a table of any real numbers, for which there are calibrated intervals."""
        return self.is_table and self.likelihood.takes_any_real

    @property
    def bounds(self) -> tuple[float, float]:
        """What its values in original units lie between."""
        is_share = self.is_image or self.likelihood.is_one_hot or isinstance(self.likelihood, likelihoods.Bernoulli)
        if is_share and self.vocabulary is None:
            return 0.0, 1.0
        return 0.0 if isinstance(self.likelihood, likelihoods.Counts) else -math.inf, math.inf

    def distribution(self, params: Tensor) -> Distribution:
        """The likelihood at decoder outputs (..., *shape), at least float32; its event is this modality."""
        precise = torch.promote_types(params.dtype, torch.float32)  # mixed precision ends here
        law = self.likelihood(params.to(precise), len(self.shape))
        return likelihoods.with_gaps(law) if self.has_gaps else law

    def to_original(self, values: Tensor) -> Tensor:
        """Model values (..., *shape) in the units of the user's data, within `bounds`."""
        return values.clamp(*self.bounds) if self.transform is None else self.transform.inverse(values)

    def within(self, values: Tensor) -> Tensor:
        """Values in the units of the user's data, limited to what they can be."""
        return self.transform.within(values) if isinstance(self.transform, Standardise) else values.clamp(*self.bounds)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "shape": list(self.shape),
            "likelihood": likelihoods.to_json(self.likelihood),
            "weight": self.weight,
            "transform": None if self.transform is None else self.transform.to_json(),
        } | self._optional

    @property
    def _optional(self) -> dict[str, Any]:
        """What JSON says only where it is not the default, so that older files and run ids stay as they are."""
        gaps = {"has_gaps": True} if self.has_gaps else {}
        return gaps | ({"feature_names": list(self.feature_names)} if self.feature_names else {})

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Modality":
        units = content["transform"]
        return Modality(
            content["name"],
            tuple(content["shape"]),
            likelihoods.from_json(content["likelihood"]),
            content["weight"],
            None if units is None else _transform(units),
            content.get("has_gaps", False),
            tuple(content.get("feature_names", ())),
        )


def text_modality(name: str, vocabulary: Vocabulary) -> Modality:
    """A text modality, scored up to and including the end token."""
    return Modality(name, (vocabulary.length, len(vocabulary)), likelihoods.Text(), transform=vocabulary)


def _transform(content: Mapping[str, Any]) -> Standardise | Vocabulary:
    if "words" in content:
        return Vocabulary(tuple(content["words"]), content["length"])
    return Standardise(
        tuple(content["mean"]), tuple(content["sd"]), content.get("limit"), tuple(content.get("from_zero", ()))
    )


def check_suits(likelihood: Likelihood, modality: Modality, seen: Tensor) -> None:
    """Raises InputError, naming the modality, unless `likelihood` can score its observed stored values `seen`."""
    if modality.has_gaps:
        seen = seen.nan_to_num()
    form = Form(modality.vocabulary is not None, modality.is_image, modality.transform is not None)
    if (reason := likelihood.unfit(seen, form)) is not None:
        raise InputError(f"likelihood {likelihoods.kind_of(likelihood)}: modality {modality.name!r} {reason}")


class _BatchFields(NamedTuple):
    values: dict[str, Tensor]
    present: Tensor
    label: Tensor | None
    is_complete: bool
    level: Tensor | None


class Batch(_BatchFields):
    """values: name -> (batch, *shape) in model units; present: Bool (batch, modality); label: Int (batch,) or None.

    is_complete: whether every row is known to have every modality, so that `present` need not be looked at.
    level: one-hot (batch, level) of the covariate, or None.

    Absent values are set to zero here, so that they can be NaN in the user's data and reach no computation. Where a
    modality has gaps, single values of what is present are NaN: networks read 0 for them, likelihoods leave them out.
    Raises InputError when a row has no modality at all.
    """

    def __new__(
        cls,
        values: Mapping[str, Tensor],
        present: Tensor | None = None,
        label: Tensor | None = None,
        level: Tensor | None = None,
    ) -> "Batch":
        rows = len(next(iter(values.values())))
        if present is None:
            present = torch.ones(rows, len(values), dtype=torch.bool, device=next(iter(values.values())).device)
        elif present.shape != (rows, len(values)) or present.dtype != torch.bool:
            raise InputError(f"present must be Bool {(rows, len(values))}, got {present.dtype} {tuple(present.shape)}")
        if not bool(present.any(-1).all()):
            empty = int((~present.any(-1)).nonzero()[0])
            raise InputError(f"row {empty} of the batch has no observed modality; remove such rows")
        return cls.known(values, present, label, is_complete=bool(present.all()), level=level)

    @classmethod
    def known(
        cls,
        values: Mapping[str, Tensor],
        present: Tensor,
        label: Tensor | None,
        *,
        is_complete: bool,
        level: Tensor | None = None,
    ) -> "Batch":
        """A batch of rows that are known to pass the checks of `Batch`: nothing is read from the device."""
        observed = dict(values)
        if not is_complete:
            for mask, (name, value) in zip(present.unbind(-1), values.items(), strict=True):
                observed[name] = torch.where(mask.view(-1, *(1,) * (value.dim() - 1)), value, torch.zeros_like(value))
        return super().__new__(cls, observed, present, label, is_complete, level)

    def to(self, device: torch.device | str) -> "Batch":
        moved = {name: value.to(device) for name, value in self.values.items()}
        label = None if self.label is None else self.label.to(device)
        level = None if self.level is None else self.level.to(device)
        return self._replace(values=moved, present=self.present.to(device), label=label, level=level)
