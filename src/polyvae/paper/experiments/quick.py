"""The paper's central finding on embedded digits, in minutes: quality against coherence on PolyMNIST, M = 3.

Tuned for two CPU cores, the same for all methods: the conv net with half the channels (the full one takes three times
as long), 96 latent dimensions, batches of 64, a high step size with a cosine. With beta .5 and Laplace scale .75 the
digits are drawn after 16 epochs (2,992 steps); quality is compared on m0. `polyvae evaluate` adds the other metrics.
"""

from polyvae.config import RunConfig

COMMON = RunConfig(
    dataset="polymnist",
    modalities=3,
    network="conv_half",
    beta=0.5,
    latent_dim=96,
    batch_size=64,
    epochs=16,
    learning_rate=3e-3,
    schedule="cosine",
    metrics="bound,coherence,frechet,prdc,diversity,linear_probe",
)


def configs() -> list[RunConfig]:
    """MVAE, MMVAE, MoPoE-VAE, and the unimodal VAE on m0: one beta, one seed, the same budget for all."""
    multimodal = [COMMON.with_(method=method) for method in ("mvae", "mopoe", "mmvae")]  # the longest first
    return [*multimodal, COMMON.with_(method="unimodal", only="m0")]


def long_configs() -> list[RunConfig]:
    """The same and MVAE+, with three seeds and six times the epochs (about three hours on two cores)."""
    methods = [COMMON.with_(method="mvae_plus"), *configs()]
    return [config.with_(seed=seed, epochs=100) for seed in range(3) for config in methods]
