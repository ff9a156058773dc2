"""All methods side by side on PolyMNIST, with equal networks, data and steps."""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import SEEDS, budget, with_methods

METHODS = (
    *("unimodal", "mvae", "mvae_plus", "mmvae", "mopoe"),
    *("mvtcae", "mvtcae_over_messages", "crmvae", "jmvae", "mmjsd", "mmvm"),
)
# Published weights of the KL on PolyMNIST, or those of MultiVae's study of it; others: 1.
PUBLISHED = {"mvae_plus": 2.5, "mopoe": 2.5, "mvtcae": 2.5, "mvtcae_over_messages": 2.5, "crmvae": 0.1}
# At larger ones few methods learn a digit within the steps of `cpu`. CRMVAE has of it twice as much as others.
SHORT = dict.fromkeys(METHODS, 0.3) | {"crmvae": 0.1}
BETAS = {"cpu": SHORT, "gpu_small": SHORT, "gpu": PUBLISHED, "paper": PUBLISHED}


def side_by_side(preset: str = "cpu") -> list[RunConfig]:
    """Every method at one budget: with three modalities at beta .3 (`cpu`, `gpu_small`), else at published betas.

    Variants of published code are left out; docs/methods.md measures them. 22 runs (`cpu`), of which 10 of figure 2.
    """
    settings = [
        (name, budget(preset).with_(beta=BETAS[preset].get(name, 1.0), seed=seed))
        for seed in SEEDS[preset]
        for name in METHODS
    ]
    return [run for name, setting in settings for run in with_methods([setting], [name])]
