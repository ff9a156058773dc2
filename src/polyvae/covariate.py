"""A covariate: known for every row, but not a modality, such as the batch that a cell was measured in.

Encoders and decoders are given its level, so that codes need not hold it. Where a model has one, decoders read codes
(..., batch, latent + level): the one-hot level lies beside the latent code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from polyvae.errors import InputError


class CovariateFile(TypedDict):
    """A `Covariate` in JSON."""

    name: str
    levels: list[str]
    shares: list[float]


@dataclass(frozen=True)
class Covariate:
    """name: of the column. levels: its values, sorted.

    shares: of the levels in the training rows, by which unconditional samples draw one.
    """

    name: str
    levels: tuple[str, ...]
    shares: tuple[float, ...]

    def index_of(self, level: str) -> int:
        """Raises InputError for an unknown level."""
        if level not in self.levels:
            raise InputError(f"{self.name} {level!r} is not one of those trained on: {', '.join(self.levels)}")
        return self.levels.index(level)

    def one_hot(self, index: Tensor) -> Tensor:
        """Int64 (...,) to float32 (..., level)."""
        return (index[..., None] == torch.arange(len(self.levels), device=index.device)).float()

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "levels": list(self.levels), "shares": list(self.shares)}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Covariate":
        return Covariate(content["name"], tuple(content["levels"]), tuple(content["shares"]))


class Levels(NamedTuple):
    """The levels of rows, Int64 (row,)."""

    covariate: Covariate
    index: Tensor


def beside(codes: Tensor, level: Tensor | None) -> Tensor:
    """Codes (..., batch, latent) with the one-hot level (batch, level) of their rows, as decoders read them.

    Without a level, codes are as they were.
    """
    return codes if level is None else torch.cat([codes, level.expand(*codes.shape[:-1], -1)], -1)
