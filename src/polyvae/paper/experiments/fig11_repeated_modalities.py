"""Figure 11: quality as the number of modalities grows, when all of them share one background picture."""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import BETA, POLYMNIST, budget, seeds_of, variants
from polyvae.paper.experiments.fig03_quality_vs_modalities import METHODS

BACKGROUNDS = {"cpu": (0,), "paper": (0, 1, 2, 3, 4)}


def configs(preset: str = "cpu") -> list[RunConfig]:
    """One curve a background, mean over modalities: 26 runs (`cpu`, one background), 195 (`paper`, five)."""
    return [
        run
        for seed in seeds_of(preset)
        for background in BACKGROUNDS[preset]
        for modalities in (5, 2, 4, 3)
        for run in variants(
            budget(preset).with_(
                dataset="repeated_polymnist",
                background=background,
                beta=BETA[POLYMNIST],
                seed=seed,
                modalities=modalities,
            ),
            ("unimodal", *METHODS) if modalities == 5 else METHODS,
        )
    ]
