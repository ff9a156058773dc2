"""Does coherence without labels rank models as the one with labels does? 28 models of different coherence."""

from polyvae.config import RunConfig
from polyvae.paper.experiments.quick import COMMON

TRAINED = {16: (0.03, 0.1), 12: (0.1, 0.5, 2.5), 5: (0.1, 0.5)}  # epochs -> betas


def configs() -> list[RunConfig]:
    """Four methods, well trained and hardly trained (about 45 minutes on two cores)."""
    return [
        COMMON.with_(method=method, beta=beta, epochs=epochs, metrics="coherence,label_free")
        for epochs, betas in TRAINED.items()
        for method in ("mvae_plus", "mvae", "mopoe", "mmvae")
        for beta in betas
    ]
