"""Figure 12: MMVAE and the unimodal VAE with the published objective, posterior and learned prior, over beta.

The number of samples K is not stated in the paper. Preset `paper` takes the 30 of the published README; `cpu` takes 4,
with two passes over the digits (1,874 steps), and gives each row one modality's samples (`systematic`): the expectation
of the published objective, which decodes the samples of every modality, at a third of the cost.
"""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import POLYMNIST, budget
from polyvae.paper.experiments.fig02_quality_vs_beta import BETAS

SEEDS = 3
BUDGET = {"cpu": {"epochs": 2, "objective_samples": 4, "allocation": "systematic"}, "paper": {}}


def official(preset: str, dataset: str = POLYMNIST) -> RunConfig:
    """The setting of a preset, with the samples of the official objective."""
    return budget(preset, dataset).with_(method="mmvae_official", **BUDGET.get(preset, {}))


def configs(preset: str = "cpu") -> list[RunConfig]:
    """PolyMNIST, both methods, three seeds: 30 runs (`cpu`), 42 (`paper`)."""
    base = official(preset)
    return [
        run
        for seed in range(SEEDS)
        for beta in BETAS[preset]
        for run in (
            base.with_(beta=beta, seed=seed),
            base.with_(beta=beta, seed=seed, method="unimodal_dreg", only="m0"),
        )
    ]
