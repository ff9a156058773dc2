"""Judges: small classifiers that read the digit and the background of any modality's images.

A judge is trained once per generator on endless fresh draws, cached by content, and handed to the metrics frozen.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from polyvae.dataset import MultimodalDataset
from polyvae.datasets import Draws, Sampler
from polyvae.datasets.cache import checksum
from polyvae.errors import InputError
from polyvae.judges.extractors import Judge
from polyvae.judges.trained import (
    CPU,
    WIDTH,
    accuracy_of,
    device_of,
    layer,
    moved,
    optimise,
    place_of,
    trained_once,
)
from polyvae.networks.heads import ChannelsLast

NAME = "digits"
CLASSES = tuple(range(10))
RECIPE: dict[str, Any] = {
    "version": 2,
    "seed": 0,
    "steps": 700,
    "steps_translated": 1100,
    "batch": 256,
    "learning_rate": 3e-3,
    "warm_up": 0.2,
    "weight_decay": 1e-4,
    "shift": 1,
    "background_weight": 0.3,
}


def judge_for(
    sampler: Sampler, test: MultimodalDataset, cache: Path | None = None, device: torch.device = CPU
) -> Judge:
    """The judge of the generator behind `sampler`: from the cache, or trained now (a minute or two) by one process.

    test: its accuracy is measured on at most 2,000 rows of it. cache: a folder (default `files.cache_dir()`).
    device: to train it on.
    Raises InputError when the cached file is damaged or was changed.
    """
    if test.labels is None:
        raise InputError(f"a judge is checked on labelled test data, but data set {test.name!r} has no labels")
    network, digest = trained_once(
        judge_path(sampler, cache, device),
        lambda: _Network(sampler.cells, sampler.offsets),
        lambda network: _train(network, sampler),
        RECIPE,
        device,
    )
    networks = dict.fromkeys(test.names, network)
    accuracy = accuracy_of(networks, CLASSES, test)
    return Judge(networks, CLASSES, NAME, str(RECIPE["version"]), digest, accuracy)


def judge_path(sampler: Sampler, cache: Path | None = None, device: torch.device = CPU) -> Path:
    """Where the judge of this generator is kept, by the content of what it is trained on, the recipe, the device."""
    content: Mapping[str, Any] = {
        "recipe": RECIPE,
        "digits": checksum(sampler.masks, sampler.labels),
        "pictures": [checksum(picture.pixels) for picture in sampler.pictures],
        "travel": sampler.travel,
    }
    return place_of("judges", content, cache, device)


class _Network(nn.Module):
    """A trunk for all modalities, and two heads with a penultimate layer each: digit; background cell and offset."""

    def __init__(self, cells: int, offsets: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(ChannelsLast(), *layer(3, 32, 5), *layer(32, 64), *layer(64, 64, stride=1))
        # A digit is a digit wherever it stands, hence the maximum over positions; the crop is known by all of them.
        anywhere = (nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.digit_features = nn.Sequential(*layer(64, 96, stride=1), *anywhere, nn.Linear(96, WIDTH), nn.ReLU())
        self.background_features = nn.Sequential(nn.Flatten(), nn.Linear(49 * 64, WIDTH), nn.ReLU())
        self.digit = nn.Linear(WIDTH, 10)
        self.cell = nn.Linear(WIDTH, cells)
        self.offset = nn.Linear(WIDTH, offsets) if offsets else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(digit logits, features of both heads)."""
        shared = self.trunk(images)
        of_digit, of_background = self.digit_features(shared), self.background_features(shared)
        return self.digit(of_digit), torch.cat([of_digit, of_background], -1)


def _train(network: _Network, sampler: Sampler) -> Mapping[str, Tensor]:
    """The weights of a judge; the same for the same generator and machine, whatever the number of threads."""
    rng = np.random.default_rng(RECIPE["seed"])
    steps = RECIPE["steps_translated"] if sampler.offsets else RECIPE["steps"]
    device = device_of(network)
    return optimise(network, lambda: _loss(network, sampler.draw(RECIPE["batch"], rng).to(device), rng), RECIPE, steps)


def _loss(network: _Network, drawn: Draws, rng: np.random.Generator) -> Tensor:
    most = RECIPE["shift"]  # the generator has endless crops, but few digits
    down, right = rng.integers(0, 2 * most + 1, 2)
    digit, features = network(moved(drawn.images.float() / 255, most, down, right))
    background = features[:, WIDTH:]
    loss = cross_entropy(network.cell(background), drawn.cell)
    if network.offset is not None and drawn.offset is not None:
        loss = loss + cross_entropy(network.offset(background), drawn.offset)
    return cross_entropy(digit, drawn.digit) + RECIPE["background_weight"] * loss
