"""Coherence against the number of distinct training tuples, at an equal number of steps, up to endless fresh ones.

PolyMNIST pairs each digit once per modality. How much coherence is owed to few or many distinct pairs?
"""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import BETA, POLYMNIST, budget, seeds_of, variants

METHODS = ("mvae", "mmvae", "mopoe")
TUPLES = (1000, 6000, 60_000)


def configs(preset: str = "cpu") -> list[RunConfig]:
    """24 runs (`cpu`; those with 60,000 tuples are runs of figure 2), 36 (`paper`)."""
    base = budget(preset).with_(beta=BETA[POLYMNIST])
    steps = base.epochs * (max(TUPLES) // base.batch_size)
    sizes = [{"train_size": size, "epochs": round(steps / (size // base.batch_size))} for size in TUPLES]
    sizes[-1] = {}
    return [
        run
        for seed in seeds_of(preset)
        for changes in ({"pairing": "fresh"}, *sizes)
        for run in variants(base.with_(seed=seed, **changes), METHODS)
    ]
