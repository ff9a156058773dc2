"""Commands that list methods and metrics."""

import inspect
from typing import Annotated

import tyro
from rich.table import Table

from polyvae.cli.common import say, show, table_of
from polyvae.judges import pretrained
from polyvae.methods import METHODS, Method, cost, file_of
from polyvae.metrics import METRICS
from polyvae.models import MODELS
from polyvae.objectives import objective_named
from polyvae.options import names_of

NAMES_SHOWN = ("m0", "m1", "m2", "m3", "m4")
ITS_OWN = "its own"


def methods(names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME...")] = ()) -> None:
    """List all methods; with names, show what those methods maximise, their options and their defaults.

    joint bound: whether the objective bounds log p of all modalities. cost: number of modalities that are encoded +
    decoded per row and step, on average, with 5 modalities.

    Args:
        names: Methods of the list. Default: all, one line each.
    """
    for method in [METHODS.named(name) for name in names]:
        _show_one(method)
    if names:
        return
    table = table_of("method", "what it is", "joint bound", "cost", "source")
    table.columns[0].no_wrap = table.columns[3].no_wrap = True
    for method in METHODS.values():
        table.add_row(method.name, method.summary, _is_bound(method), _cost(method), method.source)
    show(table)


def _show_one(method: Method) -> None:
    say(f"{method.name}: {method.summary}\n")
    table = Table(box=None, show_header=False)
    for heading, text in facts(method).items():
        table.add_row(heading, text)
    show(table)
    if (file := file_of(method)) is not None:
        say(f"\n{inspect.getdoc(file)}")


def facts(method: Method) -> dict[str, str]:
    """What the table of methods says of one, and its defaults, as heading -> text; the page of a method shows them."""
    return {
        "source": method.source,
        "objective": _objective(method),
        "prior": method.prior if _is_joint(method) else ITS_OWN,
        "posterior": f"{method.family.kind}, {method.family.scale}" if _is_joint(method) else ITS_OWN,
        "joint bound": _is_bound(method),
        "cost": _cost(method),
        "options": ", ".join(f"{key}={value}" for key, value in defaults(method).items()) or "none",
    }


def _objective(method: Method) -> str:
    own = "its terms" if method.recipe else method.objective
    if objective_named(method.objective).draws:
        own += f", K = {method.samples}"
    first, *others = [(stage.name, own if stage.objective is None else ITS_OWN) for stage in method.stages]
    return ", then ".join(f"{name}: {what}" for name, what in (first, *others)) if others else first[1]


def defaults(method: Method) -> dict[str, str]:
    """The method's own options, which --method-options changes."""
    if method.options is None:
        return {}
    values = {key: getattr(method.options(), key) for key in names_of(method.options)}
    return {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in values.items()}


def _is_joint(method: Method) -> bool:
    return MODELS.named(method.model).is_joint


def _is_bound(method: Method) -> str:
    """On the joint log-evidence, at beta 1 or more for L_S."""
    if method.mixture is None:
        return "depends on S"
    is_bound = method.is_bound and method.mixture(("a", "b")).is_bound
    return "yes" if is_bound else "no"


def _cost(method: Method) -> str:
    if method.mixture is None:
        return "by S"
    return " + ".join(f"{count:.3g}" for count in cost(method, NAMES_SHOWN))


def metrics() -> None:
    """List all metrics: what they measure, whether every run computes them, and what they need."""
    table = table_of("metric", "what it measures", "in every run", "needs")
    for name, metric in METRICS.items():
        needs = [metric.needs or "", "labels" if metric.needs_labels else "", "images" if metric.needs_images else ""]
        if metric.needs in pretrained.EXTRACTORS and metric.needs not in pretrained.installed():
            needs[0] += " (not installed)"
        table.add_row(name, metric.summary, "yes" if metric.is_default else "", ", ".join(filter(None, needs)))
    show(table)
