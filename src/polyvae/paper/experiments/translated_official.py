"""Appendix C.2: on Translated PolyMNIST the official MMVAE's cross coherence is at chance, even with two modalities."""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import TRANSLATED
from polyvae.paper.experiments.fig12_official_mmvae import SEEDS, official

BETAS = (0.3, 1.0)
COUNTS = {2: SEEDS, 5: 1}  # modalities -> seeds


def configs(preset: str = "cpu") -> list[RunConfig]:
    """Two modalities with three seeds, then five with one: 8 runs."""
    base = official(preset, TRANSLATED)
    return [
        base.with_(modalities=count, seed=seed, beta=beta)
        for count, seeds in COUNTS.items()
        for seed in range(seeds)
        for beta in BETAS
    ]
