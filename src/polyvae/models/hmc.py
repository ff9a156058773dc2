"""Hamiltonian Monte Carlo (Neal 2011): draws from a density that is known up to a factor."""

from collections.abc import Callable

import torch
from torch import Tensor

from polyvae import noise
from polyvae.noise import Noise, of_draw


def hamiltonian(
    log_density: Callable[[Tensor], Tensor],
    start: Tensor,
    generator: Noise = None,
    *,
    iterations: int = 100,
    leapfrog: int = 10,
    step_size: float = 0.01,
) -> Tensor:
    """The last states of one chain per row, (batch, dimension), each of `iterations` trajectories of `leapfrog` steps.

    log_density: z (batch, dimension) -> (batch,), up to a constant per row; a row may depend on its own z alone.
    start: the first states. A chain stays where it is when a proposal is refused or not finite. Nothing is read from
    the device, and no gradient passes.
    """
    z, (value, slope) = start.detach(), _with_slope(log_density, start)
    for iteration in range(iterations):
        source = of_draw(generator, iteration)
        momentum = noise.normal(source, *z.shape, z)
        u = noise.uniform(source, len(z), z)
        energy = value - 0.5 * momentum.square().sum(-1)
        moved, moved_value, moved_slope = z, value, slope
        for _ in range(leapfrog):
            half = momentum + 0.5 * step_size * moved_slope
            moved = moved + step_size * half
            moved_value, moved_slope = _with_slope(log_density, moved)
            momentum = half + 0.5 * step_size * moved_slope
        gain = moved_value - 0.5 * momentum.square().sum(-1) - energy
        is_taken = u.log() < gain  # False where the gain is NaN
        z, slope = (torch.where(is_taken[:, None], new, old) for new, old in ((moved, z), (moved_slope, slope)))
        value = torch.where(is_taken, moved_value, value)
    return z


def _with_slope(log_density: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        at = z.detach().requires_grad_()
        value = log_density(at)
        (slope,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope
