"""What is known of a run that has ended: the content of its `record.json`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from polyvae import files, keys
from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.schema import Count, Rule, Size

Status = Literal["done", "failed"]
Weights = Literal["model", "model_best"]
RunId = Annotated[str, Rule(files.is_plain_name, "the name of a folder, without a path")]


class LikelihoodFacts(TypedDict, total=False):
    """A likelihood; its other settings are its own."""

    kind: str
    scale: float | None


class EnvironmentFacts(TypedDict, total=False):
    """Where a run was made."""

    versions: dict[str, str]
    device: str
    threads: int
    cpu: str


class ResolvedFacts(TypedDict, total=False):
    """`Resolved` in JSON; older records have less."""

    modalities: list[str]
    latent_dim: Size | None
    networks: dict[str, str]
    likelihoods: dict[str, LikelihoodFacts]
    weights: dict[str, float]
    objective: str | None
    samples: Size | None
    allocation: str | None
    prior: str | None
    components: Size | None
    family: dict[str, str] | None
    is_bound: bool | None
    chosen: dict[str, Any]
    tried: dict[str, dict[str, float]]
    train_rows: Count | None
    test_rows: Count | None
    data: str | None
    plugins: dict[str, str]
    parameters: Count | None
    steps: Count | None
    metrics: list[str] | None
    importance_samples: dict[str, Size] | None
    scored_weights: Weights
    best_epoch: int | None
    extractors: dict[str, str]
    judge: dict[str, str] | None
    critic: str | None
    sha256: dict[str, str]


class RecordFile(TypedDict):
    """record.json. The first records lack environment and resolved."""

    run_id: RunId
    config: dict[str, Any]
    status: Status
    error: str | None
    metrics: dict[str, float]
    notes: dict[str, str]
    seconds: dict[str, float]
    environment: NotRequired[EnvironmentFacts]
    resolved: NotRequired[ResolvedFacts]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What the config of a run left open or only names, as it was settled; a default stands for what is not known.

    By modality: networks (names), likelihoods (as JSON), weights (factors in the loss). objective, samples (None: it
    draws one), allocation, prior, components (None: it has none), family of the posteriors. is_bound: whether L_S is a
    bound. chosen: settings that the config left open, so that the data have chosen them. tried: of those that were
    chosen by their errors, setting -> value -> error. data: identity of the content of the whole data set. plugins:
    SHA-256 -> file. parameters: how many the model has. steps: taken in training.
    scored_weights: those that metrics and pictures are of: the last, or the best by validation rows, which are those
    after epoch `best_epoch` of the last stage; -1 stands for those that it begins with.
    Of the scoring: metrics, those scored so far, at which importance_samples K; what they looked through: extractors
    (name -> SHA-256 of the weights), judge (its version and sha256), critic (SHA-256).
    sha256: file -> SHA-256 of the model and its weights, as they were written.
    others: keys of a file that this version does not know; they are kept.
    """

    modalities: tuple[str, ...] = ()
    latent_dim: int | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    likelihoods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    objective: str | None = None
    samples: int | None = None
    allocation: str | None = None
    prior: str | None = None
    components: int | None = None
    family: Mapping[str, str] | None = None
    is_bound: bool | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)
    tried: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    train_rows: int | None = None
    test_rows: int | None = None
    data: str | None = None
    plugins: Mapping[str, str] = field(default_factory=dict)
    parameters: int | None = None
    steps: int | None = None
    scored_weights: Weights = "model"
    best_epoch: int | None = None
    metrics: tuple[str, ...] | None = None
    importance_samples: Mapping[str, int] | None = None
    extractors: Mapping[str, str] = field(default_factory=dict)
    judge: Mapping[str, str] | None = None
    critic: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Resolved":
        known = {f.name for f in fields(Resolved)} - {"others"}
        values: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in content.items() if name in known
        }
        return Resolved(**values, others={name: value for name, value in content.items() if name not in known})

    def to_json(self) -> dict[str, Any]:
        """What is known. None is a value of `samples` and `components` where there are an objective and a prior."""
        content = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "others"}
        empty = vars(Resolved())
        told = {"samples": self.objective is not None, "components": self.prior is not None}
        shown = {name: v for name, v in content.items() if told.get(name, v != empty[name])}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in shown.items()} | dict(self.others)

    def with_scoring(self, later: "Resolved") -> "Resolved":
        """With what a later scoring settled, whose metrics add to those scored so far."""
        return replace(
            self,
            metrics=tuple(dict.fromkeys((*(self.metrics or ()), *(later.metrics or ())))),
            importance_samples={**(self.importance_samples or {}), **(later.importance_samples or {})},
            extractors={**self.extractors, **later.extractors},
            judge=later.judge or self.judge,
            critic=later.critic or self.critic,
        )


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run that has ended: done, with its metrics, or failed, with the reason.

    metrics: by flat key; likelihoods and bounds in nats per example. notes: metric -> why it has no meaning for this
    run, or what to beware of. seconds: of each phase (data, train, evaluate). environment: versions, device, threads,
    CPU. resolved: what the config left open or only names.
    """

    run_id: str
    config: RunConfig
    status: Status
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    resolved: Resolved = Resolved()

    @staticmethod
    def failed(run_id: str, config: RunConfig, error: str, **facts: Any) -> "Record":
        """The record of a run that failed. facts: its other fields, as far as they are known."""
        return Record(run_id=run_id, config=config, status="failed", error=error, **facts)

    @property
    def is_done(self) -> bool:
        return self.status == "done"

    @property
    def is_out_of_memory(self) -> bool:
        """Whether it failed because its device ran out of memory."""
        return (self.error or "").startswith("OutOfMemoryError")

    @property
    def doubts(self) -> dict[str, str]:
        """Notes on data, samples and numbers that are there: what to beware of. Others say why a number is missing.

        A note on a metric is about numbers where the metric has some.
        """
        about = (keys.DATA, keys.SAMPLES, keys.EAGER, keys.CALIBRATION)
        numbers = {beginning for key in self.metrics for beginning in keys.beginnings(key)}
        return {name: text for name, text in self.notes.items() if name in numbers or name.split("/")[0] in about}

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @staticmethod
    def read(path: Path) -> "Record":
        """The record in a file. Settings that it lacks have their defaults, which never change.

        Raises InputError that names the file when it is missing or damaged, or has a setting that is not known.
        """
        content = files.read_object(path, RecordFile)
        try:
            content["config"] = RunConfig.from_dict(content["config"])
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        content["resolved"] = Resolved.from_json(content.get("resolved", {}))
        return Record(**{name: content[name] for name in NAMES if name in content})

    def to_json(self) -> dict[str, Any]:
        """The content of record.json."""
        content = {name: getattr(self, name) for name in NAMES}
        return content | {"config": self.config.to_dict(), "resolved": self.resolved.to_json()}

    def write(self, path: Path) -> None:
        """Writes the record as JSON. Raises RunError when the file cannot be written."""
        files.write_json(path, self.to_json())


NAMES = tuple(f.name for f in fields(Record))


def duration(seconds: float) -> str:
    """Seconds as people say them: 12 s, 5 min, 1.7 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
