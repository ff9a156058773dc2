"""Standard Normal and uniform numbers, from a torch generator or bound to rows, and what is drawn by them."""

import hashlib
from collections.abc import Generator as Generated
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class RowNoise:
    """Noise that belongs to rows: the same numbers whatever the batch size, row order or device.

    seed: of the run. purpose: what the numbers are for; other purposes get independent numbers.
    rows: the ids of the batch's rows. spread: factor on Normal numbers; 0 turns every draw into the mean.
    """

    seed: int
    purpose: str
    rows: tuple[int, ...]
    spread: float = 1.0

    def streams(self, kind: str) -> Generated[np.random.Generator]:
        """For each row in turn a generator at the start of its own stream; take its numbers before the next one."""
        digest = hashlib.sha256(f"{self.seed}/{self.purpose}/{kind}".encode()).digest()
        bits = np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64))
        generator, state = np.random.Generator(bits), bits.state
        for row in self.rows:
            state["state"]["counter"][3] = row  # the lower words are 0 at the start of a stream
            bits.state = state  # far cheaper than one generator per row
            yield generator


@dataclass(frozen=True)
class ShareNoise:
    """The numbers of the rows `share` of a batch of `count` rows, as one draw for the whole batch would give them."""

    generator: Generator
    count: int
    share: slice


@dataclass(frozen=True)
class Mirrored:
    """The numbers of a generator, but Normal ones with the other sign."""

    generator: Generator


Noise = Generator | RowNoise | ShareNoise | Mirrored | None


def opposites(start: int, device: torch.device) -> tuple[Generator, Mirrored]:
    """Two sources of the same numbers, Normal ones of opposite signs. start: the seed of both.

    Where a draw is linear in them, the mean of the two is that of all draws (antithetic variates, Hammersley and Morton
    1956).
    """
    return Generator(device).manual_seed(start), Mirrored(Generator(device).manual_seed(start))


def of_draw(source: Noise, draw: int) -> Noise:
    """`source` for one of several draws: noise that belongs to rows has other numbers in each, streams just go on."""
    return replace(source, purpose=f"{source.purpose}/{draw}") if isinstance(source, RowNoise) else source


def stream_of(source: Noise) -> Generator | None:
    """The generator behind `source`, for numbers that do not belong to rows; None stands for torch's global one."""
    if isinstance(source, ShareNoise | Mirrored):
        return source.generator
    return source if isinstance(source, Generator) else None


def normal(source: Noise, rows: int, width: int, like: Tensor) -> Tensor:
    """Standard Normal (rows, width), on the device and of the type of `like`."""
    if isinstance(source, RowNoise):
        return _normal_by_row(replace(source, spread=1.0), width, like.device, like.dtype) * source.spread
    if isinstance(source, ShareNoise):
        return normal(source.generator, source.count, width, like)[source.share]
    if isinstance(source, Mirrored):
        return -normal(source.generator, rows, width, like)
    return torch.randn(rows, width, generator=source, device=like.device, dtype=like.dtype)


@lru_cache(maxsize=2)  # the posteriors of all subsets of a row share its numbers: drawn and moved to a device once
def _normal_by_row(source: RowNoise, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    drawn = np.empty((len(source.rows), width), np.float32)
    for row, stream in zip(drawn, source.streams("normal"), strict=True):
        stream.standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(drawn).to(device, dtype)


def uniform(source: Noise, rows: int, like: Tensor) -> Tensor:
    """Uniform in [0, 1), (rows,), on the device of `like`, float64."""
    if isinstance(source, RowNoise):
        return _uniform_by_row(source, like.device).clone()
    if isinstance(source, ShareNoise):
        return uniform(source.generator, source.count, like)[source.share]
    return torch.rand(rows, generator=stream_of(source), device=like.device, dtype=torch.float64)


@lru_cache(maxsize=2)
def _uniform_by_row(source: RowNoise, device: torch.device) -> Tensor:
    return torch.tensor([stream.random() for stream in source.streams("uniform")], dtype=torch.float64, device=device)


def index_at(u: Tensor, weights: Tensor) -> Tensor:
    """The index at quantile u of weights (..., index), which need not sum to one: drawn by them if u is uniform.

    u: in [0, 1), of any shape for one distribution, else of a shape that broadcasts with (...).
    """
    cumulative = weights.double().cumsum(-1)
    return (cumulative[..., :-1] <= u[..., None] * cumulative[..., -1:]).sum(-1)


def permutation(count: int, generator: Generator | None, device: torch.device) -> Tensor:
    """A random order of `count` rows, Int64 (count,)."""
    if device.type == "cpu":
        return torch.randperm(count, generator=generator)
    return torch.rand(count, generator=generator, device=device, dtype=torch.float64).argsort()  # fits a CUDA graph


@contextmanager
def drawing_from(source: Noise, device: torch.device) -> Generated[None]:
    """Inside, torch's global generator, which likelihoods draw from, is seeded by `source`, unless that is None."""
    if source is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if isinstance(source, RowNoise):
            torch.manual_seed(derive_seed(source.seed, source.purpose, *source.rows))
        else:
            stream = stream_of(source)
            torch.manual_seed(int(torch.randint(2**62, (), generator=stream, device=device)))
        yield


def derive_seed(seed: int, *purpose: object) -> int:
    """An independent 63-bit seed for every purpose, so that streams are functions of the run's seed."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
