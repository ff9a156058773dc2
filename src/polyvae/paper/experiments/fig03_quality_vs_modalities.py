"""Figure 3: quality of m0 as the number of modalities grows from 2 to 5, at one beta a data set.

The unimodal VAE is one constant: m0 of five modalities, with a fifth of the latent dimensions.
"""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import BETA, budget, seeds_of, variants

METHODS = ("mvae", "mmvae", "mopoe")


def configs(preset: str = "cpu") -> list[RunConfig]:
    """M = 5 first, then 2, 4, 3; M = 3 of preset `cpu` are runs of figure 2. 52 runs (`cpu`), 78 (`paper`)."""
    return [
        run
        for seed in seeds_of(preset)
        for modalities in (5, 2, 4, 3)
        for dataset, beta in BETA.items()
        for run in variants(
            budget(preset, dataset).with_(beta=beta, seed=seed, modalities=modalities),
            ("unimodal", *METHODS) if modalities == 5 else METHODS,
        )
    ]
