"""Priors fitted after training to the aggregated posterior: what a model's own prior misses, a sampler can learn.

Codes drawn from the prior often lie where no training row is encoded, so that decoders make nothing coherent of them
(Tomczak & Welling 2018; published for MVTCAE: joint coherence about 0 from N(0, I), .46 from a Gaussian mixture).
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset, chosen_rows, chunks
from polyvae.errors import InputError
from polyvae.models import JointModel, Model, code_draws, joint
from polyvae.noise import RowNoise, derive_seed
from polyvae.priors import FlowPrior, GaussianMixturePrior, Prior

SamplerKind = Literal["gmm", "flow"]
COMPONENTS = 20
LARGEST_FIT = 20_000  # rows
ENCODED = 500  # rows at a time
HELD_OUT = 10  # one row in ten
FLOW_STEPS, FLOW_BATCH, FLOW_RATE = 1000, 256, 1e-3


class Fitted(NamedTuple):
    """A sampler, and the mean log density in nats of held-out codes under the model's own prior and under it."""

    prior: Prior
    before: float
    after: float


@torch.no_grad()
def aggregated_posterior(model: JointModel, data: MultimodalDataset, seed: int = 0) -> Tensor:
    """One draw of the posterior given everything, for up to 20,000 rows: (row, latent)."""
    parts = chunks(chosen_rows(len(data), LARGEST_FIT, seed), ENCODED)
    name, draws = model.names[0], []
    for ids in parts:
        codes = code_draws(model, data.batch(list(ids)), model.names, (name,))
        draws.append(codes(RowNoise(seed, "aggregated posterior", ids))[name])
    return torch.cat(draws)


def fit_prior(
    model: Model, data: MultimodalDataset, kind: SamplerKind = "gmm", *, components: int = COMPONENTS, seed: int = 0
) -> Fitted:
    """A Gaussian mixture with full covariances, or a flow, fitted to the aggregated posterior of training rows.

    The model is left as it is. One row in ten is held out and scored under the model's own prior and under the new one.
    Raises InputError for an unknown kind, and for fewer training rows than `components` needs; NotDefined for a model
    without one latent space.
    """
    latent_model = joint(model)
    codes = aggregated_posterior(latent_model, data, seed)
    is_test = torch.arange(len(codes), device=codes.device) % HELD_OUT == HELD_OUT - 1
    train, test = codes[~is_test], codes[is_test]
    if kind == "gmm" and len(train) < 2 * components:
        raise InputError(f"{len(train)} rows are too few for {components} components; use at most {len(train) // 2}")
    if not len(test):
        raise InputError(f"{len(codes)} training rows are too few to fit a prior; there must be at least {HELD_OUT}")
    if kind == "gmm":
        prior: GaussianMixturePrior | FlowPrior = _mixture(train, components, seed)
    elif kind == "flow":
        prior = _flow(train, seed)
    else:
        raise InputError(f"unknown kind {kind!r}; choose gmm or flow")
    prior = prior.to(codes.device).requires_grad_(False)
    with torch.no_grad():
        before, after = (float(law.log_prob(test).mean()) for law in (latent_model.prior, prior))
    return Fitted(prior, before, after)


def _mixture(codes: Tensor, components: int, seed: int) -> GaussianMixturePrior:
    """By expectation maximisation (scikit-learn)."""
    from sklearn.mixture import GaussianMixture  # here: it starts slowly

    fitted = GaussianMixture(
        components, covariance_type="full", reg_covar=1e-4, random_state=derive_seed(seed, "mixture") % 2**32
    )
    fitted.fit(codes.double().cpu().numpy())
    root = torch.from_numpy(np.linalg.cholesky(np.asarray(fitted.covariances_)))
    prior = GaussianMixturePrior(codes.shape[1], components, full=True)
    prior.load_state_dict(
        {
            "logits": torch.from_numpy(fitted.weights_).log().float(),
            "means": torch.from_numpy(fitted.means_).float(),
            "log_scale": root.diagonal(dim1=1, dim2=2).log().float(),
            "lower": root.tril(-1).float(),
        }
    )
    return prior


def _flow(codes: Tensor, seed: int) -> FlowPrior:
    """By maximum likelihood, with a cosine schedule."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "flow"))
        prior = FlowPrior(codes.shape[1]).to(codes.device)
    prior.standardise(codes)
    generator = torch.Generator().manual_seed(derive_seed(seed, "flow batches"))
    optimiser = torch.optim.Adam(prior.parameters(), lr=FLOW_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, FLOW_STEPS)
    for _ in range(FLOW_STEPS):
        rows = torch.randint(len(codes), (FLOW_BATCH,), generator=generator).to(codes.device)
        loss = -prior.log_prob(codes[rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return prior
