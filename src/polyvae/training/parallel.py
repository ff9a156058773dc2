"""Data parallel training: the processes of PyTorch's torchrun train one model, each on its share of every batch.

    torchrun --nproc-per-node 2 -m polyvae run --method mopoe

Gradients are averaged, weighted by rows, and random numbers are drawn for the whole batch, so that the loss curve is
that of one process up to rounding (networks with dropout draw other masks). All processes read the same store, the
first alone writes to it; it also scores the model, while the others wait. Methods that compare the rows of
a batch, as those with regularisers do, are trained in one process (`runs.stages`).
"""

import os
from collections.abc import Generator as Generated
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Generator, Tensor, distributed, nn

from polyvae.errors import InputError
from polyvae.noise import Noise, ShareNoise

LONGEST_WAIT = timedelta(days=7)  # for the first process, which trains judges and scores


@dataclass(frozen=True)
class Team:
    """The processes that train one model; this one is number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def check(self, rows: int) -> None:
        """Raises InputError if a batch of `rows` leaves a process with nothing."""
        if rows < self.size:
            raise InputError(f"a batch has {rows} rows for {self.size} processes; make --batch-size larger")

    def share(self, rows: int) -> slice:
        """This process's part of a batch of `rows`."""
        return slice(self.rank * rows // self.size, (self.rank + 1) * rows // self.size)

    def noise(self, generator: Generator, rows: int) -> Noise:
        """This process's part of the numbers for a batch of `rows`."""
        return generator if self.size == 1 else ShareNoise(generator, rows, self.share(rows))

    def mean(self, values: Tensor, rows: int) -> Tensor:
        """The mean over a batch of `rows`, from means over shares."""
        if self.size == 1:
            return values
        part = self.share(rows)
        total = values * ((part.stop - part.start) / rows)
        distributed.all_reduce(total)
        return total

    def average_gradients(self, parameters: Sequence[nn.Parameter], rows: int) -> None:
        """Gradients of the mean loss of a batch of `rows`; a parameter that no process used keeps none."""
        if self.size == 1:
            return
        used = [parameter.grad is not None for parameter in parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        parts = [*(gradient.flatten() for gradient in gradients), gradients[0].new_tensor(used)]
        *means, users = self.mean(torch.cat(parts), rows).split([len(part) for part in parts])
        for parameter, gradient, weight in zip(parameters, means, users.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter).clone() if weight > 0 else None

    def tell(self, go_on: bool = False) -> bool:
        """The first process's value, in all of them; the others wait for it."""
        if self.size == 1:
            return go_on
        word = torch.tensor(int(go_on))
        distributed.broadcast(word, 0)
        return bool(word)


def team() -> Team:
    """The processes that have joined, or this one alone."""
    if not distributed.is_available() or not distributed.is_initialized():
        return Team()
    return Team(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def joined() -> Generated[Team]:
    """Inside, the processes that torchrun has started are a team; without torchrun, this one is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "MASTER_ADDR" not in os.environ:
        yield Team()
        return
    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        yield team()
    finally:
        distributed.destroy_process_group()
