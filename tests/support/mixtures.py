"""Mixtures of Gaussians as priors."""

import torch

from polyvae.priors import GaussianMixturePrior


def random_mixture(latent: int, components: int, full: bool) -> GaussianMixturePrior:
    """One whose parameters are all drawn, with seed 0; torch's generator goes on from there."""
    torch.manual_seed(0)
    prior = GaussianMixturePrior(latent, components, full=full)
    for parameter in prior.parameters():
        parameter.data.normal_()
    return prior
