"""What is measured on a data set before a method is chosen: sizes, what is missing, how much modalities share."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from polyvae.audits.entropy_bounds import Interval
from polyvae.audits.estimate import LEAST_ROWS, MOST_MODALITIES, Estimate, estimate
from polyvae.dataset import MultimodalDataset, chosen_rows, cut_at_random
from polyvae.errors import InputError
from polyvae.keys import all_but
from polyvae.metrics.baselines import baselines
from polyvae.modality import Modality

LEAST = 50  # training rows; with fewer nothing about a method can be said
ROWS = 4000  # that an estimate looks at
SIDE = 4  # of the pictures that an estimate looks at
FEATURES = 128  # of a table that an estimate looks at, at most
TESTED, LEAST_HELD = 1000, 10  # rows that ridge regression is tested on, at most and at least
SMALL = 0.02  # of an entropy counts as nothing
REDUNDANT = 0.1  # of an entropy left given the others, at most

Kind = Literal["image", "text", "classes", "table"]
Sharing = Literal["something", "nothing", "unknown"]


@dataclass(frozen=True)
class View:
    """One modality. missing: share of rows without it; gaps: share of single values missing in the others."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    missing: float
    gaps: float

    @property
    def size(self) -> int:
        """Values of one example; positions of a text."""
        return self.shape[0] if self.kind == "text" else math.prod(self.shape)


@dataclass(frozen=True)
class Facts:
    """Of the training rows. complete: those with every modality and value, which an estimate looks at.

    bounds: intervals about them, in nats of the quantised data; None, with the reason in `unmeasured`.
    ridge: table -> share of its variance that ridge regression explains from all others, on `held_out` rows.
    reduced: what an estimate saw less of: then Delta and an upper end of what is shared are not those of the data.
    """

    rows: int
    complete: int
    is_labelled: bool
    views: tuple[View, ...]
    bounds: Estimate | None
    unmeasured: str = ""
    reduced: tuple[str, ...] = ()
    ridge: Mapping[str, float] = field(default_factory=dict)
    held_out: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(view.name for view in self.views)

    @property
    def count(self) -> int:
        return len(self.views)

    @property
    def lacking(self) -> float:
        """Share of all (row, modality) pairs that are missing."""
        return sum(view.missing for view in self.views) / self.count

    @property
    def gaps(self) -> float:
        """Share of single values missing, of the modality that lacks most."""
        return max(view.gaps for view in self.views)

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset(view.kind for view in self.views)

    @property
    def size(self) -> int:
        return sum(view.size for view in self.views)

    @property
    def imbalance(self) -> float:
        """Values of the largest modality, of one of the smallest."""
        sizes = [view.size for view in self.views]
        return max(sizes) / min(sizes)

    @property
    def are_alike(self) -> bool:
        return len({(view.kind, view.shape) for view in self.views}) == 1

    @property
    def sharing(self) -> Sharing:
        """Whether modalities share anything: certain in either direction, or unknown."""
        by_view = [self.sharing_of(name) for name in self.names]
        if "something" in by_view:
            return "something"
        return "nothing" if set(by_view) == {"nothing"} else "unknown"

    def sharing_of(self, name: str) -> Sharing:
        """Whether a modality shares anything with the others."""
        if self.bounds is None:
            return "unknown"
        alone, known = self.bounds.alone[name], self.bounds.known[name]
        if known.lower.value > 0:
            return "something"
        is_whole = not self.reduced
        return "nothing" if is_whole and known.upper.value <= SMALL * alone.upper.value else "unknown"

    @property
    def is_redundant(self) -> bool:
        """Whether each modality is certain to be nearly determined by the others."""
        if self.bounds is None or self.reduced:
            return False
        pairs = [(self.bounds.alone[name].lower.value, self.bounds.known[name].lower.value) for name in self.names]
        return all(alone > 0 and alone - known <= REDUNDANT * alone for alone, known in pairs)

    @property
    def delta(self) -> dict[str, Interval]:
        """Method -> what its S hides, where that has been measured on the data as they are."""
        return {} if self.bounds is None or self.reduced else dict(self.bounds.delta)

    def is_costly(self, method: str) -> bool:
        """Whether its S is certain to hide more than a small part of everything."""
        return method in self.delta and self.delta[method].lower.value > SMALL * self._joint

    def is_cheap(self, method: str) -> bool:
        return method in self.delta and self.delta[method].upper.value <= SMALL * self._joint

    @property
    def _joint(self) -> float:
        return math.inf if self.bounds is None else self.bounds.joint.value


def measure(
    data: MultimodalDataset, *, seed: int = 0, on_part: Callable[[str, int, int], None] = lambda name, done, total: None
) -> Facts:
    """The facts of training rows; for rows in files, of a sample. on_part: as in `estimate`.

    An estimate uses at most 4,000 complete rows, pictures of 4 x 4 and 128 evenly spaced features of a table: what it
    finds shared is shared by the whole data as well (data processing), and nothing else is concluded from a part.
    Raises InputError for one modality, and for fewer than 50 rows.
    """
    if len(data.names) < 2:
        raise InputError(
            f"the data have one modality, {data.names[0]}; a joint model needs two. Train it alone: --method unimodal"
        )
    if len(data) < LEAST:
        raise InputError(f"{len(data)} training rows; advice needs at least {LEAST}. Collect more, or pool data")
    data = data.held(seed)
    views = tuple(_view(data, column) for column in range(len(data.names)))
    whole = torch.stack([~values.flatten(1).isnan().any(1) for values in data.values.values()]).all(0)
    complete = (whole & data.present.all(1)).nonzero().squeeze(1)
    facts = Facts(len(data), len(complete), data.labels is not None, views, None)
    facts = replace(facts, **_by_ridge(data, complete, seed))
    if facts.count > MOST_MODALITIES:
        reason = f"an estimate handles at most {MOST_MODALITIES} modalities, not {facts.count}"
        return replace(facts, unmeasured=reason)
    if len(complete) < LEAST_ROWS:
        can_leave_out = facts.count > 2 and len(complete) < len(data)
        remedy = "; use --only to leave out modalities that few rows have" if can_leave_out else ""
        reason = f"{len(complete)} rows are complete, and an estimate needs {LEAST_ROWS}{remedy}"
        return replace(facts, unmeasured=reason)
    seen, reduced = _reduced(data.rows(complete[chosen_rows(len(complete), ROWS, seed)]))
    return replace(facts, bounds=estimate(seen, seed=seed, on_part=on_part), reduced=reduced)


def _by_ridge(data: MultimodalDataset, complete: torch.Tensor, seed: int) -> dict[str, Any]:
    """`ridge` and `held_out`: a fifth of the complete rows, at most 1,000, is predicted from all other rows."""
    rest, held = cut_at_random(data, max(1, min(len(data) // 5, TESTED)), seed, "ridge")
    asked = np.intersect1d(held, complete.numpy())
    if len(asked) < LEAST_HELD:
        return {}
    train, test = data.rows(np.sort(rest).tolist()), data.batch(asked.tolist())
    shares = {}
    for modality in (m for m in data.modalities if m.is_table):
        given = all_but(modality.name, data.names)
        filled, truth = baselines(train, test, given, modality.name, seed), test.values[modality.name].double()
        if "ridge" in filled:
            left, whole = (float((filled[name] - truth).square().sum()) for name in ("ridge", "mean"))
            shares[modality.name] = 1 - left / whole if whole else 0.0
    return {"ridge": shares, "held_out": len(asked)}


def _view(data: MultimodalDataset, column: int) -> View:
    modality, here = data.modalities[column], data.present[:, column]
    gaps = float(data.values[modality.name][here].isnan().float().mean()) if modality.has_gaps else 0.0
    return View(modality.name, _kind(modality), modality.shape, 1 - float(here.float().mean()), gaps)


def _kind(modality: Modality) -> Kind:
    if modality.vocabulary:
        return "text"
    return "image" if modality.is_image else "classes" if modality.is_classes else "table"


def _reduced(data: MultimodalDataset) -> tuple[MultimodalDataset, tuple[str, ...]]:
    """The data without labels, smaller pictures and tables, and what was made smaller."""
    modalities, values, reduced = [], {}, []
    for modality in data.modalities:
        seen, kind = data.values[modality.name], _kind(modality)
        if kind == "image" and max(seen.shape[2:]) > SIDE:
            side = (min(SIDE, seen.shape[2]), min(SIDE, seen.shape[3]))
            scaled = seen.float() / 255 if seen.dtype == torch.uint8 else seen
            seen = torch.nn.functional.adaptive_avg_pool2d(scaled, side)
            reduced.append(f"{modality.name} at {side[0]} x {side[1]} pixels")
        elif kind == "table" and seen.shape[1] > FEATURES:
            step = math.ceil(seen.shape[1] / FEATURES)
            seen = seen[:, ::step]
            reduced.append(f"one in {step} features of {modality.name}")
        elif kind == "text":
            reduced.append(f"{modality.name} as ranges of words")
        modalities.append(_of_shape(modality, seen))
        values[modality.name] = seen
    return MultimodalDataset(data.name, tuple(modalities), values, data.present), tuple(reduced)


def _of_shape(modality: Modality, seen: torch.Tensor) -> Modality:
    """The modality with the shape of what is left of it; only its values are looked at."""
    if tuple(seen.shape[1:]) == modality.stored_shape:
        return modality
    return replace(modality, shape=tuple(seen.shape[1:]), transform=None, feature_names=())
