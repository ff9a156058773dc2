"""The paper's Table 1 (properties observed in earlier work), with measured values beside it."""

from collections.abc import Callable, Sequence
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
    columns = []
    for group in groups:
        distances = over_beta(group, group.compared.key() if group.compared else "")
        columns += [(distances, min, 0), (over_beta(group, LEAVE_ONE_OUT), max, 2)]
    measured = {method: [_cell(c.get(method, []), best, digits) for c, best, digits in columns] for method in PUBLISHED}
    return [Row(m, *PUBLISHED[m], cells) for m, cells in measured.items() if set(cells) - {DASH}]


def _cell(points: list[Point], best: Callable[..., Point], decimals: int) -> str:
    if not points:
        return DASH
    point = best(points, key=lambda point: point.mean)
    mean, sd = (f"{value:.{decimals}f}" if decimals else short(value) for value in (point.mean, point.sd))
    return f"{mean} ± {sd} (β {point.x:g})" if len(point.runs) > 1 else f"{mean} (β {point.x:g})"
