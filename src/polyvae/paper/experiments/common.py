"""What the experiments share: the budget of each preset, and the order of their runs.

`paper` is the published setting (Daunhawer et al. 2022, appendix C.1): ResNet, 512 latent dimensions, batches of 256,
Adam at 5e-4, 500 epochs (1,000 on Translated PolyMNIST), three seeds, five modalities.
`cpu` is a run of about three minutes on one thread: the setting of `quick` on the full MNIST digits, 2,811 steps.
"""

from collections.abc import Iterable, Iterator

from polyvae.config import RunConfig
from polyvae.errors import InputError

POLYMNIST, TRANSLATED = "polymnist", "translated_polymnist"
METRICS = "bound,coherence,frechet,prdc,diversity,linear_probe,latent,log_likelihood"
CPU = RunConfig(
    dataset=POLYMNIST,
    modalities=3,
    network="conv_half",
    latent_dim=96,
    batch_size=64,
    epochs=3,
    learning_rate=3e-3,
    schedule="cosine",
    train_size=60_000,
    test_size=4000,
    metrics=METRICS,
)
PAPER = RunConfig(
    dataset=POLYMNIST, modalities=5, network="resnet", latent_dim=512, batch_size=256, epochs=500, metrics=METRICS
)
BETA = {POLYMNIST: 1.0, TRANSLATED: 0.3}  # figures 3 and 11: one beta a data set


def budget(preset: str, dataset: str = POLYMNIST) -> RunConfig:
    """The setting of a preset on a data set. Raises InputError for an unknown preset."""
    if preset not in ("cpu", "paper"):
        raise InputError(f"no preset {preset!r}; choose cpu or paper")
    base = CPU if preset == "cpu" else PAPER
    longer = {"epochs": 1000} if preset == "paper" and dataset == TRANSLATED else {}
    return base.with_(dataset=dataset, **longer)


def seeds_of(preset: str) -> range:
    return range(2 if preset == "cpu" else 3)


def variants(base: RunConfig, methods: Iterable[str], alone: Iterable[str] = ("m0",)) -> Iterator[RunConfig]:
    """A config a method; the unimodal VAE once for each modality in `alone`."""
    for method in methods:
        yield from (
            [base.with_(method=method, only=name) for name in alone]
            if method == "unimodal"
            else [base.with_(method=method)]
        )
