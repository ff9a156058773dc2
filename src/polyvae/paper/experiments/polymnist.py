"""The paper's figures on PolyMNIST and its variants, each a function from a preset to the runs that it is drawn from.

Runs are listed one seed after the other and at decisive settings first, so that any part of a list can be looked at.
"""

from collections.abc import Iterable

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import (
    POLYMNIST,
    PRESETS,
    REPEATED,
    SEEDS,
    TRANSLATED,
    budget,
    grid,
    with_methods,
)
from polyvae.paper.names import FAMILY, OFFICIAL

JOINT = ("mvae", "mmvae", "mopoe")
# The grid of the paper is 3e-4, 3e-3, .3, 1, 3, 9; 3e-2 is added here.
BETAS = dict.fromkeys(PRESETS, (0.3, 1.0, 3.0, 0.03, 9.0)) | {"paper": (0.3, 1.0, 3.0, 0.03, 9.0, 3e-3, 3e-4)}
DECISIVE = (0.03, 0.3, 1.0, 3.0)  # the best betas of all methods, by either axis, lie here
BETA = {POLYMNIST: 1.0, TRANSLATED: 0.3}  # figures 3 and 11: one beta per data set
COUNTS = (5, 2, 4, 3)  # of modalities; three on PolyMNIST are runs of figure 2
MODALITIES = dict.fromkeys(PRESETS, ("m0",)) | {"paper": ("m0", "m1", "m2", "m3", "m4")}  # of the unimodal VAEs
BACKGROUNDS = dict.fromkeys(PRESETS, (0,)) | {"paper": (0, 1, 2, 3, 4)}
NETWORKS = dict.fromkeys(PRESETS, ("conv", "conv_half")) | {"paper": ("conv", "resnet")}
# The samples K of figure 12 are not stated in the paper. `paper` takes the 30 of the published README. `cpu` takes 4,
# two passes over the digits (1,874 steps), and gives each row one modality's samples (`systematic`): the expectation of
# the published objective, which decodes the samples of every modality, at a third of the cost.
FEW_SAMPLES = {"objective_samples": 4, "allocation": "systematic"}
OFFICIAL_BUDGETS = {"cpu": {"epochs": 2, **FEW_SAMPLES}, "gpu_small": FEW_SAMPLES, "gpu": FEW_SAMPLES, "paper": {}}


def quality_vs_beta(preset: str = "cpu") -> list[RunConfig]:
    """Figures 2, 4, 6, 7 and 8, on PolyMNIST and Translated PolyMNIST: quality, coherence, probe, likelihood over beta.

    100 runs (`cpu`), 50 (`gpu_small`), 150 (`gpu`), or 378 with unimodal VAEs of all five modalities (`paper`).
    """
    return [run for seed in SEEDS[preset] for beta in BETAS[preset] for run in _at(preset, beta, seed)]


def more_seeds() -> list[RunConfig]:
    """Seeds 2 to 7 of preset `cpu` at the decisive betas, without which few claims can be decided: 240 runs."""
    return [run for seed in range(2, 8) for beta in DECISIVE for run in _at("cpu", beta, seed)]


def quality_vs_modalities(preset: str = "cpu") -> list[RunConfig]:
    """Figure 3: quality of m0 as the number of modalities grows from 2 to 5. 52 runs (`cpu`), 78 (`paper`)."""
    return _growing(
        budget(preset, dataset).with_(beta=beta, seed=seed, modalities=modalities)
        for seed in SEEDS[preset]
        for modalities in COUNTS
        for dataset, beta in BETA.items()
    )


def repeated_modalities(preset: str = "cpu") -> list[RunConfig]:
    """Figure 11: as figure 3, when all modalities share one background picture.

    One curve per background, mean over modalities: 26 runs (`cpu`, one background), 195 (`paper`, five).
    """
    base = budget(preset, REPEATED).with_(beta=BETA[POLYMNIST])
    return _growing(grid(base, seed=SEEDS[preset], background=BACKGROUNDS[preset], modalities=COUNTS))


def official_mmvae(preset: str = "cpu") -> list[RunConfig]:
    """Figure 12, PolyMNIST: MMVAE and the unimodal VAE with the published objective, posterior and learned prior.

    All betas and three seeds: 30 runs (`cpu`), 42 (`paper`).
    """
    return with_methods(grid(_official(preset, POLYMNIST), seed=range(3), beta=BETAS[preset]), OFFICIAL)


def translated_official(preset: str = "cpu") -> list[RunConfig]:
    """Appendix C.2: on Translated PolyMNIST the official MMVAE's coherence is at chance, even with two modalities.

    Two modalities with three seeds, then five with one: 8 runs.
    """
    base, betas = _official(preset, TRANSLATED), (0.3, 1.0)
    return [*grid(base, modalities=[2], seed=range(3), beta=betas), *grid(base, modalities=[5], seed=[0], beta=betas)]


def elbo_subsampling(preset: str = "cpu") -> list[RunConfig]:
    """Figure 13: MVAE with (MVAE+, eq. 84) and without ELBO sub-sampling, on PolyMNIST.

    Runs of figure 2: 20 (`cpu`), 42 (`paper`).
    """
    pair = ("mvae", "mvae_plus")
    return [run for run in quality_vs_beta(preset) if run.dataset == POLYMNIST and run.method in pair]


def architecture(preset: str = "cpu") -> list[RunConfig]:
    """Appendix C.1: do the findings depend on the networks? Half-width conv against conv (`cpu`), conv against ResNet.

    PolyMNIST at beta 1: 16 runs (`cpu`, half of them runs of figure 2), 24 (`paper`).
    """
    base = budget(preset).with_(beta=BETA[POLYMNIST])
    return with_methods(grid(base, seed=SEEDS[preset], network=NETWORKS[preset]), ("unimodal", *JOINT))


def _at(preset: str, beta: float, seed: int) -> list[RunConfig]:
    settings = [budget(preset, dataset).with_(beta=beta, seed=seed) for dataset in (POLYMNIST, TRANSLATED)]
    return with_methods(settings, FAMILY, MODALITIES[preset])


def _growing(settings: Iterable[RunConfig]) -> list[RunConfig]:
    """The unimodal VAE is one constant: m0 of five modalities, with a fifth of the latent dimensions."""
    return [
        run
        for setting in settings
        for run in with_methods([setting], ("unimodal", *JOINT) if setting.modalities == max(COUNTS) else JOINT)
    ]


def _official(preset: str, dataset: str) -> RunConfig:
    return budget(preset, dataset).with_(method="mmvae_official", **OFFICIAL_BUDGETS[preset])
