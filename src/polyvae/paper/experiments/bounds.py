"""What the objective itself changes: all of them side by side on PolyMNIST, the rest of figure 2's setting the same.

Normal posteriors, N(0, I), beta 1, four samples. The runs of `elbo` are runs of figure 2.
"""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import budget, seeds_of

OBJECTIVES = ("elbo", "elbo_tight", "iwae", "dreg", "iwae_looser", "dreg_looser", "dreg_looser_official")
SAMPLES = 4


def configs(preset: str = "cpu") -> list[RunConfig]:
    """MMVAE and MoPoE-VAE with every objective: 28 runs (`cpu`), 42 (`paper`)."""
    return [
        with_objective(budget(preset).with_(beta=1.0, seed=seed, method=method), name)
        for seed in seeds_of(preset)
        for name in OBJECTIVES
        for method in ("mmvae", "mopoe")
    ]


def with_objective(config: RunConfig, name: str) -> RunConfig:
    """The same run with another objective; `elbo` is what the methods do anyway."""
    return config if name == "elbo" else config.with_(objective=name, objective_samples=SAMPLES)
