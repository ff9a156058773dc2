"""The certified lines of docs/theory.md, checked on measured numbers. Pure: numbers in, verdicts out; all in nats."""

from collections.abc import Mapping
from typing import NamedTuple

from polyvae.subsets import SubsetMixture
from polyvae.theory.discrepancies import Law, beta_gap, discrepancy, factorised_floor, known

SIGMAS = 5.0  # Monte Carlo standard errors by which a bound may be missed
ROUNDING = 1e-5  # of the value, for float32 networks


class Measured(NamedTuple):
    """Distortion D = E[-log likelihood(x | z)] and rate R = E KL, with their standard errors."""

    distortion: float
    rate: float
    distortion_error: float = 0.0
    rate_error: float = 0.0

    def total(self, beta: float) -> float:
        return self.distortion + beta * self.rate

    def error(self, beta: float) -> float:
        """An upper bound on the standard error of D + beta R."""
        return self.distortion_error + beta * self.rate_error


class Line(NamedTuple):
    """value >= bound is certain; `error` is the standard error of value. number: of the line in docs/theory.md."""

    number: int
    statement: str
    value: float
    bound: float
    error: float

    @property
    def slack(self) -> float:
        return self.value - self.bound

    @property
    def is_violated(self) -> bool:
        """Missed beyond Monte Carlo error and rounding: a bug, or data that do not follow the law."""
        return not self.slack >= -(SIGMAS * self.error + ROUNDING * max(1.0, abs(self.value)))  # NaN too


def certified_lines(
    law: Law, S: SubsetMixture, measured: Measured, beta: float, unseen: Mapping[tuple[str, ...], float] | None = None
) -> tuple[Line, ...]:
    """Lines 2, 3, 4 and 6 for the numbers of one model.

    beta: of the objective. unseen: as in `factorised_floor`, where the decoder factorises; None leaves line 6 out.
    Differential entropies leave out what is certain for discrete data alone.
    """
    H, small = known(law, S), min(beta, 1.0)
    lines = [_line(2, "D + R >= H(X)", measured, 1.0, H.joint)]
    if H.is_discrete:
        lines.append(_line(3, "D >= Delta", measured, 0.0, discrepancy(H, S)))
    if H.is_discrete and beta < 1:
        lines.append(_line(4, "D + beta R >= Delta + beta sum w H(X_A)", measured, beta, beta_gap(H, S, beta)))
    if unseen is not None:
        line6 = {0.0: "D >= sum w H(unseen parts)"} if H.is_discrete else {}
        if H.is_discrete and 0 < small < 1:
            line6[small] = "D + beta R >= sum w (H(unseen parts) + beta H(X_A))"
        line6[1.0] = "D + R >= H(X) + G"
        lines += [_line(6, text, measured, at, factorised_floor(S, unseen, H, at)[0]) for at, text in line6.items()]
    return tuple(lines)


def _line(number: int, statement: str, measured: Measured, beta: float, bound: float) -> Line:
    return Line(number, statement, measured.total(beta), bound, measured.error(beta))
