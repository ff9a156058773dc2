"""One training step as one CUDA graph: Python launches it whole, in place of a thousand kernels one by one."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

WARM_UP = 3  # steps before the capture: they load libraries and make the optimiser's state


class Replayed:
    """A step on CUDA, run as it is three times, then captured and replayed.

    step: indices of rows (batch,) -> numbers to report. It must read nothing from the device, and may depend on its
    rows, on tensors that stay where they are, and on `generator`, whose seed is set before each step: on nothing that
    Python counts. generator: on the device.
    reason: why the step could not be captured and is run as it is; empty as long as nothing speaks against it.
    """

    def __init__(self, step: Callable[[Tensor], Tensor], generator: Generator) -> None:
        self.step, self.generator = step, generator
        self.left = WARM_UP
        self.graph: torch.cuda.CUDAGraph | None = None
        self.reason = ""

    def __call__(self, rows: Tensor) -> Tensor:
        if self.graph is None and not self.left and not self.reason:
            self._capture(rows)
        if self.graph is None:
            self.left = max(0, self.left - 1)
            return self.step(rows)
        self.rows.copy_(rows)
        self.graph.replay()
        return self.values.clone()

    def _capture(self, rows: Tensor) -> None:
        graph, self.rows = torch.cuda.CUDAGraph(), rows.clone()
        graph.register_generator_state(self.generator)
        try:
            # Of this thread alone, so that no other one disturbs the capture.
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
                self.values = self.step(self.rows)
        except RuntimeError as error:
            self.reason = str(error).splitlines()[0]
        else:
            self.graph = graph
