"""Translated PolyMNIST, on which the paper's methods fail, beside the method that does not."""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import SEEDS, TRANSLATED, budget, with_methods

OURS = "aligned_flows"
BESIDE = ("unimodal", "mvtcae_contrast", "mvtcae", "mopoe", "mmvae", "mvae")
BETAS = {"unimodal": (0.1, 0.3)}  # that of the VAEs of ours, and that of the others
MODALITIES = ("m0", "m1", "m2", "m3", "m4")  # of the unimodal VAEs
LONGER = {"epochs": 12, "batch_size": 128, "learning_rate": 2e-3}  # of `cpu`: 5,616 steps, for three stages


def translated_solved(preset: str = "cpu") -> list[RunConfig]:
    """Scale .75, every method with the same networks, rows and steps; ours at beta .1, others at .3, unimodal at both.

    Each code w of ours has as many dimensions as that of a unimodal VAE. Three seeds of ours; one of every method comes
    first. 25 runs (`cpu`), 14 (`gpu_small`), 48 (`gpu`, `paper`).
    """
    base = budget(preset, TRANSLATED).with_(scale=0.75, **(LONGER if preset == "cpu" else {}))
    names = MODALITIES[: base.modalities]
    share = base.latent_dim // len(names)
    first, *seeds = (base.with_(seed=seed) for seed in range(3))
    others = [base.with_(seed=seed) for seed in SEEDS[preset]]
    ours = [setting.with_(method=OURS, beta=0.1, latent_dim=share) for setting in (first, *seeds)]
    runs = [
        run
        for setting in others
        for method in BESIDE
        for beta in BETAS.get(method, (0.3,))
        for run in with_methods([setting.with_(beta=beta)], [method], names)
    ]
    each = len(runs) // len(others)
    return [ours[0], *runs[:each], *ours[1:], *runs[each:]]
