"""What a finished run's distortion is certain to be above, added to its record: needs the record and its data's law."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from polyvae import datasets, keys
from polyvae.audits.laws import Truth, truth_of
from polyvae.errors import InputError, RunError
from polyvae.runs.plan import Plan, make_plan
from polyvae.runs.store import RunStore
from polyvae.theory import discrepancy

NOISE = 0.01  # of the floor: some five standard errors of a mean over 1,000 test rows


class Floor(NamedTuple):
    """In nats, on the law of the test rows. by_modality: line 7's bound on each distortion; delta: Delta(X, S)."""

    run_id: str
    distortion: float
    by_modality: Mapping[str, float]
    delta: float

    @property
    def floor(self) -> float:
        return sum(self.by_modality.values())


def add_floors(
    store: RunStore, data_dir: str | None = None, say: Callable[[str], None] = lambda text: None
) -> tuple[Floor, ...]:
    """Adds bound/floor, the same by modality, and bound/delta to every finished run whose law is known: digits on
    pictures, Laplace density.

    The recorded distortion is on fixed test rows: its expectation over their pairing is above the floor.
    Other runs are left as they are; `say` is told about those whose data are not at hand.
    Raises InputError where there is no store, and RunError where the floor is missed by more than the noise of a test
    set: that is a bug.
    """
    floors, laws = [], {}
    for record in store.there().records(lambda damage: say(f"left out: {damage}")):
        config = record.config
        has_law = config.dataset in datasets.DATASETS and datasets.DATASETS[config.dataset].sampler is not None
        if keys.DISTORTION not in record.metrics or not has_law or not record.resolved.is_bound:
            continue
        try:
            plan = make_plan(config if data_dir is None else config.with_(data_dir=data_dir))
        except InputError as reason:
            say(f"{record.run_id} is left out: {reason}")
            continue
        if plan.content != record.resolved.data:
            say(f"{record.run_id}: made from data that differ from those at hand; give --data-dir or $POLYVAE_DATA")
            continue
        scoring = [config.only, config.likelihood, config.likelihood_scale]
        key = json.dumps([config.dataset, *scoring, config.given])
        if key not in laws:
            laws[key] = _truth_of_test(plan)
        if (least := laws[key].least_losses) is None:
            continue
        terms = [(term.weight, least(term.given)) for term in plan.mixture.terms]
        bounds = {name: float(sum(weight * losses[name] for weight, losses in terms)) for name in plan.mixture.names}
        delta = discrepancy(laws[key].entropies, plan.mixture)
        floor = Floor(record.run_id, record.metrics[keys.DISTORTION], bounds, delta)
        _check(floor)
        floors.append(floor)
        with store.lock(floor.run_id, wait=True):
            by_modality = {keys.of(keys.FLOOR, name): bound for name, bound in floor.by_modality.items()}
            added = {keys.FLOOR: floor.floor, keys.DELTA: floor.delta, **by_modality}
            record = store.record(floor.run_id) or record  # which may have got more metrics meanwhile
            store.finish(replace(record, metrics=record.metrics | added))
    return tuple(floors)


def _check(floor: Floor) -> None:
    if floor.distortion < (1 - NOISE) * floor.floor:
        raise RunError(
            f"run {floor.run_id} has a distortion of {floor.distortion:.1f}, below its certain floor "
            f"{floor.floor:.1f}; this is a bug, please report it"
        )


def _truth_of_test(plan: Plan) -> Truth:
    name = plan.config.dataset
    sampler = datasets.sampler(name, split="test", **datasets.options_of(name, plan.config))
    return truth_of(replace(plan, sampler=sampler))
