"""What is known of a run that has ended: the content of its `record.json`."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from polyvae import files
from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.schema import Rule

Status = Literal["done", "failed"]
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
    """What a report reads of `Record.resolved`; older records have less."""

    modalities: list[str]
    networks: dict[str, str]
    likelihoods: dict[str, LikelihoodFacts]
    weights: dict[str, float]
    is_bound: bool
    train_rows: int
    test_rows: int
    data: str
    metrics: list[str]
    importance_samples: dict[str, int]
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
class Record:
    """A run that has ended: done, with its metrics, or failed, with the reason.

    metrics: by flat key; likelihoods and bounds in nats per example. notes: metric -> why it has no meaning for this
    run, or what to beware of. seconds: of each phase (data, train, evaluate). environment: versions, device, threads,
    CPU. resolved: what the config left open or only names, such as the networks and the identity of the data.
    """

    run_id: str
    config: RunConfig
    status: Status
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    resolved: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def failed(run_id: str, config: RunConfig, error: str, **facts: Any) -> "Record":
        """The record of a run that failed. facts: its other fields, as far as they are known."""
        return Record(run_id=run_id, config=config, status="failed", error=error, **facts)

    @property
    def is_done(self) -> bool:
        return self.status == "done"

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
        return Record(**{name: content[name] for name in NAMES if name in content})

    def write(self, path: Path) -> None:
        """Writes the record as JSON. Raises RunError when the file cannot be written."""
        content = {name: getattr(self, name) for name in NAMES}
        files.write_json(path, content | {"config": self.config.to_dict()})


NAMES = tuple(f.name for f in fields(Record))
