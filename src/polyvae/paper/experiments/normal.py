"""Figures of the paper with a Normal likelihood, with which models learn in a fraction of the steps (docs/budget.md).

The best picture of a Laplace likelihood is the median of a pixel, which shows no digit until a code makes ink likelier
than not; that of a Normal likelihood is the mean, which gains from the first bit on. All else is as in preset `cpu`,
except a larger step size and two epochs instead of three: 1,874 steps.
"""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import POLYMNIST, REPEATED, budget, grid, with_methods
from polyvae.paper.experiments.polymnist import COUNTS, FEW_SAMPLES, JOINT
from polyvae.paper.experiments.solved import LONGER, SETTING, translated_solved
from polyvae.paper.names import OFFICIAL

SEEDS = range(3)
MORE_SEEDS = range(5)  # where distances, or their slopes, differ much between seeds
SHORT = {
    **{key: SETTING[key] for key in ("beta", "likelihood", "likelihood_scale")},
    "learning_rate": LONGER["learning_rate"],
    "epochs": 2,
    "metrics": "coherence,frechet,diversity,linear_probe",
}


def quality_vs_modalities() -> list[RunConfig]:
    """Figure 3: quality as the number of modalities grows from 2 to 5, on PolyMNIST, and on Translated PolyMNIST at the
    setting of `translated_solved`, of which three modalities are runs. 72 runs."""
    settings = (budget("cpu", POLYMNIST).with_(**SHORT), _moved())
    return [run for base in settings for run in with_methods(grid(base, seed=SEEDS, modalities=COUNTS), JOINT)]


def repeated_modalities() -> list[RunConfig]:
    """Figure 11: the same of modalities of one kind. 60 runs."""
    base = budget("cpu", REPEATED).with_(background=0, **SHORT)
    return with_methods(grid(base, seed=MORE_SEEDS, modalities=COUNTS), JOINT)


def official_mmvae() -> list[RunConfig]:
    """Figure 12: the published MMVAE beside the unimodal VAE of its objective on PolyMNIST, and alone on two modalities
    of Translated PolyMNIST, there at the setting of `translated_solved`. 13 runs."""
    plain = budget("cpu", POLYMNIST).with_(**SHORT, **FEW_SAMPLES)
    two = _moved().with_(method="mmvae_official", modalities=2, **FEW_SAMPLES)
    return [*with_methods(grid(plain, seed=MORE_SEEDS), OFFICIAL), *grid(two, seed=SEEDS)]


def _moved() -> RunConfig:
    """A run of the paper's methods on Translated PolyMNIST that have learned to draw digits."""
    return next(config for config in translated_solved("cpu") if config.method in JOINT)
