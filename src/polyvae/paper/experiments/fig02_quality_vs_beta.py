"""Figures 2, 4, 6, 7 and 8: quality, coherence, linear probe and likelihood over beta, on both PolyMNIST variants.

The grid of the paper is 3e-4, 3e-3, .3, 1, 3, 9; 3e-2 is added here. Runs at decisive betas come first, one seed after
the other, so that any part of the list that is finished can be looked at.
"""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import POLYMNIST, TRANSLATED, budget, seeds_of, variants

METHODS = ("unimodal", "mvae", "mvae_plus", "mmvae", "mopoe")
BETAS = {"cpu": (0.3, 1.0, 3.0, 0.03, 9.0), "paper": (0.3, 1.0, 3.0, 0.03, 9.0, 3e-3, 3e-4)}
DECISIVE = (0.03, 0.3, 1.0)  # the best betas of all methods, by either axis, lie here


def configs(preset: str = "cpu") -> list[RunConfig]:
    """All methods over beta: 100 runs (`cpu`), or 378 with unimodal VAEs of all five modalities (`paper`)."""
    return [run for seed in seeds_of(preset) for beta in BETAS[preset] for run in _at(preset, beta, seed)]


def more_seeds() -> list[RunConfig]:
    """Seeds 2 to 4 of preset `cpu` at the decisive betas, without which few claims can be decided: 90 runs."""
    return [run for seed in (2, 3, 4) for beta in DECISIVE for run in _at("cpu", beta, seed)]


def _at(preset: str, beta: float, seed: int) -> list[RunConfig]:
    alone = ("m0",) if preset == "cpu" else ("m0", "m1", "m2", "m3", "m4")
    bases = [budget(preset, dataset).with_(beta=beta, seed=seed) for dataset in (POLYMNIST, TRANSLATED)]
    return [run for base in bases for run in variants(base, METHODS, alone)]
