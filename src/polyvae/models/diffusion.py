"""Diffusion of codes (batch, modality, latent) with a time for every modality: schedule, network, loss, sampler.

At time t in [0, 1] a code z is alpha(t) z + sigma(t) noise, alpha^2 + sigma^2 = 1 and -log alpha^2 = .1 t + 9.95 t^2
(the variance-preserving schedule of Song et al. 2021, beta from .1 to 20): clean at 0, and hardly there at 1.
A denoiser says what noise it expects in codes; the score is -noise / sigma.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from polyvae import noise
from polyvae.noise import Noise

BETA = 0.1, 20.0
FASTEST = 1000.0  # frequency of the embedding of times
Denoiser = Callable[[Tensor, Tensor], Tensor]  # (codes, times (batch, modality)) -> expected noise, as codes


def lost(time: Tensor) -> Tensor:
    """-log alpha^2 at a time: how much of the log power of the signal is lost."""
    return BETA[0] * time + (BETA[1] - BETA[0]) / 2 * time.square()


def time_of(gone: Tensor) -> Tensor:
    """The time at which `lost` is `gone`."""
    return ((BETA[0] ** 2 + 2 * (BETA[1] - BETA[0]) * gone).sqrt() - BETA[0]) / (BETA[1] - BETA[0])


def shares(time: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) at a time."""
    gone = lost(time)
    return (-gone / 2).exp(), (-torch.expm1(-gone)).sqrt()


def clean_subsets(present: Tensor, share: float, u: Tensor) -> Tensor:
    """What stays clean, Bool (batch, modality): in a `share` of rows one of the proper subsets of what they have.

    All but the empty one are equally likely. present: Bool (batch, modality). u: uniform numbers (batch,).
    """
    count = present.sum(-1)
    index = 1 + (u / max(share, 1e-9) * (2**count - 2)).long()
    place = (present.cumsum(-1) - 1).clamp(min=0)
    is_chosen = (index[:, None] >> place) % 2 == 1
    return is_chosen & present & ((u < share) & (count > 1))[:, None]


def loss(
    expected: Denoiser, codes: Tensor, present: Tensor, time: Tensor, share: float, generator: Noise = None
) -> Tensor:
    """Mean squared error of the noise expected in what is not clean, per dimension: (batch,).

    codes: (batch, modality, latent), 0 where a row lacks the modality (`present`), which then is at time 1: noise, of
    which nothing is asked, and which says nothing about other codes. So the row trains the law of what it has.
    time: of the others, (batch,). share: of rows in which a subset stays clean (`clean_subsets`), at time 0.
    """
    rows, *form = codes.shape
    clean = clean_subsets(present, share, noise.uniform(noise.of_draw(generator, 1), rows, codes))
    times = torch.where(present, time.to(codes.dtype)[:, None], 1.0).masked_fill(clean, 0.0)
    standard = noise.normal(generator, rows, math.prod(form), codes).view_as(codes)
    alpha, sigma = (part[..., None] for part in shares(times))
    error = (expected(alpha * codes + sigma * standard, times) - standard).square().mean(-1)
    asked = present & ~clean
    return torch.where(asked, error, 0.0).sum(-1) / asked.sum(-1)


def sample(expected: Denoiser, codes: Tensor, known: Tensor, standard: Tensor, steps: int) -> Tensor:
    """Codes in which what is not `known`, Bool (batch, modality), is drawn given what is, at time 0.

    standard: Normal(0, 1) numbers, as codes: all that is random. The probability flow is followed from time 1 in
    `steps` turns of (alpha, sigma) by equal angles, each with noise extrapolated from the last two evaluations (DDIM,
    Song et al. 2021, in the second order of Liu et al. 2022).
    """
    start = math.acos(math.exp(-sum(BETA) / 4))
    angles = torch.linspace(start, 0.0, steps + 1, dtype=torch.float64)
    times = time_of(-2 * angles.cos().log()).tolist()
    z, before = torch.where(known[..., None], codes, standard), None
    for time, angle, after in zip(times, angles.tolist(), angles[1:].tolist(), strict=False):
        now = expected(z, torch.full(known.shape, time, dtype=z.dtype, device=z.device).masked_fill(known, 0.0))
        used, before = now if before is None else 1.5 * now - 0.5 * before, now
        clean = (z - math.sin(angle) * used) / math.cos(angle)
        z = torch.where(known[..., None], codes, math.cos(after) * clean + math.sin(after) * used)
    return z


class DenoisingNetwork(nn.Module):
    """A residual perceptron f over all codes and times at once; the noise it expects is sigma z + alpha f(z, t).

    f = 0, as it starts, is right for independent standard Normal codes. (It predicts alpha noise - sigma z: Salimans &
    Ho 2022. What f gets wrong near time 1 does not matter.)
    """

    def __init__(self, modalities: int, latent_dim: int, width: int, depth: int, time_width: int) -> None:
        super().__init__()
        size, count = modalities * latent_dim, (time_width + 1) // 2
        self.register_buffer("frequencies", torch.logspace(0, math.log10(FASTEST), count), persistent=False)
        self.frequencies: Tensor
        self.of_times = nn.Sequential(nn.Linear(2 * count * modalities, width), nn.SiLU(), nn.Linear(width, width))
        self.into, self.blocks = nn.Linear(size, width), nn.ModuleList(_Block(width) for _ in range(depth))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, size))
        for parameter in self.out[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, codes: Tensor, times: Tensor) -> Tensor:
        phases = (times[..., None] * self.frequencies).flatten(1)
        conditions = self.of_times(torch.cat([phases.sin(), phases.cos()], -1))
        hidden = self.into(codes.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, conditions)
        alpha, sigma = (part[..., None] for part in shares(times))
        return sigma * codes + alpha * self.out(hidden).view_as(codes)


class _Block(nn.Module):
    """hidden + second(silu(first(norm(hidden)) + conditions))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden: Tensor, conditions: Tensor) -> Tensor:
        return hidden + self.second(silu(self.first(self.norm(hidden)) + conditions))
