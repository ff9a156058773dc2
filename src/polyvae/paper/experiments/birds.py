"""Images and captions: a demo on drawn birds, and the paper's figures on Caltech-UCSD Birds (data directory: cub/).

Preset `cpu` trains the conv nets with half the channels for 2,000 steps of 64 rows on whatever pairs are there; `paper`
is the published budget (ResNet, latent 64, Adam 5e-4, batch 256, 150 epochs over captions: 1,500 over images).
`gpu_small` and `gpu` train for 20,000 steps, the latter with whole conv nets and three seeds.
Captions weigh as they are, unless a named preset of `--modality-weights` says otherwise; the record holds the numbers.
"""

from polyvae.config import RunConfig, by_modality
from polyvae.paper.experiments.common import PRESETS, with_methods

JOINT = ("mvae", "mvae_plus", "mmvae", "mopoe")
BETAS = {
    "cpu": (1.0,),
    "gpu_small": (0.03, 1.0, 9.0),
    "gpu": (0.03, 0.3, 1.0, 3.0, 9.0),
    "paper": (3e-4, 3e-3, 0.03, 0.3, 1.0, 3.0, 9.0, 32.0),
}
OF_MOPOE = dict.fromkeys(PRESETS, ()) | {"cpu": (0.03, 9.0)}  # further betas
SEEDS = {"cpu": (0,), "gpu_small": (0,), "gpu": (0, 1, 2), "paper": (0, 1, 2)}
OF_ONE = {"image": "bound,frechet,prdc", "caption": "bound,captions"}  # metrics that one modality has
SHORT = RunConfig(batch_size=64, schedule="cosine")
_CPU = SHORT.with_(dataset="cub", network="conv_half", latent_dim=64, epochs=500, learning_rate=1e-3)
CUB = {  # `cpu`: 4 batches per epoch with the training pairs of ten classes, 2,000 steps
    "cpu": _CPU,
    "gpu_small": _CPU.with_(epochs=5000),
    "gpu": _CPU.with_(network="conv", epochs=5000),
    "paper": RunConfig(dataset="cub", network="image=resnet,caption=conv", latent_dim=64, batch_size=256, epochs=1500),
}
DEMO = SHORT.with_(
    dataset="toy_captions",
    network="mlp",  # learns colours and shapes of these small images in the time that conv_half learns brightness
    beta=0.3,
    latent_dim=48,
    epochs=60,
    learning_rate=2e-3,
    modality_weights="caption=5",
    metrics="bound,coherence,frechet,prdc,diversity,captions",
)


def quick_captions() -> list[RunConfig]:
    """MVAE, MMVAE, MoPoE-VAE on drawn birds, and the unimodal VAEs of image and caption: one beta, one seed."""
    return [*with_methods([DEMO], ("mvae", "mopoe", "mmvae")), *_alone(DEMO)]


def configs(preset: str = "cpu") -> list[RunConfig]:
    """Figures 2, 4c, 7, 9 and 10 on CUB read the same runs.

    Every method at one beta, MoPoE at three (`cpu`, 8 runs); all methods at three betas (`gpu_small`, 18), at five
    betas with three seeds (`gpu`, 90), at eight (`paper`, 144).
    """
    runs = []
    for seed in SEEDS[preset]:
        settings = [CUB[preset].with_(seed=seed, beta=beta) for beta in BETAS[preset]]
        runs += with_methods(settings, JOINT)
        runs += [CUB[preset].with_(seed=seed, method="mopoe", beta=beta) for beta in OF_MOPOE[preset]]
        runs += [run for setting in settings for run in _alone(setting)]
    return runs


def captions_alone() -> list[RunConfig]:
    """The unimodal caption VAE on every caption of the data set, whether its picture is there or not."""
    base = CUB["cpu"].with_(dataset="cub_captions", method="unimodal", only="caption", latent_dim=32)
    return [base.with_(epochs=10, metrics="bound,captions,log_likelihood")]  # every caption once


def _alone(base: RunConfig) -> list[RunConfig]:
    """The unimodal VAEs of image and caption."""
    networks = by_modality(base.network, tuple(OF_ONE), "network")
    runs = with_methods([base.with_(modality_weights="auto")], ["unimodal"], tuple(OF_ONE))
    runs = [run.with_(network=networks[str(run.only)]) for run in runs]
    return runs if base.metrics == "default" else [run.with_(metrics=OF_ONE[str(run.only)]) for run in runs]
