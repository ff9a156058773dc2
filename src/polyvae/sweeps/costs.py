"""What runs will cost, from what finished ones have cost. Configs are those of plans, which leave nothing open."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from polyvae import files
from polyvae.config import MODALITIES, NOT_HASHED, RELEASED, RunConfig, listed
from polyvae.errors import InputError
from polyvae.methods import METHODS, decoded
from polyvae.objectives import objective_named
from polyvae.runs.record import Record

ROWS = 12_000  # training rows where a config does not say: the embedded digits
NETWORKS = {"mlp": 0.3, "conv_half": 1.0, "conv_wide": 1.0, "conv": 3.0, "resnet": 12.0}
# Seconds per unit of work on an H200, eight runs at once (`resnet`: one, in bf16): docs/performance.md.
ON_A_GPU = {"conv_half": 2.5e-6, "conv": 7.0e-7, "resnet": 1.4e-6}
SCORING = 7.0  # seconds per run there, while others wait
DRAWN = 0.5  # what one of several samples costs, beside the one sample of an ELBO
VARIED = {"seed", "beta", *NOT_HASHED}
MEASURED = Path(__file__).parent / "measured.json"  # by scripts/measured_costs.py


class RowFile(TypedDict):
    """A kind of run: its settings that are not defaults, the median of the seconds, and of how many runs."""

    settings: dict[str, Any]
    seconds: float
    runs: int


class MeasuredFile(TypedDict):
    """measured.json: what runs of this project took, and where."""

    machine: str
    rows: list[RowFile]


def work(config: RunConfig) -> float:
    """Relative cost of a run: what it decodes in all its passes, by network. Only ratios mean something.

    Raises InputError for a method or objective that is not known here.
    """
    method = METHODS.named(RELEASED["method"] if config.method == "auto" else config.method)  # about the same work
    names = listed(config.only) if config.only else [f"m{i}" for i in range(config.modalities or MODALITIES)]
    objective = method.objective if config.objective == "auto" else config.objective
    allocation = None if config.allocation == "auto" else config.allocation
    each = decoded(method, names, objective=objective, samples=config.objective_samples, allocation=allocation)
    share = DRAWN if objective_named(objective).draws else 1.0
    rows = config.sizes.epochs * (config.train_size or ROWS)
    return rows * each * share * NETWORKS.get(config.network, 1.0)


def estimate(configs: Sequence[RunConfig], records: Iterable[Record]) -> list[float] | None:
    """Seconds of each run: the median of finished runs that differ in seed and beta alone, else by `work`.

    Runs of data or networks that no config has do not count: work says nothing across them. None when no other run has
    finished yet, since nothing is known of this machine then.
    """
    measured: dict[str, list[float]] = defaultdict(list)
    pairs, rates = {(config.dataset, config.network) for config in configs}, []
    for record in (r for r in records if (r.config.dataset, r.config.network) in pairs):
        seconds = record.total_seconds
        if record.is_done and seconds > 0:
            measured[kind(record.config)].append(seconds)
            with suppress(InputError):  # of a method that is not registered here: it says nothing about others
                rates.append(seconds / work(record.config))
    if not rates:
        return None
    rate = median(rates)
    return [median(measured.get(kind(config), [rate * work(config)])) for config in configs]


@dataclass(frozen=True)
class Elsewhere:
    """What runs would take on the machine where the results of this project were made, beside other work.

    seconds: of each run, None where no run of its data set and network was measured. is_measured: whether runs that
    differ in seed and beta alone were; the others are scaled by `work`.
    """

    machine: str
    seconds: list[float | None]
    is_measured: list[bool]


def estimate_elsewhere(configs: Sequence[RunConfig]) -> Elsewhere:
    """From the table that comes with the package, for a CPU on which nothing has run yet."""
    content = files.read_object(MEASURED, MeasuredFile)
    known: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for row in content["rows"]:
        config = RunConfig.from_dict(row["settings"])
        record = Record(run_id=config.run_id(), config=config, status="done", seconds={"all": row["seconds"]})
        known[config.dataset, config.network].append(record)
    seconds: list[float | None] = [None] * len(configs)
    for pair, records in known.items():
        places = [i for i, config in enumerate(configs) if (config.dataset, config.network) == pair]
        found = estimate([configs[i] for i in places], records) or [None] * len(places)
        for i, value in zip(places, found, strict=True):
            seconds[i] = value
    kinds = {kind(record.config) for records in known.values() for record in records}
    return Elsewhere(content["machine"], seconds, [kind(config) in kinds for config in configs])


def estimate_on_gpu(configs: Sequence[RunConfig]) -> float | None:
    """Seconds of all runs on one large GPU, before any has been timed; None where a network was not measured there."""
    if any(config.network not in ON_A_GPU for config in configs):
        return None
    return sum(work(config) * ON_A_GPU[config.network] + SCORING for config in configs)


def left(configs: Sequence[RunConfig], records: Iterable[Record]) -> float | None:
    """Seconds of the runs that have neither finished nor failed; None before any is done."""
    known = list(records)
    ended = Counter(record.config.run_id() for record in known)
    waiting = []
    for config in configs:  # several may share this id, which does not know the content of files
        if ended[config.run_id()] > 0:
            ended[config.run_id()] -= 1
        else:
            waiting.append(config)
    costs = estimate(waiting, known) if waiting else []
    return None if costs is None else sum(costs)


def longest_first(configs: Sequence[RunConfig], records: Iterable[Record]) -> list[RunConfig]:
    """The configs by falling cost, so that no long run starts last; equal ones stay in order."""
    costs = estimate(configs, records) or [work(config) for config in configs]
    order = sorted(range(len(configs)), key=lambda i: -costs[i])
    return [configs[i] for i in order]


def kind(config: RunConfig) -> str:
    """What runs have in common that differ in seed and beta alone."""
    return json.dumps({k: v for k, v in config.to_dict().items() if k not in VARIED}, sort_keys=True)
