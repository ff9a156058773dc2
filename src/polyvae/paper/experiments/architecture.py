"""Appendix C.1: do the findings depend on the networks? Half-width conv against conv (`cpu`), conv against ResNet."""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import BETA, POLYMNIST, budget, seeds_of, variants

METHODS = ("unimodal", "mvae", "mmvae", "mopoe")
NETWORKS = {"cpu": ("conv", "conv_half"), "paper": ("conv", "resnet")}


def configs(preset: str = "cpu") -> list[RunConfig]:
    """PolyMNIST at beta 1: 16 runs (`cpu`, half of them runs of figure 2), 24 (`paper`)."""
    base = budget(preset).with_(beta=BETA[POLYMNIST])
    return [
        run
        for seed in seeds_of(preset)
        for network in NETWORKS[preset]
        for run in variants(base.with_(seed=seed, network=network), METHODS)
    ]
