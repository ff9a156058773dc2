"""What runs will cost, from what finished ones have cost."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from polyvae.config import NOT_HASHED, RunConfig
from polyvae.runs.record import Record

ROWS = 12_000  # training rows where a config does not say: the embedded digits
DECODES = {"unimodal": 1.0, "mvae_plus": 2.0}  # relative to a method that decodes each row once
PUBLISHED = {"mmvae_official": 30, "unimodal_dreg": 30}  # samples where a config does not say
NETWORKS = {"mlp": 0.3, "conv_half": 1.0, "conv": 3.0, "resnet": 12.0}
VARIED = {"seed", "beta", *NOT_HASHED}


def work(config: RunConfig) -> float:
    """Relative cost of a run: rows times passes times modalities, by method and network. Only ratios mean something."""
    modalities = len(config.only.split(",")) if config.only else config.modalities or 5
    passes = config.epochs * (config.train_size or ROWS)
    decodes = DECODES.get(config.method, 1.0) * _samples(config, modalities)
    return passes * modalities * decodes * NETWORKS.get(config.network, 1.0)


def _samples(config: RunConfig, modalities: int) -> float:
    """Samples a row of the objective, half as dear as with gradients; published methods draw from every modality,
    unless told to draw from one."""
    if config.method in PUBLISHED:
        sources = 1 if config.allocation == "systematic" else modalities
        return (config.objective_samples or PUBLISHED[config.method]) * sources / 2
    return (config.objective_samples or 2) / 2


def estimate(configs: Sequence[RunConfig], records: Iterable[Record]) -> list[float] | None:
    """Seconds of each run: the median of finished runs that differ in seed and beta alone, else by `work`.

    None when no run has finished yet, since nothing is known of this machine then.
    """
    measured: dict[str, list[float]] = defaultdict(list)
    rates = []
    for record in records:
        seconds = record.total_seconds
        if record.is_done and seconds > 0:
            measured[_kind(record.config)].append(seconds)
            rates.append(seconds / work(record.config))
    if not rates:
        return None
    rate = median(rates)
    return [median(measured.get(_kind(config), [rate * work(config)])) for config in configs]


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
    costs = estimate(waiting, known)
    return None if costs is None else sum(costs)


def longest_first(configs: Sequence[RunConfig], records: Iterable[Record]) -> list[RunConfig]:
    """The configs by falling cost, so that no long run starts last; equal ones stay in order."""
    costs = estimate(configs, records) or [work(config) for config in configs]
    order = sorted(range(len(configs)), key=lambda i: -costs[i])
    return [configs[i] for i in order]


def in_words(seconds: float) -> str:
    """40 s, 12 min, 3.4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _kind(config: RunConfig) -> str:
    return json.dumps({k: v for k, v in config.to_dict().items() if k not in VARIED}, sort_keys=True)
