"""The paper's central finding on embedded digits, in minutes: quality against coherence on PolyMNIST, M = 3."""

from polyvae.config import RunConfig

METHODS = ("mvae", "mmvae", "mopoe")


def configs() -> list[RunConfig]:
    """Unimodal on m0, MVAE, MMVAE, MoPoE: one beta, one seed, the same budget for all."""
    common = RunConfig(
        dataset="polymnist",
        modalities=3,
        beta=0.5,
        latent_dim=96,
        batch_size=64,
        epochs=25,
        learning_rate=1.5e-3,
        schedule="cosine",
        precision="bf16",
    )
    multimodal = [common.with_(method=method) for method in METHODS]
    return [*multimodal, common.with_(method="unimodal", only="m0")]


def long_configs() -> list[RunConfig]:
    """The same with MVAE+, three seeds and four times the epochs (about two hours on two cores)."""
    runs = [*configs(), configs()[0].with_(method="mvae_plus")]
    return [config.with_(seed=seed, epochs=100) for config in runs for seed in range(3)]
