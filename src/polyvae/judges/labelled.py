"""Judges of any labelled data: small classifiers, one per modality, of images and tables of the user's own.

A judge is trained once per data set on its labelled training rows, cached by content, and handed to the metrics
frozen. Its last features are also those of the Fréchet distance `judge`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.judges.extractors import Judge
from polyvae.judges.trained import CPU, WIDTH, Reader, accuracy_of, layer, optimise, place_of, shifted, trained_once
from polyvae.modality import Modality
from polyvae.networks.by_name import ByName
from polyvae.networks.heads import ChannelsLast
from polyvae.networks.reading import reading

NAME = "judge"
RECIPE: dict[str, Any] = {
    "version": 1,
    "seed": 0,
    "steps": 300,
    "least_steps": 100,
    "epochs": 20,
    "batch": 128,
    "learning_rate": 3e-3,
    "warm_up": 0.2,
    "weight_decay": 1e-2,
    "shift": 1,
    "held_out": 0.1,
    "check_every": 20,
}
MOST_PIXELS = 64  # a side; larger images are averaged down, to be read in a minute
LEAST_ROWS = 64
MOST_HELD_OUT = 512


def can_be_judged(train: MultimodalDataset, test: MultimodalDataset) -> bool:
    """Whether the rows of both have labels, of two classes or more, and some modality enough training rows."""
    if train.labels is None or test.labels is None or len(train.labels.unique()) < 2:
        return False
    return bool(_readable(train))


def labelled_judge_for(
    train: MultimodalDataset, test: MultimodalDataset, cache: Path | None = None, device: torch.device = CPU
) -> Judge:
    """The judge of the labels of `train`: from the cache, or trained now (seconds to a minute) by one process.

    It reads every modality that at least 64 rows have, except text. test: its accuracy is measured on at most 2,000
    rows of it. cache: a folder (default `files.cache_dir()`). device: to train it on. Raises InputError for data that
    cannot be judged, or when the cached file is damaged or was changed.
    """
    if not can_be_judged(train, test):
        raise InputError(
            f"a judge needs labels of two classes or more and {LEAST_ROWS} training rows that have an image or table; "
            f"data set {train.name!r} has no such rows"
        )
    rows = train.to("cpu")
    labels = np.asarray(rows.labels)
    classes = tuple(np.unique(labels).tolist())
    target = torch.from_numpy(np.searchsorted(np.array(classes), labels))
    readable = _readable(rows)
    networks, digest = trained_once(
        place_of("judges", [NAME, RECIPE, rows.fingerprint], cache, device),
        lambda: ByName({m.name: _network(m, len(classes)) for m in readable}),
        lambda networks: _train(networks, rows.to(device), target.to(device)),
        RECIPE,
        device=device,
    )
    by_name = {m.name: networks[m.name] for m in readable}
    accuracy = accuracy_of(by_name, classes, test)
    return Judge(by_name, classes, NAME, str(RECIPE["version"]), digest, accuracy)


def _readable(data: MultimodalDataset) -> list[Modality]:
    """The images and tables that enough rows have."""
    counts = data.present.sum(0).tolist()
    return [m for m, n in zip(data.modalities, counts, strict=True) if not m.vocabulary and n >= LEAST_ROWS]


class _Shrink(nn.Module):
    """Images of any size with sides of at most `MOST_PIXELS`."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = (min(side, MOST_PIXELS) for side in images.shape[-2:])
        return adaptive_avg_pool2d(images, (height, width))


def _network(modality: Modality, classes: int) -> Reader:
    """Convolutions and a coarse map of what they see for images; two layers for all else, laid out flat."""
    if modality.is_image:
        channels = modality.shape[0]
        layers = (*layer(channels, 32), *layer(32, 64), *layer(64, 96), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        return Reader(nn.Sequential(_Shrink(), ChannelsLast(), *layers), 96 * 16, classes)
    width = int(np.prod(modality.shape))
    trunk = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(width), nn.Linear(width, 2 * WIDTH), nn.ReLU())
    return Reader(reading(modality, trunk), 2 * WIDTH, classes)


def _train(networks: ByName, data: MultimodalDataset, target: Tensor) -> Mapping[str, Tensor]:
    """Weights of all networks, each trained by itself on the rows that have its modality. target: classes from 0."""
    weights: dict[str, Tensor] = {}
    for name, network in networks.items():
        rows = data.present[:, data.names.index(name)].nonzero().squeeze(1)
        trained = _train_one(network, data.select([name]), target[rows])
        weights |= {f"{name}.{key}": value for key, value in trained.items()}
    return weights


def _train_one(network: nn.Module, data: MultimodalDataset, target: Tensor) -> Mapping[str, Tensor]:
    """data: of one modality, which every row has. With few rows, the best weights on held-out ones are early."""
    generator = Generator().manual_seed(RECIPE["seed"])
    order = torch.randperm(len(data), generator=generator)
    count = min(MOST_HELD_OUT, round(RECIPE["held_out"] * len(data)))
    kept_back, rest = order[:count].to(target.device), order[count:]
    steps = min(RECIPE["steps"], max(RECIPE["least_steps"], RECIPE["epochs"] * len(rest) // RECIPE["batch"]))
    (modality,) = data.modalities

    def read(rows: Tensor) -> Tensor:
        return data.batch(rows).values[modality.name]

    def loss() -> Tensor:
        rows = rest[torch.randint(len(rest), (RECIPE["batch"],), generator=generator)].to(target.device)
        values = shifted(read(rows), RECIPE["shift"], generator) if modality.is_image else read(rows)
        return cross_entropy(network(values)[0], target[rows])

    def held_out() -> Tensor:
        network.eval()
        value = cross_entropy(network(read(kept_back))[0], target[kept_back])
        network.train()
        return value

    return optimise(network, loss, RECIPE, steps, held_out)
