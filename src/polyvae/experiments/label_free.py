"""Does coherence without labels rank models as the one with labels does? 24 models of different coherence."""

from polyvae.config import RunConfig
from polyvae.experiments.quick import COMMON


def configs() -> list[RunConfig]:
    """Four methods, three betas, two lengths of training (about 25 minutes on two cores)."""
    return [
        COMMON.with_(method=method, beta=beta, epochs=epochs, metrics="coherence,label_free")
        for epochs in (12, 5)
        for method in ("mvae_plus", "mvae", "mopoe", "mmvae")
        for beta in (0.1, 0.5, 2.5)
    ]
