"""Images and captions: a demo on drawn birds, and the paper's figures on Caltech-UCSD Birds (data directory: cub/).

Preset `cpu` trains the conv nets with half the channels for 2,000 steps of 64 rows on whatever pairs are there; `paper`
is the published budget (ResNet, latent 64, Adam 5e-4, batch 256, 150 epochs over captions: 1,500 over images).
Captions weigh as they are, unless a named preset of `--modality-weights` says otherwise; the record holds the numbers.
"""

from polyvae.config import RunConfig, by_modality
from polyvae.errors import InputError

METHODS = ("mvae", "mvae_plus", "mmvae", "mopoe")
BETAS = {"cpu": (1.0,), "paper": (3e-4, 3e-3, 0.03, 0.3, 1.0, 3.0, 9.0, 32.0)}
OF_MOPOE = {"cpu": (0.03, 9.0), "paper": ()}
SEEDS = {"cpu": (0,), "paper": (0, 1, 2)}
OF_ONE = {"image": "bound,frechet,prdc", "caption": "bound,captions"}  # metrics that one modality has
CUB = {
    "cpu": RunConfig(
        dataset="cub",
        network="conv_half",
        latent_dim=64,
        batch_size=64,
        epochs=500,  # 4 batches an epoch with the training pairs of ten classes: 2,000 steps
        learning_rate=1e-3,
        schedule="cosine",
    ),
    "paper": RunConfig(
        dataset="cub",
        network="image=resnet,caption=conv",
        latent_dim=64,
        batch_size=256,
        epochs=1500,
    ),
}
DEMO = RunConfig(
    dataset="toy_captions",
    network="mlp",  # learns colours and shapes of these small images in the time that conv_half learns brightness
    beta=0.3,
    latent_dim=48,
    batch_size=64,
    epochs=60,
    learning_rate=2e-3,
    schedule="cosine",
    modality_weights="caption=5",
    metrics="bound,coherence,frechet,prdc,diversity,captions",
)


def quick_captions() -> list[RunConfig]:
    """MVAE, MMVAE, MoPoE-VAE on drawn birds, and the unimodal VAEs of image and caption: one beta, one seed."""
    multimodal = [DEMO.with_(method=method) for method in ("mvae", "mopoe", "mmvae")]
    return [*multimodal, *(_alone(DEMO, name) for name in ("image", "caption"))]


def configs(preset: str = "cpu") -> list[RunConfig]:
    """Figures 2, 4c, 7, 9 and 10 on CUB read the same runs: every method at one beta, MoPoE at three (`cpu`); every
    method at eight betas and three seeds (`paper`). Raises InputError for an unknown preset."""
    if preset not in CUB:
        raise InputError(f"unknown preset {preset!r}; choose {' or '.join(CUB)}")
    return [run for seed in SEEDS[preset] for run in _of_seed(preset, seed)]


def captions_alone() -> list[RunConfig]:
    """The unimodal caption VAE on every caption of the data set, whether its picture is there or not."""
    base = CUB["cpu"].with_(dataset="cub_captions", method="unimodal", only="caption", latent_dim=32)
    return [base.with_(epochs=10, metrics="bound,captions,log_likelihood")]  # every caption once


def _of_seed(preset: str, seed: int) -> list[RunConfig]:
    base = CUB[preset].with_(seed=seed)
    found = [base.with_(method=method, beta=beta) for beta in BETAS[preset] for method in METHODS]
    found += [base.with_(method="mopoe", beta=beta) for beta in OF_MOPOE[preset]]
    alone = [_alone(base, name).with_(beta=beta) for beta in BETAS[preset] for name in ("image", "caption")]
    return [*found, *alone]


def _alone(base: RunConfig, name: str) -> RunConfig:
    network = by_modality(base.network, ("image", "caption"), "network")[name]
    found = base.with_(method="unimodal", only=name, network=network, modality_weights="auto")
    return found if base.metrics == "default" else found.with_(metrics=OF_ONE[name])
