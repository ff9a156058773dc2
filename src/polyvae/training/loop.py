"""The training loop: in-memory batches, Adam, one history line per epoch, exact resume at any step."""

import math
import time
from collections.abc import Callable, Sequence, Set
from collections.abc import Generator as Generated
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.optim import Adam

from polyvae import files, waiting
from polyvae.config import RunConfig
from polyvae.dataset import MultimodalDataset
from polyvae.errors import RunError
from polyvae.modality import Batch
from polyvae.noise import Noise, derive_seed
from polyvae.schema import HistoryLine
from polyvae.training import checkpoint, parallel
from polyvae.training.checkpoint import Kept, Progress
from polyvae.training.graph import Replayed

CHECKPOINT_SECONDS = 30.0
FAR = 4  # times as long on an accelerator, whose weights must be copied while others wait
Result = TypeVar("Result")
READ_EVERY = 50  # steps whose losses stay on an accelerator, which would wait for every reading
VALIDATION_ROWS = 1024  # per batch of the validation pass


@dataclass(frozen=True)
class TrainingStage:
    """What is minimised, over which parameters, for how many epochs. `loss` maps (batch, generator) to a `Bound`.

    regularisers: names of what it holds beside a bound, for the history.
    prepare: called with the training rows before the first step, and again when the stage is resumed. warm: called
    before each step with the share of the stage that is done, and with 1 before what is held out is scored.
    """

    name: str
    loss: Callable[[Batch, Noise], Any]
    parameters: Sequence[nn.Parameter]
    epochs: int
    regularisers: tuple[str, ...] = ()
    prepare: Callable[[MultimodalDataset], None] | None = None
    warm: Callable[[float], None] | None = None


def exhausted(taken: Generated[None, None, Result]) -> Result:
    """What a generator returns at its end."""
    while True:
        try:
            next(taken)
        except StopIteration as end:
            return end.value


def steps(
    model: nn.Module,
    stages: Sequence[TrainingStage],
    rows: Callable[[int], MultimodalDataset],
    validation: MultimodalDataset | None,
    config: RunConfig,
    folder: Path,
    *,
    error: Callable[[], float] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_step: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> Generated[None, None, Progress]:
    """Trains `model` in place, resuming from `folder`/checkpoint if there is one; yields after every step.

    So several models can take turns on one accelerator, each on a stream of its own. Closed, it leaves a checkpoint.
    rows: epoch -> training data. on_step: called with (steps done, steps in all, loss), on an accelerator for 50 steps
    at a time, when their losses are read. error: of the model on what is held out; its last stage is best where that is
    least, by default where the loss is.
    Writes history.jsonl; with validation data also model_best.safetensors. Of a team of processes (`parallel`), each
    takes its share of a batch and the first one writes.
    Raises RunError for a non-finite loss, naming epoch, step and term; the last good checkpoint is kept.
    """
    return (yield from _Loop(model, stages, rows, validation, config, folder, error, checkpoint_seconds, on_step).run())


def batches_in(rows: int, batch_size: int) -> int:
    """Batches per epoch. The ragged rest is left out (other rows every epoch), unless it is all there is."""
    return max(1, rows // batch_size)


def learning_rate(config: RunConfig, step: int, total: int) -> float:
    """The step size at `step` of a stage: constant, or a warm-up over 2 % of its steps and a cosine down to zero."""
    if config.schedule == "constant":
        return config.sizes.learning_rate
    warm = max(1, total // 50)
    return config.sizes.learning_rate * min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / total)))


@dataclass
class _Loop:
    """The state of `steps`: its arguments, the place in the run, the optimiser of the stage, the history so far."""

    model: nn.Module
    stages: Sequence[TrainingStage]
    rows: Callable[[int], MultimodalDataset]
    validation: MultimodalDataset | None
    config: RunConfig
    folder: Path
    error: Callable[[], float] | None
    checkpoint_seconds: float
    on_step: Callable[[int, int, float], None]

    def __post_init__(self) -> None:
        first = self.rows(0)
        self.device, self.names = next(self.model.parameters()).device, first.names
        self.team = parallel.team()
        self.count = min(len(first), self.config.sizes.batch_size)
        self.team.check(self.count)
        self.unread: list[Tensor] = []
        self.read_every = 1 if waiting.is_free(self.device) else READ_EVERY
        self.per_epoch = batches_in(len(first), self.config.sizes.batch_size)
        self.total = self.per_epoch * sum(stage.epochs for stage in self.stages)
        self.file = self.folder / "checkpoint" / "state.safetensors"
        self.at, self.kept, self.states = Progress(), Kept({}, {}), {}
        if self.file.is_file():
            self.at, self.kept, self.states = checkpoint.load(self.file, self.model)
        self.history = _kept_history(self.folder / "history.jsonl", self.at)
        self.checkpoint_seconds *= 1 if waiting.is_free(self.device) else FAR
        self.saved_at = time.monotonic()
        self.generator, self.data = Generator(self.device), None
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        if self.stream is not None:  # the model was made on another one
            self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def on_stream(self) -> AbstractContextManager[Any]:
        """Inside, work is queued on this model's own stream, so that several models fill one GPU."""
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def run(self) -> Generated[None, None, Progress]:
        try:
            yield from self._stages()
        finally:  # else what is captured, which holds this object too, keeps its memory until Python looks for cycles
            vars(self).pop("update", None)
            self.model.zero_grad()
        if self.stream is not None:
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
        if self.kept.best and self.team.leads:
            files.write_tensors(self.folder / "model_best.safetensors", self.kept.best)
        return self.at

    def _stages(self) -> Generated[None]:
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            while self.at.stage < len(self.stages):
                stage = self.stages[self.at.stage]
                with self.on_stream():
                    if stage.prepare is not None:
                        stage.prepare(self.rows(0))
                    self.optimiser = _adam(stage.parameters, self.states)
                    if self.validation is not None and self.at.epoch == self.at.batch == 0:
                        average = self._weights() if self.config.average_epochs else {}
                        self.kept = self.kept._replace(average=average)
                        self._validate(stage, self.validation, -1)
                self.data = None  # what is captured belongs to a stage
                with _alone(self.model, stage.parameters):
                    while self.at.epoch < stage.epochs and not self._is_out_of_patience():
                        yield from self._epoch(stage)
                self.at.stage, self.at.epoch, self.states = self.at.stage + 1, 0, {}
                if self.at.stage < len(self.stages):  # another loss: what was best cannot be compared with it
                    self.at.best_loss, self.at.best_epoch, self.kept = None, -1, Kept({}, {})
                with self.on_stream():
                    self._save(None)

    def _epoch(self, stage: TrainingStage) -> Generated[None]:
        at, size = self.at, self.config.sizes.batch_size
        with self.on_stream():
            order, data = self._open(stage), self.rows(self.at.epoch)
        started = time.monotonic() - at.seconds
        for index in range(at.batch, batches_in(len(order), size)):
            with self.on_stream():
                data.expect(order[(index + 1) * size : (index + 2) * size])
                self._step(stage, order[index * size : (index + 1) * size])
                at.batch, at.seconds = index + 1, time.monotonic() - started
                is_due = time.monotonic() - self.saved_at >= self.checkpoint_seconds
                if self.team.tell(is_due):  # what is read and checked may fail, and then must fail in all processes
                    self._read()
                    self._save(self.optimiser)
            try:
                yield
            except GeneratorExit:  # the caller is out of time
                with self.on_stream():
                    self._read()
                    self._save(self.optimiser)
                raise
        with self.on_stream():
            self._close(stage)

    def _open(self, stage: TrainingStage) -> Tensor:
        """The order of this epoch's rows. Where the epoch has other data than the last one, steps are captured anew."""
        data = self.rows(self.at.epoch)
        if data is not self.data:
            self.data, step = data, partial(self._update, stage, data)
            is_captured = self.device.type == "cuda" and self.team.size == 1 and not data.in_files
            self.update = Replayed(step, self.generator) if is_captured else step
        self.model.train()
        _hold(self.model, {*map(id, stage.parameters)})
        shuffle = Generator().manual_seed(derive_seed(self.config.seed, "order", self.at.stage, self.at.epoch))
        return torch.randperm(len(data), generator=shuffle).to(self.device)

    def _close(self, stage: TrainingStage) -> None:
        """Writes the line of the history."""
        self._read()
        at = self.at
        at.eager = self.update.reason if isinstance(self.update, Replayed) else ""
        entry = {"stage": stage.name, "epoch": at.epoch, "step": at.step, **_means(at, self.names, stage.regularisers)}
        entry["seconds"] = round(at.seconds, 3)
        if self.validation is not None:
            with self._averaged():
                entry["validation"] = self._validate(stage, self.validation, at.epoch)
        self.history.append(entry)
        if self.team.leads:
            files.write_json_lines(self.folder / "history.jsonl", self.history)
        at.total_seconds += at.seconds
        at.epoch, at.batch, at.rows, at.sums, at.seconds = at.epoch + 1, 0, 0, [], 0.0

    def _step(self, stage: TrainingStage, rows: Tensor) -> None:
        self._seed(self.generator, "train", self.at.step)
        done, total = self.at.epoch * self.per_epoch + self.at.batch, self.per_epoch * stage.epochs
        _set_rate(self.optimiser, learning_rate(self.config, done, total))
        if stage.warm is not None:
            stage.warm(done / total)
        self.unread.append(self.update(rows))
        self.at.step += 1
        if len(self.unread) == self.read_every:
            self._read()

    def _update(self, stage: TrainingStage, data: MultimodalDataset, rows: Tensor) -> Tensor:
        """One step of the optimiser; what the history needs of it, still on the device."""
        generator = self.team.noise(self.generator, self.count)
        bound = self._bound(stage, data.batch(rows[self.team.share(self.count)]), generator)
        self.optimiser.zero_grad()
        bound.loss.backward()
        self.team.average_gradients(stage.parameters, self.count)
        if self.config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(stage.parameters, self.config.gradient_clip)
        self.optimiser.step()
        return self.team.mean(_values(bound), self.count)

    def _read(self) -> None:
        """Reads the losses of the last steps from the device. Raises RunError for one that is not finite."""
        steps = range(self.at.step - len(self.unread), self.at.step)
        for step, values in zip(steps, torch.stack(self.unread).tolist() if self.unread else (), strict=True):
            if not math.isfinite(values[0]):
                raise RunError(self._diagnosis(step, values))
            _add(self.at, values, self.count)
            self.on_step(step + 1, self.total, values[0])
        self.unread.clear()

    @contextmanager
    def _averaged(self) -> Generated[None]:
        """Inside, the model has the average of its weights, if one is asked for: this epoch's have joined it.

        It is the plain mean of the weights so far, the first ones included, until it is one over as many as asked for.
        """
        if self.config.average_epochs is None:
            yield
            return
        own, share = self._weights(), max(1 / self.config.average_epochs, 1 / (self.at.epoch + 2))
        for name, mean in self.kept.average.items():
            if mean.is_floating_point():
                mean.lerp_(own[name], share)
            else:
                mean.copy_(own[name])
        self.model.load_state_dict(self.kept.average)
        try:
            yield
        finally:  # training goes on from its own weights
            self.model.load_state_dict(own)

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    @torch.no_grad()
    def _validate(self, stage: TrainingStage, data: MultimodalDataset, epoch: int) -> dict[str, Any]:
        """Scores of the weights after this epoch, -1 for those that a stage begins with; they are kept if the best."""
        self.model.eval()
        if stage.warm is not None:
            stage.warm(1.0)
        generator, sums = Generator(self.device), Progress()
        self._seed(generator, "validation")  # the same noise every epoch
        for start in range(0, len(data), VALIDATION_ROWS):
            batch = data.batch(slice(start, start + VALIDATION_ROWS))
            _add(sums, _values(self._bound(stage, batch, generator)).tolist(), len(batch.present))
        entry = _means(sums, self.names, stage.regularisers)
        if self.error is not None and stage is self.stages[-1]:
            entry["error"] = self.error()
        least = entry.get("error", entry["loss"])
        if math.isfinite(least) and (self.at.best_loss is None or least < self.at.best_loss):
            self.at.best_loss, self.at.best_epoch = least, epoch
            self.kept = self.kept._replace(best=self._weights())
        return entry

    def _bound(self, stage: TrainingStage, batch: Batch, generator: Noise) -> Any:
        is_mixed, is_captured = self.config.precision == "bf16", self.stream is not None
        with torch.autocast(self.device.type, torch.bfloat16, is_mixed, cache_enabled=not is_captured):
            return stage.loss(batch, generator)

    def _seed(self, generator: Generator, *purpose: object) -> None:
        seed = derive_seed(self.config.seed, *purpose)
        torch.manual_seed(seed)  # for networks that draw, like dropout
        generator.manual_seed(seed)

    def _is_out_of_patience(self) -> bool:
        at, patience = self.at, self.config.patience
        return patience is not None and at.best_loss is not None and at.epoch - at.best_epoch > patience

    def _save(self, optimiser: Adam | None) -> None:
        checkpoint.check_finite(self.at, self.model)
        if self.team.leads:
            checkpoint.save(self.file, self.at, self.model, optimiser, self.kept)
        self.saved_at = time.monotonic()

    def _diagnosis(self, step: int, values: Sequence[float]) -> str:
        names = [f"log-likelihood of {name}" for name in self.names]
        columns = zip(("KL", *names, *self.stages[self.at.stage].regularisers), values[2:], strict=True)
        terms = [name for name, value in columns if not math.isfinite(value)]
        where, what = f"epoch {self.at.epoch}, step {step}", ", ".join(terms) or "the weighted sum"
        advice = "A smaller --learning-rate, or --gradient-clip, may help"
        return f"loss is not finite at {where}: {what}; the last good checkpoint is kept. {advice}"


@contextmanager
def _alone(model: nn.Module, parameters: Sequence[nn.Parameter]) -> Generated[None]:
    """Inside, no other parameter of the model gets a gradient."""
    model.zero_grad()
    trained = set(map(id, parameters))
    held = [value for value in model.parameters() if value.requires_grad and id(value) not in trained]
    for value in held:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value in held:
            value.requires_grad_(True)


def _hold(module: nn.Module, trained: Set[int]) -> None:
    """Puts whatever has parameters, none of them trained, in the mode in which it is used: no dropout, and statistics
    of batches as they are. trained: ids."""
    for child in module.children():
        own = [id(value) in trained for value in child.parameters()]
        if own and not any(own):
            child.eval()
        else:
            _hold(child, trained)


def _adam(parameters: Sequence[nn.Parameter], states: dict[int, dict[str, Tensor]]) -> Adam:
    device = parameters[0].device
    if device.type == "cuda":  # a captured step finds its step size in a tensor
        optimiser = Adam(parameters, lr=torch.zeros((), device=device), fused=True, capturable=True)
    else:
        optimiser = Adam(parameters, fused=True)
    if states:
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    return optimiser


def _set_rate(optimiser: Adam, rate: float) -> None:
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _values(bound: Any) -> Tensor:
    """Loss, distortion, rate, the log-likelihood of each modality and regularisers, means over the batch."""
    parts = [bound.loss, bound.distortion, bound.rate, *bound.log_likelihood.mean(0), *bound.regularisers.values()]
    return torch.stack([part.detach().double() for part in parts])


def _add(progress: Progress, values: Sequence[float], rows: int) -> None:
    progress.sums = [old + rows * new for old, new in zip(progress.sums or [0.0] * len(values), values, strict=True)]
    progress.rows += rows


def _means(progress: Progress, names: Sequence[str], regularisers: Sequence[str]) -> dict[str, Any]:
    loss, distortion, rate, *others = (total / progress.rows for total in progress.sums)
    log_likelihood = dict(zip(names, others, strict=False))
    means = {"loss": loss, "distortion": distortion, "rate": rate, "log_likelihood": log_likelihood, "kl": rate}
    further = dict(zip(regularisers, others[len(names) :], strict=True))
    return means | ({"regulariser": further} if further else {})


def _kept_history(path: Path, at: Progress) -> list[dict[str, Any]]:
    """The history up to the checkpoint; later lines belong to epochs that are done again."""
    lines = files.read_json_lines(path, HistoryLine)
    return [line for line in lines if line["step"] <= at.step and not (line["step"] == at.step and at.batch)]
