"""The paper's Table 1 (properties observed in earlier work), with measured values beside it."""

from collections.abc import Sequence
from typing import NamedTuple

from polyvae.keys import LEAVE_ONE_OUT
from polyvae.report.paper import Point, over_beta
from polyvae.report.runs import Group
from polyvae.report.style import DASH
from polyvae.report.words import short

# method -> (does it sub-sample modalities, generative quality and coherence in the paper's Table 1)
PUBLISHED = {
    "unimodal": (DASH, DASH),
    "mvae": ("no", "good, poor"),
    "mvae_plus": ("in added terms", DASH),
    "mmvae": ("yes", "limited, good (disputed in the paper)"),
    "mopoe": ("yes", "limited, good (disputed in the paper)"),
}


class Row(NamedTuple):
    method: str
    subsampling: str
    published: str
    measured: list[str]


def table_1(groups: Sequence[Group]) -> list[Row]:
    """A row per method; for each group its distance and its coherence, each at the beta that is best for it."""
    cells: dict[str, list[str]] = {method: [] for method in PUBLISHED}
    for group in groups:
        key = group.compared.key() if group.compared else ""
        near, coherent = over_beta(group, key), over_beta(group, LEAVE_ONE_OUT)
        for method, measured in cells.items():
            measured.append(_cell(min(near.get(method, []), key=lambda p: p.mean, default=None), 0))
            measured.append(_cell(max(coherent.get(method, []), key=lambda p: p.mean, default=None), 2))
    filled = {method: measured for method, measured in cells.items() if set(measured) - {DASH}}
    return [Row(method, *PUBLISHED[method], measured) for method, measured in filled.items()]


def _cell(point: Point | None, decimals: int) -> str:
    if point is None:
        return DASH
    mean, sd = (f"{value:.{decimals}f}" if decimals else short(value) for value in (point.mean, point.sd))
    return f"{mean} ± {sd} (β {point.x:g})" if len(point.runs) > 1 else f"{mean} (β {point.x:g})"
