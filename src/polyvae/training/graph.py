"""One training step as one CUDA graph: Python launches it whole, in place of a thousand kernels one by one."""

import warnings
from collections.abc import Callable
from collections.abc import Generator as Generated
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Generator, Tensor

WARM_UP = 3  # steps before the capture: they load libraries and make the optimiser's state
WAITS = "called a synchronizing CUDA operation"  # PyTorch's words


class Replayed:
    """A step on CUDA, run as it is three times, then captured and replayed.

    step: indices of rows (batch,) -> numbers to report. It must read nothing from the device, and may depend on its
    rows, on tensors that stay where they are, and on `generator` and torch's own one, whose seeds are set alike before
    each step: on nothing that Python counts. generator: on the device.
    reason: why the step could not be captured and is run as it is; empty as long as nothing prevents it.
    Raises torch.OutOfMemoryError where the device cannot hold the graph.
    """

    def __init__(self, step: Callable[[Tensor], Tensor], generator: Generator) -> None:
        self.step, self.generator = step, generator
        self.own = Generator(generator.device)  # in the graph, in place of torch's, which all graphs would share
        self.left = WARM_UP
        self.graph: torch.cuda.CUDAGraph | None = None
        self.reason = ""

    def __call__(self, rows: Tensor) -> Tensor:
        if self.left:
            self.left -= 1
            return self._warm_up(rows)
        if self.graph is None and not self.reason:
            self._capture(rows)
        if self.graph is None:
            return self.step(rows)
        self.own.manual_seed(self.generator.initial_seed())
        self.rows.copy_(rows)
        self.graph.replay()
        return self.values.clone()

    def _warm_up(self, rows: Tensor) -> Tensor:
        """The last one checks whether the step waits for the device: a capture that fails leaves PyTorch's memory and
        generators in disorder, so none is begun that would fail."""
        with _warned_of_waits(self.left == 0) as waits:
            values = self.step(rows)
        if waits:
            self.reason = f"it waits for the device, first at {Path(waits[0].filename).name}:{waits[0].lineno}"
        return values

    def _capture(self, rows: Tensor) -> None:
        derived, device = self.generator.initial_seed(), rows.device
        graph, self.rows = torch.cuda.CUDAGraph(), rows.clone()
        graph.register_generator_state(self.generator)
        # Of this thread alone, so that no other one disturbs the capture.
        capture = torch.cuda.graph(graph, stream=torch.cuda.current_stream(device), capture_error_mode="thread_local")
        try:
            with _in_place_of_torchs(self.own), capture:
                self.values = self.step(self.rows)
        except RuntimeError as error:
            first = _first(error)
            if isinstance(first, torch.OutOfMemoryError):
                raise first from None
            self.reason = str(first).splitlines()[0]
            self.generator.graphsafe_set_state(Generator(device))  # the old state still counts as being captured
            self.generator.manual_seed(derived)
            torch.manual_seed(derived)
        else:
            self.graph = graph


@contextmanager
def _in_place_of_torchs(own: Generator) -> Generated[None]:
    """Inside, torch's global generator of the device draws from the state of `own`."""
    torchs = torch.cuda.default_generators[own.device.index or 0]
    before = torchs.graphsafe_get_state()
    torchs.graphsafe_set_state(own)
    try:
        yield
    finally:
        torchs.graphsafe_set_state(before)


@contextmanager
def _warned_of_waits(is_asked: bool) -> Generated[list[warnings.WarningMessage]]:
    """Gathers PyTorch's warnings of every wait for the device, if asked to; other warnings are passed on."""
    waits: list[warnings.WarningMessage] = []
    with warnings.catch_warnings(record=is_asked) as seen:
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        if not is_asked:
            yield waits
            return
        warnings.filterwarnings("always", WAITS)
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for warning in seen or ():
        if WAITS in str(warning.message):
            waits.append(warning)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _first(error: BaseException) -> BaseException:
    """What went wrong first: the end of a capture that has failed raises an error of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return error
