"""Before training: intervals for Delta(X, S) on the user's own data, with the direction and reason of each end.

Real values are quantised first, so every number is about the quantised data. Upper ends are held-out cross-entropies of
normalised models. Lower ends are plug-in conditional entropies, which are too small in expectation whatever the data,
and, if there are labels, the same given the label, which assumes that modalities are independent given it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyvae.audits.conditionals import Score, network_model, table_model
from polyvae.audits.entropy_bounds import LABELLED, End, EntropyBounds, Interval
from polyvae.dataset import MultimodalDataset, cut_at_random
from polyvae.datasets import load
from polyvae.errors import InputError
from polyvae.subsets import SubsetMixture
from polyvae.theory.discrepancies import presets, terms_of
from polyvae.theory.plugin import edges_of, quantised

LEAST_ROWS = 200
MOST_MODALITIES = 8
ROWS_A_CELL = 4  # training rows per cell of the joint table, at least, for counting instead of a network


@dataclass(frozen=True)
class Estimate:
    """delta, factorised: method -> interval, in nats. factorised is the floor of line 6 at beta 0, which binds decoders
    that treat an unseen modality's features as independent, as nearly all do.

    refuted: why lower ends do not use the labels, where the data contradict that modalities are independent given them.
    joint: upper end of H(X). hidden: method -> modality -> the interval of sum_{A without m} w_A H(X_m | X_A), what its
    S hides of that modality from the encoder. alone, known: modality -> the entropies of its features, summed, and how
    much of each of them all other modalities together tell.
    """

    rows: int
    described: Mapping[str, str]
    refuted: str | None
    models: str
    joint: End
    delta: Mapping[str, Interval]
    factorised: Mapping[str, Interval]
    hidden: Mapping[str, Mapping[str, Interval]]
    alone: Mapping[str, Interval]
    known: Mapping[str, Interval]

    @property
    def advice(self) -> str:
        return "\n".join(_advice(self))


def estimate(
    data: Path | str | Mapping[str, Any] | MultimodalDataset,
    *,
    S: Mapping[str, SubsetMixture] | None = None,
    bins: int = 16,
    seed: int = 0,
    on_part: Callable[[str, int, int], None] = lambda name, done, total: None,
    **options: Any,
) -> Estimate:
    """Intervals of Delta for `S` (default: MVAE, MMVAE, MoPoE), from files, arrays or a data set.

    bins: values of a quantised feature, by quantiles of the training rows. on_part: is given the current part, how
    many are done, and of how many. A fifth of the rows is held out. An S over fewer modalities leaves the others out.
    For rows in files, a sample is looked at (`MultimodalDataset.held`).
    options: of the data set `arrays`, for files and arrays.
    Raises InputError for fewer than 200 complete rows, one modality, or more than 8, and for an S that does not fit.
    """
    if bins < 2:
        raise InputError(f"bins {bins} must be at least 2")
    if isinstance(data, MultimodalDataset):
        parts = _cut(data, seed)
    else:
        parts = tuple(load("arrays", data=data, split=split, seed=seed, **options) for split in ("train", "test"))
    names = _names_of(parts[0], S)
    train, test = (_complete(part.select(names).held(seed)) for part in parts)
    _check(train.names, len(train) + len(test))
    edges = {name: edges_of(_flat(train, name), bins) for name in train.names}
    rows, test_rows = ({n: quantised(_flat(part, n), edges[n]) for n in edges} for part in (train, test))
    widths = {name: np.array([len(cuts) + 1 for cuts in edges[name]]) for name in edges}
    log_cells = sum(float(np.log(width).sum()) for width in widths.values())
    counted = log_cells + np.log(ROWS_A_CELL) <= np.log(len(train))
    scores: dict[str, Score] = {}
    for done, name in enumerate(edges):
        on_part(f"a model of {name} given the others", done, len(edges))
        scores[name] = table_model(rows, name, widths) if counted else network_model(rows, name, widths, seed)
    on_part("", len(edges), len(edges))
    everything = {name: np.concatenate([rows[name], test_rows[name]]) for name in edges}
    labels = None if train.labels is None or test.labels is None else np.concatenate([train.labels, test.labels])
    mixtures = presets(train.names) if S is None else S
    bounds = EntropyBounds(scores, test_rows, everything, labels, seed)
    return Estimate(
        rows=len(train) + len(test),
        described={n: f"{len(w)} features of {w.min()} to {w.max()} values" for n, w in widths.items()},
        refuted=bounds.refuted,
        models="counts of every cell" if counted else "one masked network per modality",
        joint=bounds.joint,
        delta={name: bounds.delta(mixture) for name, mixture in mixtures.items()},
        factorised={name: bounds.factorised(mixture) for name, mixture in mixtures.items()},
        hidden={name: {m: bounds.hidden(m, mixture) for m in edges} for name, mixture in mixtures.items()},
        alone={name: bounds.alone(name) for name in edges},
        known={name: bounds.known(name) for name in edges},
    )


def _names_of(data: MultimodalDataset, S: Mapping[str, SubsetMixture] | None) -> tuple[str, ...]:
    """The modalities that S is over. Raises InputError unless all agree on modalities of the data, and bound them."""
    if S is None:
        return data.names
    for mixture in S.values():
        terms_of(mixture)
    wanted = {mixture.names for mixture in S.values()}
    if len(wanted) != 1:
        raise InputError(f"the sets S are over different modalities: {sorted(map(list, wanted))}; give one at a time")
    if unknown := sorted(set(names := wanted.pop()) - set(data.names)):
        raise InputError(f"S is over {unknown[0]!r}, which the data lack; they have {', '.join(data.names)}")
    return names


def _cut(data: MultimodalDataset, seed: int) -> tuple[MultimodalDataset, MultimodalDataset]:
    rest, held = cut_at_random(data, max(1, len(data) // 5), seed, "estimate")
    return data.rows(rest.tolist()), data.rows(held.tolist())


def _complete(data: MultimodalDataset) -> MultimodalDataset:
    whole = [~values.flatten(1).isnan().any(1) for values in data.values.values()]
    return data.rows(torch.stack([*whole, data.present.all(-1)]).all(0).nonzero().squeeze(1))


def _flat(data: MultimodalDataset, name: str) -> np.ndarray:
    """(row, feature); a one-hot modality is one feature, its class."""
    values = data.values[name]
    if data.modalities[data.names.index(name)].is_classes:
        values = values.argmax(-1)
    return values.reshape(len(data), -1).double().numpy()


def _check(names: Sequence[str], rows: int) -> None:
    if rows < LEAST_ROWS:
        raise InputError(
            f"{rows} rows have every one of {', '.join(names)}; an estimate needs at least {LEAST_ROWS}. "
            "Leave out a modality that is often missing: give an S over the others (--subsets)"
        )
    if not 2 <= len(names) <= MOST_MODALITIES:
        raise InputError(f"{len(names)} modalities; an estimate needs 2 to {MOST_MODALITIES}")


def _advice(bounds: Estimate) -> list[str]:
    lines = []
    for method, (lower, upper) in bounds.delta.items():
        if upper.value <= 1e-9:
            lines.append(f"{method}: Delta is 0, it encodes every modality at once.")
            continue
        small, if_labels = 0.02 * bounds.joint.value, " if the label is all they share" * (lower.reason == LABELLED)
        if upper.value <= small:
            line = f"{method}: costs at most {_nats(upper.value)} nats of {_nats(bounds.joint.value)} in all: cheap."
        elif lower.value > small:
            line = f"{method}: costs at least {_nats(lower.value)} nats{if_labels}, and at most {_nats(upper.value)}."
        else:
            line = f"{method}: {_nats(lower.value)} to {_nats(upper.value)} nats: what it costs cannot be decided here."
        floor, hidden = bounds.factorised[method].lower, bounds.hidden[method]
        if floor.value > lower.value:
            line += f" Decoders with independent features lose at least {_nats(floor.value)}."
        most = max(hidden, key=lambda name: hidden[name].upper.value)
        if upper.value > small:
            line += f" Most may be hidden of {most}: at most {_nats(hidden[most].upper.value)} nats."
        lines.append(line)
    return [
        *lines,
        "Methods with S = {all} (mvae) avoid this cost; they learn to encode a subset only from rows that have gaps.",
        "Delta is not an error of imputation: for that compare imputation/ of trained runs.",
    ]


def _nats(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.2g}"
