"""Judges: small classifiers that read the digit and the background of any modality's images.

A judge is trained once per generator on endless fresh draws, cached by content, and handed to the metrics frozen.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from polyvae import files
from polyvae.dataset import MultimodalDataset, chosen_rows, chunks
from polyvae.datasets import Sampler
from polyvae.datasets.cache import checksum
from polyvae.errors import InputError
from polyvae.judges.extractors import Judge
from polyvae.networks.heads import ChannelsLast
from polyvae.noise import on_threads

NAME = "digits"
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
WIDTH = 64
CEILING_ROWS = 2000
THREADS = min(2, torch.get_num_threads())  # on a busy machine two wait for each other: OMP_NUM_THREADS=1 says so


def judge_for(sampler: Sampler, test: MultimodalDataset, cache: Path | None = None) -> Judge:
    """The judge of the generator behind `sampler`: from the cache, or trained now (about a minute) by one process.

    test: its accuracy is measured on at most 2,000 rows of it. cache: a folder (default `files.cache_dir()`).
    Raises InputError when the cached file is damaged or was changed.
    """
    if test.labels is None:
        raise InputError(f"a judge is checked on labelled test data, but data set {test.name!r} has no labels")
    path = judge_path(sampler, cache)
    files.make_once(path, lambda: _made(sampler))
    network, digest = _load(path, sampler)
    return Judge(network, NAME, str(RECIPE["version"]), digest, _accuracy(network, test, test.labels))


def judge_path(sampler: Sampler, cache: Path | None = None) -> Path:
    """Where the judge of this generator is kept, by the content of what it is trained on and the recipe."""
    content: Mapping[str, Any] = {
        "recipe": RECIPE,
        "digits": checksum(sampler.masks, sampler.labels),
        "pictures": [checksum(picture.pixels) for picture in sampler.pictures],
        "travel": sampler.travel,
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (cache or files.cache_dir()) / "judges" / f"{key}.safetensors"


class _Network(nn.Module):
    """A trunk for all modalities, and two heads with a penultimate layer each: digit; background cell and offset."""

    def __init__(self, cells: int, offsets: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            ChannelsLast(),
            *_layer(3, 32, 5, 2),
            *_layer(32, 64, 3, 2),
            *_layer(64, 64, 3, 1),
        )
        # A digit is a digit wherever it stands, hence the maximum over positions; the crop is known by all of them.
        anywhere = (nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.digit_features = nn.Sequential(*_layer(64, 96, 3, 1), *anywhere, nn.Linear(96, WIDTH), nn.ReLU())
        self.background_features = nn.Sequential(nn.Flatten(), nn.Linear(49 * 64, WIDTH), nn.ReLU())
        self.digit = nn.Linear(WIDTH, 10)
        self.cell = nn.Linear(WIDTH, cells)
        self.offset = nn.Linear(WIDTH, offsets) if offsets else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(digit logits, features of both heads)."""
        shared = self.trunk(images)
        of_digit, of_background = self.digit_features(shared), self.background_features(shared)
        return self.digit(of_digit), torch.cat([of_digit, of_background], -1)


def _layer(inward: int, outward: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inward, outward, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outward), nn.ReLU()


def _fresh(sampler: Sampler) -> _Network:
    """An untrained network; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RECIPE["seed"])
        return _Network(sampler.cells, sampler.offsets)


def _made(sampler: Sampler) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """What the file holds: weights, and their digest beside the recipe."""
    with on_threads(THREADS):
        weights = _train(sampler)
    return weights, {"sha256": files.digest(weights), "recipe": RECIPE}


def _train(sampler: Sampler) -> dict[str, Tensor]:
    """The weights of a judge; the same for the same generator and machine, whatever the number of threads."""
    rng = np.random.default_rng(RECIPE["seed"])
    steps = RECIPE["steps_translated"] if sampler.offsets else RECIPE["steps"]
    network = _fresh(sampler)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=RECIPE["weight_decay"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RECIPE["learning_rate"], total_steps=steps, pct_start=RECIPE["warm_up"]
    )
    for _ in range(steps):
        loss = _loss(network, sampler, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.state_dict()


def _loss(network: _Network, sampler: Sampler, rng: np.random.Generator) -> Tensor:
    drawn = sampler.draw(RECIPE["batch"], rng)
    digit, features = network(_shifted(drawn.images.float() / 255, rng))
    background = features[:, WIDTH:]
    loss = cross_entropy(network.cell(background), drawn.cell)
    if network.offset is not None and drawn.offset is not None:
        loss = loss + cross_entropy(network.offset(background), drawn.offset)
    return cross_entropy(digit, drawn.digit) + RECIPE["background_weight"] * loss


def _shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The whole batch moved by up to `shift` pixels each way: the generator has endless crops, but few digits."""
    most = RECIPE["shift"]
    height, width = images.shape[-2:]
    down, right = rng.integers(0, 2 * most + 1, 2)
    return pad(images, (most,) * 4, mode="replicate")[:, :, down : down + height, right : right + width]


def _load(path: Path, sampler: Sampler) -> tuple[nn.Module, str]:
    weights, meta = files.read_tensors(path)
    digest = files.digest(weights)
    network = _fresh(sampler)
    if meta.get("sha256") != digest or {k: v.shape for k, v in weights.items()} != {
        k: v.shape for k, v in network.state_dict().items()
    }:
        raise InputError(f"{path} was changed since the judge was trained; delete it, then run the same command again")
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False), digest


def _accuracy(network: nn.Module, test: MultimodalDataset, labels: Tensor) -> dict[str, float]:
    """Share of real test images of each modality whose digit is read correctly."""
    right: dict[str, list[bool]] = {name: [] for name in test.names}
    for ids in chunks(chosen_rows(len(test), CEILING_ROWS, RECIPE["seed"]), RECIPE["batch"]):
        batch = test.batch(list(ids)).to("cpu")
        label = labels[list(ids)].cpu()
        for column, (name, hits) in enumerate(right.items()):
            seen = batch.present[:, column]
            with torch.no_grad():
                digit = network(batch.values[name][seen])[0].argmax(-1)
            hits += (digit == label[seen]).tolist()
    return {name: float(np.mean(hits)) for name, hits in right.items() if hits}
