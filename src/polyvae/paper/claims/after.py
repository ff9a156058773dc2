"""What the paper found on its failure case, tested on a method that came after it: the same measures and limits.

The paper's statements are about the methods it had. `does not hold` says here that a limit which it found is not one
of this method. A method is compared with the unimodal VAE of the same data, networks and likelihood (`beside`).
"""

from collections.abc import Sequence
from functools import partial

from polyvae import keys
from polyvae.config import MODALITIES
from polyvae.paper.claims.evidence import (
    CUB,
    POLYMNIST,
    TRANSLATED,
    Evidence,
    beside,
    mean_below,
    score_of,
)
from polyvae.paper.claims.measures import SHORT, Claim, Fact, Parts, lost_accuracy, lost_coherence, not_both, when
from polyvae.runs.record import Record

LATER = "aligned_flows"
LEAST_SEEDS = 3


def coherence(records: Sequence[Record], method: str) -> Parts:
    runs = beside(records, TRANSLATED, method)
    yield from when(setting_of(runs, method), *lost_coherence(runs, [method]))


def probe(records: Sequence[Record], method: str) -> Parts:
    """Of the shared code, where a model has one beside private codes; else of z."""
    plain, moved = (beside(records, dataset, method) for dataset in (POLYMNIST, TRANSLATED))
    yield from when(setting_of(moved, method), *lost_accuracy(plain, moved, [method], _shared_probe))


def both(records: Sequence[Record], method: str) -> Parts:
    """On the data sets on which the method has runs, and on the first in any case."""
    for dataset in (TRANSLATED, CUB):
        runs = beside(records, dataset, method)
        if runs.method(method).records or dataset == TRANSLATED:
            yield from when(setting_of(runs, method), *not_both(dataset, runs, [method]))


def setting_of(runs: Evidence, method: str) -> Fact:
    """What the runs of the method share, and their seeds: fewer than three decide nothing."""
    own = runs.method(method).records
    if not own:
        return Fact(f"{SHORT[method]}: no run", None, is_absent=True)
    config, seeds = own[0].config, {record.config.seed for record in own}
    data = f"{config.modalities or MODALITIES} modalities, {config.epochs} epochs"
    options = f", {config.method_options}" if config.method_options else ""
    text = f"{SHORT[method]}: {data}{options}: {len(seeds)} seeds ({LEAST_SEEDS} needed)"
    return Fact(text, len(seeds) >= LEAST_SEEDS or None)


def _shared_probe(record: Record) -> float | None:
    shared = mean_below(keys.of(keys.CODE_PROBE, "shared", "label"), record)
    return score_of(record, keys.LINEAR_PROBE) if shared is None else shared


AFTER: tuple[Claim, ...] = tuple(
    Claim(name, figure, statement, partial(measure, method=LATER))
    for name, figure, statement, measure in (
        ("C9", "4b", "On Translated PolyMNIST coherence is lost, though digits can be drawn.", coherence),
        ("C10", "6", "A linear probe finds less on Translated PolyMNIST.", probe),
        ("C17", "2, 4", "No model is both good and coherent on complex data.", both),
    )
)
