"""What the experiments share: the budget of each preset, and how lists of runs are made.

`paper` is the published setting (Daunhawer et al. 2022, appendix C.1): ResNet, 512 latent dimensions, batches of 256,
Adam at 5e-4, 500 epochs (1,000 on Translated PolyMNIST), three seeds, five modalities.
`cpu` takes about three minutes per run on one thread: the setting of `quick` on the full MNIST digits, 2,811 steps.
`gpu_small` is `cpu` with 29,984 steps: one seed of figure 2 is sized for a quarter of an hour on one large GPU. `gpu`
has the paper's modalities, latent dimensions and batches with conv nets, for 6,552 steps.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from polyvae.config import RunConfig
from polyvae.paper.names import ALONE

POLYMNIST, TRANSLATED, REPEATED = "polymnist", "translated_polymnist", "repeated_polymnist"
PRESETS = ("cpu", "gpu_small", "gpu", "paper")
SEEDS = {"cpu": range(2), "gpu_small": range(1), "gpu": range(3), "paper": range(3)}
METRICS = "bound,coherence,frechet,prdc,diversity,linear_probe,latent,log_likelihood"
SHORT = RunConfig(dataset=POLYMNIST, modalities=3, network="conv_half", learning_rate=3e-3, schedule="cosine")
_CPU = SHORT.with_(latent_dim=96, batch_size=64, epochs=3, train_size=60_000, test_size=4000, metrics=METRICS)
BUDGETS = {
    "cpu": _CPU,
    "gpu_small": _CPU.with_(epochs=32),
    "gpu": _CPU.with_(modalities=5, network="conv", latent_dim=512, batch_size=256, epochs=28, learning_rate=1e-3),
    "paper": RunConfig(
        dataset=POLYMNIST, modalities=5, network="resnet", latent_dim=512, batch_size=256, epochs=500, metrics=METRICS
    ),
}


def budget(preset: str, dataset: str = POLYMNIST) -> RunConfig:
    """The setting of a preset on a data set."""
    longer = {"epochs": 1000} if preset == "paper" and dataset == TRANSLATED else {}
    return BUDGETS[preset].with_(dataset=dataset, **longer)


def grid(base: RunConfig, **axes: Iterable[Any]) -> list[RunConfig]:
    """Every combination of the values of some fields; the last field varies fastest."""
    return [base.with_(**dict(zip(axes, values, strict=True))) for values in product(*axes.values())]


def with_methods(
    settings: Iterable[RunConfig], methods: Sequence[str], alone: Sequence[str] = ("m0",)
) -> list[RunConfig]:
    """Each setting with every method; methods of one modality once for each modality in `alone`."""
    return [
        setting.with_(method=method, only=only)
        for setting in settings
        for method in methods
        for only in (alone if method in ALONE else (None,))
    ]
