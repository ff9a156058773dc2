"""Metrics by name. A new one is one file and one line in `METRICS`."""

from collections.abc import Callable, Iterable

from polyvae.errors import InputError
from polyvae.metrics.bound import bound
from polyvae.metrics.coherence import coherence
from polyvae.metrics.extractors import Extractor, Judge
from polyvae.metrics.frechet import frechet, frechet_distance
from polyvae.metrics.protocol import Evaluation, GenerativeModel, NotDefined

__all__ = [
    "METRICS",
    "Evaluation",
    "Extractor",
    "GenerativeModel",
    "Judge",
    "Metric",
    "NotDefined",
    "bound",
    "coherence",
    "evaluate",
    "frechet",
    "frechet_distance",
]

Metric = Callable[[GenerativeModel, Evaluation], dict[str, float]]


def evaluate(
    model: GenerativeModel, evaluation: Evaluation, names: Iterable[str]
) -> tuple[dict[str, float], dict[str, str]]:
    """(metrics, notes) of the metrics called `names`; a note says why a metric is not defined here.

    Raises InputError for an unknown name, before any is measured.
    """
    wanted = list(names)
    if unknown := [name for name in wanted if name not in METRICS]:
        raise InputError(f"unknown metric {unknown[0]!r}; choose from {', '.join(METRICS)}")
    found: dict[str, float] = {}
    notes: dict[str, str] = {}
    for name in wanted:
        try:
            found |= METRICS[name](model, evaluation)
        except NotDefined as reason:
            notes[name] = str(reason)
    return found, notes


def _coherence(model: GenerativeModel, evaluation: Evaluation) -> dict[str, float]:
    judge = _judge(evaluation)
    if judge.doubt:
        raise NotDefined(judge.doubt)
    return coherence(
        model,
        evaluation.test,
        judge,
        seed=evaluation.seed,
        rows=evaluation.rows(),
        batch_size=evaluation.batch_size,
    )


def _frechet(model: GenerativeModel, evaluation: Evaluation) -> dict[str, float]:
    return frechet(
        model,
        evaluation.test,
        evaluation.train,
        _judge(evaluation),
        seed=evaluation.seed,
        rows=evaluation.rows(),
        batch_size=evaluation.batch_size,
    )


def _bound(model: GenerativeModel, evaluation: Evaluation) -> dict[str, float]:
    return bound(
        model,
        evaluation.test,
        beta=evaluation.beta,
        seed=evaluation.seed,
        rows=evaluation.rows(),
        batch_size=evaluation.batch_size,
    )


def _judge(evaluation: Evaluation) -> Judge:
    if evaluation.judge is None:
        raise NotDefined(f"there is no judge for data set {evaluation.test.name!r}")
    return evaluation.judge


METRICS: dict[str, Metric] = {"bound": _bound, "coherence": _coherence, "frechet": _frechet}
