"""What the latent space is used for: rate and distortion by subset, active units, collapse, mismatch with the prior."""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from scipy.special import digamma

from polyvae import objectives, subsets
from polyvae.dataset import MultimodalDataset
from polyvae.gaussian import Gaussian
from polyvae.metrics.moments import Moments, RunningMoments
from polyvae.metrics.protocol import (
    GenerativeModel,
    NotDefined,
    Subset,
    check_names,
    chosen_rows,
    chunks,
    given_subsets,
    rows_with,
    scoring,
)
from polyvae.model import MultimodalVAE
from polyvae.noise import RowNoise

MOST_ROWS = 1000
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016
COLLAPSED_KL = 0.01  # nats a dimension


def latent(
    model: GenerativeModel,
    data: MultimodalDataset,
    *,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch_size: int = 500,
) -> dict[str, float]:
    """How the latent space is used, over at most 1,000 of `rows` (default all); <given>: a subset, as in coherence.

    Returns latent/ + distortion/<given>, rate/<given>, elbo/<given>: of predicting everything from the posterior given
    `given`, nats per example (elbo = - distortion - rate, below log p(x)).
    active_units/<given>: dimensions whose posterior mean varies by more than .01 (Burda et al. 2016).
    collapsed/<modality>: dimensions where the posterior given it alone is within .01 nats of the prior, on average.
    mismatch/<given>: KL in nats of the Gaussian with the moments of posterior draws from N(0, I): 0 if the prior's
    samples look like posterior ones, as far as means and covariances tell. Defined for more rows than dimensions.
    Rows count that have every modality, so that subsets are compared on the same rows.
    Raises NotDefined for a model without a joint posterior, or fewer than 2 complete rows.
    """
    if not isinstance(model, MultimodalVAE):
        raise NotDefined("the model has no joint posterior")
    complete = rows_with(data, check_names(model, data, rows), model.names)
    if len(complete) < 2:
        raise NotDefined(f"{len(complete)} test rows have every modality; subsets are compared on at least 2")
    kept = [complete[i] for i in chosen_rows(len(complete), MOST_ROWS, seed)]
    found: dict[str, float] = {}
    with scoring(model):
        for given in given_subsets(model.names):
            found |= _of_subset(model, data, given, kept, batch_size, seed)
    return {f"latent/{key}": value for key, value in found.items()}


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
    model: MultimodalVAE, data: MultimodalDataset, given: Subset, rows: Sequence[int], batch_size: int, seed: int
) -> dict[str, float]:
    label = "+".join(given)
    mixture = subsets.conditional(model.mixture, given)
    means, draws = RunningMoments(), RunningMoments()
    sums, kl = np.zeros(2), torch.zeros(model.latent_dim, dtype=torch.float64)
    for ids in chunks(rows, batch_size):
        batch = data.batch(list(ids))
        noise = RowNoise(seed, "latent", ids)
        bound = objectives.elbo(cast(objectives.JointModel, model), batch, mixture, allocation="exact", generator=noise)
        sums += len(ids) * np.array([float(bound.distortion), float(bound.rate)])
        posterior = model.posterior(batch, given)
        means.add(posterior.mean.cpu().numpy())
        draws.add(posterior.sample(noise).cpu().numpy())
        if len(given) == 1:
            kl += _kl_by_dimension(posterior.component(0)).sum(0).cpu()
    distortion, rate = (sums / len(rows)).tolist()
    found = {f"distortion/{label}": distortion, f"rate/{label}": rate, f"elbo/{label}": -distortion - rate}
    variance = means.result().covariance.diagonal()
    found[f"active_units/{label}"] = float((variance > ACTIVE_VARIANCE).sum())
    if len(given) == 1:
        found[f"collapsed/{label}"] = float((kl / len(rows) < COLLAPSED_KL).sum())
    if len(rows) > model.latent_dim:
        found[f"mismatch/{label}"] = mismatch(draws.result())
    return found


def _kl_by_dimension(posterior: Gaussian) -> torch.Tensor:
    """KL from N(0, 1) of each latent dimension: (row, latent)."""
    mean, logvar = posterior.mean.double(), posterior.logvar.double()
    return 0.5 * (logvar.exp() + mean.square() - 1 - logvar)
