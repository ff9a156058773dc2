"""Runs as the report sees them: grouped by data set, then into series of one method over betas and seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from polyvae import keys, schema
from polyvae.config import DATA_OPTIONS, NOT_HASHED
from polyvae.paper.claims.evidence import setting
from polyvae.paper.names import OFFICIAL
from polyvae.report.style import METHODS, Look
from polyvae.runs.record import Record
from polyvae.schema import ViewsFile

DATA_FIELDS = ("dataset", *DATA_OPTIONS, "data", "data_seed", "train_size", "test_size")
MANY, MOST = 1000, 100  # runs of a data set from which on means over seeds are shown, and how many of these
SHOWN_ANYWAY = {"method", "beta", "seed", "only", *DATA_FIELDS, *NOT_HASHED} - {"subsets"}


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """One record, with what lies beside it: a line per epoch, sample grids by name, what is shown of tables; none for a
    failed run."""

    folder: Path
    history: tuple[Mapping[str, Any], ...]
    samples: Mapping[str, Path]
    views: ViewsFile | None = None
    seeds: int = 1  # above 1: a mean over so many runs, with history and samples of the first

    @property
    def title(self) -> str:
        return f"{self.config.method}, beta {self.config.beta:g}, seed {self.config.seed}"

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.resolved.modalities

    @property
    def seed(self) -> str:
        """Which seed, or over how many it is a mean."""
        return f"seed {self.config.seed}" if self.seeds == 1 else f"{self.seeds:,} seeds"

    @property
    def data_identity(self) -> str:
        """Of the content of the whole data set, whatever its path is called."""
        return self.resolved.data or ""

    @property
    def likelihood_scale(self) -> str:
        """The likelihood scale b: one value, or one per modality where they differ; empty when no modality has one."""
        specs = self.resolved.likelihoods.items()
        scales = {name: _scale(spec["scale"]) for name, spec in specs if "scale" in spec}
        if len(set(scales.values())) <= 1:
            return next(iter(scales.values()), "")
        return ", ".join(f"{name} {scale}" for name, scale in scales.items())


@dataclass(frozen=True)
class Series:
    """Runs of one method, equal except for beta and seed."""

    label: str
    look: Look
    method: str
    runs: tuple[Run, ...]
    quality: str | None  # key of the Fréchet distance that chooses the best beta

    @property
    def is_own(self) -> bool:
        """Whether the method is the reader's own: of a plug-in, or with a set S of their own."""
        return self.method not in METHODS

    @cached_property
    def by_beta(self) -> dict[float, list[Run]]:
        betas = sorted({run.config.beta for run in self.runs})
        return {beta: [run for run in self.runs if run.config.beta == beta] for beta in betas}

    @cached_property
    def best_beta(self) -> float:
        """The beta of the lowest mean distance over seeds; without a distance the one nearest to 1."""
        means = {beta: mean(runs, self.quality) for beta, runs in self.by_beta.items()} if self.quality else {}
        scored = {beta: value for beta, value in means.items() if value is not None}
        return min(scored, key=scored.__getitem__) if scored else min(self.by_beta, key=lambda beta: abs(beta - 1))

    @property
    def best(self) -> list[Run]:
        """The runs at the best beta, one per seed."""
        return self.by_beta[self.best_beta]

    def value(self, key: str) -> float | None:
        """The mean of a metric over the seeds at the best beta, or None."""
        return mean(self.best, key)


@dataclass(frozen=True)
class Group:
    """All finished runs on one data set."""

    title: str
    name: str  # for file names and anchors
    runs: tuple[Run, ...]
    series: tuple[Series, ...]
    compared: keys.Seen | None  # what the most runs have a Fréchet distance of

    @property
    def dataset(self) -> str:
        return self.runs[0].config.dataset

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        return max((run.modalities for run in self.runs), key=len)

    @cached_property
    def varying(self) -> tuple[str, ...]:
        return varying(self.runs)

    @property
    def has_betas(self) -> bool:
        """Whether a method was run at several betas, so that one of them has to be chosen."""
        return any(len(series.by_beta) > 1 for series in self.series)

    @cached_property
    def main(self) -> dict[str, Series]:
        """Method -> its series at the setting that has the most pairs of method and beta: not a side experiment.

        The methods of figure 12 may have a setting of their own.
        """
        plain, official = ([s for s in self.series if (s.method in OFFICIAL) == is_12] for is_12 in (False, True))
        chosen = _at_one_setting(plain) | _at_one_setting(official)
        return {series.method: chosen[series.method] for series in self.series if series.method in chosen}

    @property
    def by_method(self) -> dict[str, Series]:
        """Method -> the series that stands for it: its main one, else the one of the most runs."""
        largest = {s.method: s for s in sorted(self.series, key=lambda s: len(s.runs))}
        return {
            method: self.main.get(method, largest[method]) for method in dict.fromkeys(s.method for s in self.series)
        }

    @property
    def swept(self) -> tuple[Series, ...]:
        """The series with the most betas of their method: side experiments at one beta are left out."""
        most = {s.method: max(len(o.by_beta) for o in self.series if o.method == s.method) for s in self.series}
        return tuple(s for s in self.series if len(s.by_beta) == most[s.method])

    @property
    def in_plane(self) -> tuple[Series, ...]:
        """The swept series that the trade-off plane compares: of figure 12's where another had as many epochs."""
        budgets = {s.runs[0].config.epochs for s in self.swept if s.method not in OFFICIAL}
        return tuple(s for s in self.swept if not budgets or s.runs[0].config.epochs in budgets)

    def value(self, key: str) -> float | None:
        return mean(self.runs, key)

    @cached_property
    def floor(self) -> float | None:
        """The distance between two sets of real data."""
        return self.value(self.compared.key(kind="floor")) if self.compared else None

    @cached_property
    def ceiling(self) -> float | None:
        """The judge's mean accuracy on real data."""
        values = [value for name in self.modalities if (value := self.value(keys.of(keys.CEILING, name))) is not None]
        return sum(values) / len(values) if values else None


def condensed(group: Group) -> Group:
    """A group of more than `MANY` runs with the mean over seeds in place of the runs of a series at a beta.

    If there are still more than `MOST` of these, those of the lowest distance stay.
    """
    if len(group.runs) <= MANY:
        return group
    quality = group.compared.key() if group.compared else ""
    means = [[_mean_run(runs) for runs in series.by_beta.values()] for series in group.series]
    ranked = sorted(chain(*means), key=lambda run: run.metrics.get(quality, np.inf))
    ids = {run.run_id for run in ranked[:MOST]}
    kept = [tuple(run for run in runs if run.run_id in ids) for runs in means]
    shown = tuple(replace(s, runs=runs) for s, runs in zip(group.series, kept, strict=True) if runs)
    return replace(group, series=shown, runs=tuple(run for s in shown for run in s.runs))


def _mean_run(runs: Sequence[Run]) -> Run:
    """The first of these runs of several seeds, with their mean metrics and seconds, but without an interval."""
    known = dict.fromkeys(chain(*(run.metrics for run in runs)))
    without = set(keys.interval(keys.LEAVE_ONE_OUT)) if len(runs) > 1 else set()
    metrics = {key: value for key in known if key not in without and (value := mean(runs, key)) is not None}
    seconds = {part: sum(run.seconds.get(part, 0.0) for run in runs) / len(runs) for part in runs[0].seconds}
    return replace(runs[0], metrics=metrics, seconds=seconds, seeds=len(runs))


def _at_one_setting(series: Iterable[Series]) -> dict[str, Series]:
    by_setting: dict[str, dict[str, Series]] = {}
    for member in sorted(series, key=lambda s: len(s.by_beta)):  # of two that differ in name alone, the larger
        by_setting.setdefault(setting(member.runs[0]), {})[member.method] = member
    sizes = {key: [(len(s.by_beta), len(s.runs)) for s in members.values()] for key, members in by_setting.items()}
    best = max(sizes, key=lambda key: np.sum(sizes[key], axis=0).tolist(), default=None)
    return by_setting[best] if best is not None else {}


def mean(runs: Iterable[Run], key: str) -> float | None:
    values = [run.metrics[key] for run in runs if key in run.metrics]
    return sum(values) / len(values) if values else None


def varying(runs: Iterable[Run]) -> tuple[str, ...]:
    """The settings in which these runs differ, beyond those that every table shows."""
    configs = [run.config.to_dict() for run in runs]
    return tuple(n for n in configs[0] if n not in SHOWN_ANYWAY and len({str(config[n]) for config in configs}) > 1)


def settings(run: Run, names: Iterable[str]) -> str:
    """Name and value of each, except what was left to its default."""
    values = {name: value for name in names if (value := getattr(run.config, name)) not in (None, "auto")}
    shown = {name: _in_short(value) if name == "subsets" else value for name, value in values.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())


def _in_short(terms: str) -> str:
    """Terms of S in JSON as `m0+m1 0.5, m2 0.5`; other text stays: older records name the file that held them."""
    try:
        return ", ".join(f"{'+'.join(term['given'])} {term['weight']:.3g}" for term in schema.parsed(terms))
    except (ValueError, TypeError, LookupError):
        return terms


def _scale(scale: float | None) -> str:
    return "learned" if scale is None else f"{scale:g}"
