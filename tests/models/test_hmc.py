"""Hamiltonian Monte Carlo against a law whose moments are known."""

import pytest
import torch

from polyvae.models.hmc import hamiltonian
from polyvae.noise import RowNoise

MEAN = torch.tensor([1.0, -2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.4], [0.4, 1.0]], dtype=torch.float64)


def log_density(z):
    """Up to a constant."""
    return -0.5 * torch.einsum("bi,ij,bj->b", z - MEAN, COVARIANCE.inverse(), z - MEAN)


def test_chains_have_the_moments_of_a_gaussian_wherever_they_start():
    rows = 6000
    start = torch.full((rows, 2), 4.0, dtype=torch.float64)
    z = hamiltonian(
        log_density, start, torch.Generator().manual_seed(0), iterations=40, leapfrog=3, step_size=0.35
    )  # so long a step that some are refused
    error = (COVARIANCE.diagonal() / rows).sqrt()
    assert ((z.mean(0) - MEAN).abs() < 4 * error).all()
    torch.testing.assert_close(z.T.cov(), COVARIANCE, rtol=0, atol=0.07)


def test_a_long_step_is_refused_by_the_right_share():
    """A step from N(0, 1) leaves it as it is; without refusals its variance would be that of the integrator."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    moved = hamiltonian(lambda x: -0.5 * x.square().sum(-1), z, generator, iterations=1, leapfrog=1, step_size=1.5)
    assert (moved == z).double().mean() > 0.1
    assert moved.var().item() == pytest.approx(1, abs=0.04)


def test_proposals_that_are_not_finite_are_refused():
    start = torch.zeros(5, 2, dtype=torch.float64)
    z = hamiltonian(lambda x: torch.where(x[:, 0] == 0, 0 * x[:, 0], torch.nan), start, iterations=3, leapfrog=1)
    assert torch.equal(z, start)


def test_a_row_has_its_own_numbers():
    start = torch.zeros(6, 2, dtype=torch.float64)
    how = {"iterations": 4, "leapfrog": 3, "step_size": 0.2}
    whole = hamiltonian(log_density, start, RowNoise(0, "test", tuple(range(6))), **how)
    part = hamiltonian(log_density, start[:2], RowNoise(0, "test", (3, 1)), **how)
    torch.testing.assert_close(part, whole[[3, 1]])
    assert len(whole.unique(dim=0)) == 6
    assert not whole.requires_grad
