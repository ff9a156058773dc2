"""80 % intervals of a predictive law: from draws of it, and as wide as rows that it has not seen require."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import torch
from scipy.special import stdtrit
from torch import Tensor

from polyvae.schema import Rule

LEVEL = 0.8
LEAST_ROWS = 4  # LEAST_ROWS / (LEAST_ROWS + 1) is LEVEL


Factor = Annotated[float, Rule(lambda v: v >= 0, "at least 0")]


class CalibrationFile(TypedDict):
    """calibration.json. factors: given, joined by +, -> target -> a factor for each feature."""

    level: float
    factors: dict[str, dict[str, list[Factor]]]


@dataclass(frozen=True)
class Calibration:
    """given -> target -> how many times as wide as the model's own the interval of each feature has to be.

    Where the target is among the given, single values of it are missing.
    """

    factors: Mapping[tuple[str, ...], Mapping[str, tuple[float, ...]]]

    def of(self, given: Iterable[str], target: str) -> Tensor | None:
        """The factors of `target`, (feature,), given these; None where it has none.

        What was never calibrated takes the factors of the pattern that differs from it in the fewest modalities.
        """
        asked = set(given)
        alike = {given: of for given, of in self.factors.items() if (target in given) == (target in asked)}
        known = {pattern: factors[target] for pattern, factors in alike.items() if target in factors}
        nearest = min(known, key=lambda pattern: len(asked.symmetric_difference(pattern)), default=None)
        return None if nearest is None else torch.tensor(known[nearest])

    def to_json(self) -> dict[str, Any]:
        return {"level": LEVEL, "factors": {"+".join(given): dict(by) for given, by in self.factors.items()}}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Calibration":
        return Calibration(
            {
                tuple(given.split("+")): {target: tuple(factors) for target, factors in by_target.items()}
                for given, by_target in content["factors"].items()
            }
        )


def interval(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Low and high, each (...), of independent draws (draw, ...): .8 of their law lies in between.

    That is so in expectation over the draws. A new value lies below the r-th smallest of K draws with probability
    r / (K + 1), whatever the law (Wilks 1941), so the ends are at ranks .1 (K + 1) and .9 (K + 1) of the first 9, 19,
    29, ... draws, for which these are whole numbers. Below 9 draws there are no such ranks, and Student's prediction
    interval stands in, which is exact for a Normal law. Needs at least 2 draws.
    """
    count, rank = len(draws), (len(draws) + 1) // 10
    if rank == 0:
        half = draws.std(0) * (float(stdtrit(count - 1, 0.9)) * math.sqrt(1 + 1 / count))
        return draws.mean(0) - half, draws.mean(0) + half
    ranked = draws[: 10 * rank - 1]
    return ranked.kthvalue(rank, 0).values, ranked.kthvalue(9 * rank, 0).values


def factors(truth: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How many times as wide each feature's interval has to be to hold .8 of new rows; all (row, feature).

    Split conformal: the score of a row is the distance of the truth from the middle, in half-widths (Lei et al. 2018,
    section 5.2); the factor is the score at rank .8 (n + 1) of n rows, interpolated where that is not whole. So
    whatever the model's law, a new row that is exchangeable with these is held with probability .8, exactly where the
    rank is whole, else within 1 / (n + 1). NaN do not count; below 4 rows the factor is 1.
    """
    half = (high - low) / 2
    scores = ((truth - (low + high) / 2).abs() / half).sort(0).values  # NaN comes last
    count = (~scores.isnan()).sum(0)
    rank = (LEVEL * (count + 1) - 1).clamp(min=0)  # from 0
    below = rank.floor().long().minimum((count - 1).clamp(min=0))
    above = rank.ceil().long().minimum((count - 1).clamp(min=0))
    ends = [scores.gather(0, place[None])[0] for place in (below, above)]
    found = torch.lerp(*ends, (rank - below).to(scores.dtype))
    return found.where((count >= LEAST_ROWS) & found.isfinite(), 1.0)


def widened(low: Tensor, high: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """The interval (row, feature) made `factor` (feature,) times as wide around its middle."""
    middle, half = (low + high) / 2, (high - low) / 2 * factor.to(low)
    return middle - half, middle + half
