"""CoDE-VAE (Mancisidor et al. 2025): a consensus of dependent experts for every subset, and learned subset weights.

For a row with modalities X, A over all non-empty subsets of it, maximised:

    sum_A pi_A { E_{q_A} sum_m log p(x_m | z) - beta KL(q_A || p) } + omega H(pi)

q_A combines its experts as estimates whose errors have correlation rho (`fusions.correlated`), without prior expert. pi
is the softmax of free logits, over the subsets that a row has. For fixed networks the best pi_A is proportional to
exp(L_A / omega). The sum without omega H(pi) is a bound, that with it is not. omega is 1 in the paper and 1000 in the
published code (`official`), which keeps pi near uniform. At test time the posterior of A is q_A.

Systematic allocation draws subsets uniformly, never from pi, with factor pi_A / u_A. The gradient of pi is that of L_A
less a baseline, the mean of L_A over the batch. Without it, the estimate is unbiased and useless: the factors of a
batch sum to its size only on average, and that noise, times the thousands of nats that all L_A share, hides which A is
better. A row's own part of the baseline leaves a bias of one part in the batch size.
"""

from dataclasses import dataclass, replace

import torch

from polyvae import subsets
from polyvae.methods.method import Method, Stage
from polyvae.modality import Batch
from polyvae.models.contract import fused
from polyvae.models.fused import CodeVAE
from polyvae.noise import Noise
from polyvae.objectives import Allocation, Bound
from polyvae.objectives.parts import bound_of, check, decoded_and_scored, subsets_of
from polyvae.options import require
from polyvae.subsets import SubsetMixture


@dataclass(frozen=True)
class Options:
    """rho: correlation of the experts' errors, above -1 / (M - 1) and below 1; .4 is published for MNIST-SVHN-Text.
    omega: factor on the entropy of the subset weights, at least 0."""

    rho: float = 0.4
    omega: float = 1.0

    def __post_init__(self) -> None:
        require(self.omega >= 0, "omega", self.omega, "at least 0")


@dataclass(frozen=True)
class Official(Options):
    """As `Options`."""

    omega: float = 1000.0


def objective(
    model: CodeVAE,
    batch: Batch,
    mixture: SubsetMixture,
    *,
    beta: float = 1.0,
    allocation: Allocation = "systematic",
    weights: torch.Tensor | None = None,
    generator: Noise = None,
) -> Bound:
    """The formula above, negated in `loss`; the parts of the bound are those of the sum without entropy."""
    check(model, batch, mixture, beta)
    given, factor = subsets_of(batch.present, allocation, generator)
    subset_weights, entropy = model.weights(batch.present)
    number = (subsets.number_of(given) - 1).clamp(min=0)  # as the weights count them
    posterior = fused(model, model.encode(batch, given.any(0)), given, ~given.any(-1))
    share = factor * subset_weights.gather(0, number)
    bound = bound_of(*decoded_and_scored(model, batch, posterior, share, generator), beta, weights)
    total = share.sum(0).mean().to(bound.loss.dtype)  # 1 on average, and with "exact" always
    baseline = bound.loss.detach() * (total / total.detach() - 1)
    return bound._replace(loss=bound.loss - baseline - model.weights.omega * entropy.mean())


CODE_VAE = Method(
    "code_vae",
    subsets.every,
    "mopoe with dependent experts and learned weights of the subsets",
    "Mancisidor et al. 2025",
    (Stage(objective=objective),),
    model="correlated",
    options=Options,
    is_bound=False,
    revision=2,  # 1 had no baseline, without which "exact" differs by rounding alone
)
ROWS = (
    CODE_VAE,
    replace(
        CODE_VAE,
        name="code_vae_official",
        summary="code_vae with near uniform weights, as in its code",
        source="Mancisidor et al. 2025, their code",
        allocation="exact",
        options=Official,
    ),
)
