"""Priors made after training, from the codes of training rows: fitted to them, or a mixture without idle clusters.

What a model's own prior misses, a sampler of the aggregated posterior can learn.

Codes drawn from the prior often lie where no training row is encoded, so that decoders make nothing coherent of them
(Tomczak & Welling 2018; published for MVTCAE: joint coherence about 0 from N(0, I), .46 from a Gaussian mixture).
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset, chosen_rows, chunks
from polyvae.errors import InputError
from polyvae.models import JointModel, Model, joint
from polyvae.models.contract import is_sampled
from polyvae.noise import RowNoise, derive_seed
from polyvae.priors import FlowPrior, GaussianMixturePrior, Prior, WithPrivate
from polyvae.priors.pruning import Assigned, fewer

SamplerKind = Literal["gmm", "flow", "pruned"]
MOST_COMPONENTS = 20  # unless asked for
ROWS_PER_DIMENSION = 5  # that a full covariance needs
LARGEST_FIT = 20_000  # rows
ENCODED = 500  # rows at a time
HELD_OUT = 10  # one row in ten
FLOW_STEPS, FLOW_BATCH, FLOW_RATE = 1000, 256, 1e-3


class Fitted(NamedTuple):
    """A sampler, and the mean log density in nats of held-out codes under the model's own prior and under it.

    clusters: how many a mixture keeps of how many, where it is pruned.
    """

    prior: Prior
    before: float
    after: float
    clusters: tuple[int, int] | None = None


@torch.no_grad()
def aggregated_posterior(model: JointModel, data: MultimodalDataset, seed: int = 0) -> Tensor:
    """One draw of the posterior given everything, for up to 20,000 rows: (row, latent).

    Never by a rule that decodes other codes at test time (`PrivateVAE.at_test`): they say nothing of what is encoded.
    """
    parts = chunks(chosen_rows(len(data), LARGEST_FIT, seed), ENCODED)
    name, draws = model.names[0], []
    for ids in parts:
        batch, source = data.batch(list(ids)), RowNoise(seed, "aggregated posterior", ids)
        if is_sampled(model):
            draws.append(model.posterior_codes(batch, model.names, (name,), source)[name])
        else:
            draws.append(model.posterior(batch).sample(source))
    return torch.cat(draws)


def fit_prior(
    model: Model,
    data: MultimodalDataset,
    kind: SamplerKind = "gmm",
    *,
    components: int | None = None,
    beta: float = 1.0,
    seed: int = 0,
) -> Fitted:
    """A Gaussian mixture, or a flow, fitted to the aggregated posterior of training rows; or the model's own, `pruned`.

    components: of the mixture; default: one per 5 rows per dimension, from 1 to 20. Their covariances are
    full where each has 5 rows per dimension, else diagonal: full ones would memorise the rows. Of a
    pruned one: how many are kept; default: the number with the least `penalised_entropy` at this beta.
    The model is left as it is. One row in ten is held out and scored under the model's own prior and under the new one.
    Raises InputError for an unknown kind, for fewer training rows than `components` needs, and for a model without
    clusters to prune; NotDefined for a model without one latent space.
    """
    latent_model, clusters = joint(model), None
    codes = aggregated_posterior(latent_model, data, seed)
    is_test = _is_held_out(len(codes)).to(codes.device)
    train, test = codes[~is_test], codes[is_test]
    if not len(test):
        raise InputError(f"{len(codes)} training rows are too few to fit a prior; there must be at least {HELD_OUT}")
    if kind == "gmm":
        prior: Prior = _mixture(train, components, seed)
    elif kind == "flow":
        prior = _flow(train, seed)
    elif kind == "pruned":
        prior, clusters = _pruned(latent_model, data, components, beta, seed)
    else:
        raise InputError(f"unknown kind {kind!r}; choose gmm, flow or pruned")
    prior = prior.to(codes.device).requires_grad_(False)
    with torch.no_grad():
        before, after = (float(law.log_prob(test).mean()) for law in (latent_model.prior, prior))
    return Fitted(prior, before, after, clusters)


def _is_held_out(count: int) -> Tensor:
    """Bool (row,), of the rows that are encoded."""
    return torch.arange(count) % HELD_OUT == HELD_OUT - 1


def _mixture(codes: Tensor, components: int | None, seed: int) -> GaussianMixturePrior:
    """By expectation maximisation (scikit-learn)."""
    from sklearn.mixture import GaussianMixture  # here: it starts slowly

    rows, width = codes.shape
    if components is None:
        components = min(max(rows // (ROWS_PER_DIMENSION * width), 1), MOST_COMPONENTS)
    if rows < 2 * components:
        raise InputError(f"{rows} rows are too few for {components} components; use at most {rows // 2}")
    full = rows >= ROWS_PER_DIMENSION * width * components
    fitted = GaussianMixture(
        components,
        covariance_type="full" if full else "diag",
        reg_covar=1e-4,
        random_state=derive_seed(seed, "mixture") % 2**32,
    )
    fitted.fit(codes.double().cpu().numpy())
    covariances = np.asarray(fitted.covariances_)
    found = {"logits": np.log(np.asarray(fitted.weights_)), "means": np.asarray(fitted.means_)}
    if full:
        root = np.linalg.cholesky(covariances)
        found |= {"log_scale": np.log(np.diagonal(root, axis1=1, axis2=2)), "lower": np.tril(root, -1)}
    else:
        found["log_scale"] = np.log(covariances) / 2
    prior = GaussianMixturePrior(width, components, full=full)
    prior.load_state_dict({name: torch.from_numpy(value).float() for name, value in found.items()})
    return prior


@torch.no_grad()
def _pruned(
    model: JointModel, data: MultimodalDataset, components: int | None, beta: float, seed: int
) -> tuple[Prior, tuple[int, int]]:
    """The model's own prior with the clusters that its codes use, and how many those are of how many."""
    whole = model.prior
    own = whole.shared if isinstance(whole, WithPrivate) else whole
    if not isinstance(own, GaussianMixturePrior) or len(own.logits) < 2:
        raise InputError("the model's prior has no clusters to prune; train cmvae, or another method with --prior gmm")
    if components is not None and components > (count := len(own.logits)):
        raise InputError(f"the prior has {count} clusters and cannot keep {components}; use at most {count}")
    assigned = _assigned(model, own, data, seed)
    log_weights = own.logits.double().log_softmax(0)
    sets = list(fewer(assigned, components or 2))

    def criterion(clusters: list[int]) -> float:
        log_weight = float(log_weights[clusters].logsumexp(0))
        return assigned.of(clusters).penalised_entropy(log_weight, beta, own.latent_dim)

    kept = sets[-1] if components else min(sets, key=criterion)
    few = own.kept(kept)
    return whole.around(few) if isinstance(whole, WithPrivate) else few, (len(kept), len(own.logits))


def _assigned(model: JointModel, prior: GaussianMixturePrior, data: MultimodalDataset, seed: int) -> Assigned:
    """One draw of each q(z | x_m) of a row, for up to 20,000 rows without those held out."""
    rows = torch.as_tensor(chosen_rows(len(data), LARGEST_FIT, seed))
    chosen = rows[~_is_held_out(len(rows))]
    present = data.present[chosen].T
    log_joint = torch.zeros(*present.shape, len(prior.logits), dtype=torch.float64, device=prior.means.device)
    for m, name in enumerate(model.names):
        for places in chunks(present[m].nonzero()[:, 0].tolist(), ENCODED):
            ids = chosen[list(places)].tolist()
            law = model.posterior(data.batch(ids), (name,))
            z = law.sample(RowNoise(seed, f"clusters of {name}", tuple(ids)))[:, : prior.latent_dim]
            log_joint[m, list(places)] = prior.log_joint(z).double()
    return Assigned(log_joint, present.to(log_joint.device))


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
