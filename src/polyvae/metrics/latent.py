"""What the latent space is used for: rate and distortion by subset, active units, collapse, mismatch with the prior."""

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np
import torch
from scipy.special import digamma
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.gaussian import GaussianMixture
from polyvae.keys import joined
from polyvae.metrics.moments import Moments, RunningMoments
from polyvae.metrics.pairs import Subset, known_subsets
from polyvae.metrics.protocol import Options, Trial, measuring
from polyvae.modality import Batch
from polyvae.models.contract import JointModel, Model, NotDefined, joint
from polyvae.noise import RowNoise
from polyvae.objectives.parts import rsample, scores_of
from polyvae.posteriors import Posterior, kl_by_dimension
from polyvae.priors import Centred, StandardNormal

MOST_ROWS = 1000
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016
COLLAPSED_KL = 0.01  # nats per dimension


def latent(model: Model, data: MultimodalDataset, **options: Unpack[Options]) -> dict[str, float]:
    """How the latent space is used, over at most 1,000 rows; <given>: a subset, as in coherence.

    Returns latent/ + distortion/<given>, rate/<given>, elbo/<given>: of predicting everything from the posterior given
    `given`, nats per example (elbo = - distortion - rate, below log p(x)).
    active_units/<given>: dimensions whose posterior mean varies by more than .01 (Burda et al. 2016).
    collapsed/<modality>: dimensions where the posterior given it alone is within .01 nats of the prior, on average;
    only for priors with independent dimensions.
    mismatch/<given>: KL in nats of the Gaussian with the moments of posterior draws from N(0, I): 0 if the prior's
    samples look like posterior ones, as far as means and covariances tell. Defined for that prior, and more
    rows than dimensions.
    Rows count that have every modality, so that subsets are compared on the same rows.
    Raises NotDefined for a model that is not joint, or fewer than 2 complete rows.
    """
    values: dict[str, float] = {}
    with measuring(joint(model), data, **options) as on_all:
        trial = on_all.having(model.names, MOST_ROWS)
        if len(trial.rows) < 2:
            raise NotDefined(f"{len(trial.rows)} test rows have every modality; subsets are compared on at least 2")
        encoded = [(ids, batch, trial.model.encode(batch)) for ids, batch in trial.batches()]  # once for all subsets
        for given in known_subsets(trial.model):
            values |= _of_subset(trial, encoded, given)
    return {f"latent/{key}": value for key, value in values.items()}


def mismatch(drawn: Moments) -> float:
    """KL(N(mean, covariance) || N(0, I)) in nats of the moments of n posterior draws, 0 in expectation for N(0, I).

    What n draws of N(0, I) themselves give in expectation is taken off (82 nats for 1,000 draws in 512 dimensions);
    by noise it may fall a little below 0. E log det of their covariance is that of a Wishart matrix.
    """
    count, dimension = drawn.count, len(drawn.mean)
    _, logdet = np.linalg.slogdet(drawn.covariance)
    divergence = 0.5 * (np.trace(drawn.covariance) + drawn.mean @ drawn.mean - dimension - logdet)
    wishart = digamma((count - 1 - np.arange(dimension)) / 2).sum() + dimension * math.log(2 / (count - 1))
    return float(divergence - 0.5 * (dimension / count - wishart))


def _of_subset(
    trial: Trial[JointModel], encoded: Sequence[tuple[tuple[int, ...], Batch, Posterior]], given: Subset
) -> dict[str, float]:
    """encoded: (rows, their batch, its experts)."""
    label, model, rows = joined(given), trial.model, len(trial.rows)
    prior = model.prior.law() if isinstance(model.prior, Centred) and len(given) == 1 else None
    means, draws = RunningMoments(), RunningMoments()
    sums, kl = torch.zeros(()), torch.zeros(())
    for ids, batch, experts in encoded:
        noise = trial.noise("latent", ids)
        posterior = model.posterior(batch, given, experts)
        sums = sums + _distortion_and_rate(model, batch, posterior, noise)
        means.add(posterior.mean)
        draws.add(posterior.sample(noise))
        if prior is not None:
            each = kl_by_dimension(posterior.components, prior)  # only one has weight: the modality's own expert
            kl = kl + (posterior.weights.T[..., None] * each).double().sum((0, 1))
    distortion, rate = (sums / rows).tolist()
    values = {f"distortion/{label}": distortion, f"rate/{label}": rate, f"elbo/{label}": -distortion - rate}
    variance = means.result().covariance.diagonal()
    values[f"active_units/{label}"] = float((variance > ACTIVE_VARIANCE).sum())
    if prior is not None:
        values[f"collapsed/{label}"] = float((kl / rows < COLLAPSED_KL).sum())
    if isinstance(model.prior, StandardNormal) and rows > model.latent_dim:
        values[f"mismatch/{label}"] = mismatch(draws.result())
    return values


def _distortion_and_rate(model: JointModel, batch: Batch, posterior: GaussianMixture, noise: RowNoise) -> Tensor:
    """Of predicting everything, (2,), in nats, summed over rows: one draw from each component, by its weight."""
    z = rsample(posterior.components, noise)  # (component, batch, latent)
    weights = posterior.weights.T
    each = scores_of(model, batch, dict.fromkeys(model.names, z))
    scores = sum(each.values(), torch.zeros((), device=z.device))
    parts = torch.stack([-weights * scores, weights * model.prior.kl(posterior.components, z)])
    return parts.double().sum((1, 2))
