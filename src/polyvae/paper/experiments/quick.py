"""The paper's central finding on embedded digits, in minutes: quality against coherence on PolyMNIST, M = 3.

Tuned for two CPU cores, the same for all methods: the conv net with half the channels (the full one takes three times
as long), 96 latent dimensions, batches of 64, a high step size with a cosine. With beta .5 and Laplace scale .75 the
digits are drawn after 16 epochs (2,992 steps); quality is compared on m0. `polyvae evaluate` adds the other metrics.
"""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import SHORT, grid, with_methods

METHODS = ("mvae", "mopoe", "mmvae", "unimodal")  # the longest first
METRICS = "bound,coherence,frechet,prdc,diversity,linear_probe"
COMMON = SHORT.with_(beta=0.5, latent_dim=96, batch_size=64, epochs=16, metrics=METRICS)


def configs() -> list[RunConfig]:
    """MVAE, MMVAE, MoPoE-VAE, and the unimodal VAE on m0: one beta, one seed, the same budget for all."""
    return with_methods([COMMON], METHODS)


def long_configs() -> list[RunConfig]:
    """The same and MVAE+, with three seeds and six times the epochs (about three hours on two cores)."""
    return with_methods(grid(COMMON.with_(epochs=100), seed=range(3)), ("mvae_plus", *METHODS))
