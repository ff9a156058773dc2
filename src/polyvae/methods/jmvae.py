"""JMVAE (Suzuki et al. 2016, JMVAE-kl): an encoder of all modalities, and single ones that follow it.

For a row with modalities X, q_X the encoder that reads them all, maximised:

    E_{q_X} sum_m log p(x_m | z) - beta { KL(q_X || p) + alpha sum_m KL(q_X || q_m) }

alpha counts in units of beta, so that a warm-up of beta is one of both divergences; published runs have beta 1. For
alpha > 0 q_X is biased towards what single modalities know; at alpha 0 the ELBO of q_X is all there is. At test time:
all modalities, q_X; one, q_m; others, A, p^(1 - |A|) prod q_m, exact where each q_m is (`models.fusing`).
"""

from dataclasses import dataclass

from polyvae import subsets
from polyvae.methods.method import Method
from polyvae.models import JOINT_EXPERT
from polyvae.objectives import PRIOR, Divergence, Draw, Q, Terms
from polyvae.options import require


@dataclass(frozen=True)
class Options:
    """alpha: weight of the divergences of q_X from the single encoders, at least 0; the published one is .1."""

    alpha: float = 0.1

    def __post_init__(self) -> None:
        require(self.alpha >= 0, "alpha", self.alpha, "at least 0")


def recipe(names: tuple[str, ...], options: Options) -> Terms:
    whole = Q((JOINT_EXPERT,))
    followed = (Divergence(whole, Q((name,)), options.alpha) for name in names)
    return Terms((Draw(whole),), (Divergence(whole, PRIOR), *followed))


ROWS = (
    Method(
        "jmvae",
        subsets.whole,
        "a joint encoder, and one for each modality that follows it",
        "Suzuki et al. 2016, JMVAE-kl",
        model="joint_encoder",
        recipe=recipe,
        options=Options,
    ),
)
