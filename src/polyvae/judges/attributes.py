"""Judges of attributes: small classifiers that read in an image what captions name, trained on real pairs alone.

A judge is trained once per data set, cached by content, and handed to the metrics frozen. Its last features are also
those of the Frechet distance `attributes`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, pad

from polyvae import files
from polyvae.attributes import UNREAD, Attribute, said
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.judges.extractors import AttributeJudge
from polyvae.networks.heads import ChannelsLast
from polyvae.noise import on_threads

RECIPE: dict[str, Any] = {
    "version": 1,
    "seed": 0,
    "steps": 700,
    "batch": 128,
    "learning_rate": 3e-3,
    "warm_up": 0.2,
    "weight_decay": 1e-2,
    "shift": 2,
}
WIDTH, THREADS = 64, 1


def attribute_judge_for(
    train: MultimodalDataset, attributes: tuple[Attribute, ...], cache: Path | None = None
) -> AttributeJudge:
    """The judge of the pairs in `train`: from the cache, or trained now (about a minute) by one process.

    It learns from what the captions of each image say, a caption drawn anew at every step.
    cache: a folder (default `files.cache_dir()`). Raises InputError when the cached file is damaged or was changed.
    """
    tuples = train.to("cpu").rows(train.present.all(-1).nonzero().squeeze(1).cpu())
    content = [RECIPE, tuples.fingerprint, [[a.name, a.values, a.parts] for a in attributes]]
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path = (cache or files.cache_dir()) / "judges" / f"{key}.safetensors"
    files.make_once(path, lambda: _made(tuples, attributes))
    weights, meta = files.read_tensors(path)
    digest, network = files.digest(weights), _fresh(attributes)
    if meta.get("sha256") != digest:
        raise InputError(f"{path} was changed since the judge was trained; delete it, then run the same command again")
    network.load_state_dict(weights)
    return AttributeJudge(network.eval().requires_grad_(False), attributes, str(RECIPE["version"]), digest)


class _Network(nn.Module):
    """Convolutions, the mean and the maximum over positions of what they find, one linear head for all values."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(ChannelsLast(), *_layer(3, 32), *_layer(32, 64), *_layer(64, 96))
        self.features = nn.Sequential(nn.Linear(2 * 96, WIDTH), nn.ReLU())
        self.logits = nn.Linear(WIDTH, values)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.trunk(images)
        features = self.features(torch.cat([found.mean((2, 3)), found.amax((2, 3))], -1))
        return self.logits(features), features


def _layer(inward: int, outward: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inward, outward, 3, 2, 1, bias=False), nn.BatchNorm2d(outward), nn.ReLU()


def _fresh(attributes: Sequence[Attribute]) -> _Network:
    """An untrained network; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RECIPE["seed"])
        return _Network(sum(len(attribute.values) for attribute in attributes))


def _made(tuples: MultimodalDataset, attributes: Sequence[Attribute]) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """What the file holds: weights, and their digest beside the recipe."""
    with on_threads(THREADS):
        weights = _train(tuples, attributes)
    return weights, {"sha256": files.digest(weights), "recipe": RECIPE}


def _train(tuples: MultimodalDataset, attributes: Sequence[Attribute]) -> Mapping[str, Tensor]:
    images = tuples.values[next(m.name for m in tuples.modalities if m.is_image)]
    targets = torch.from_numpy(said(tuples, attributes))  # (row, variant, attribute)
    network = _fresh(attributes)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=RECIPE["weight_decay"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RECIPE["learning_rate"], total_steps=RECIPE["steps"], pct_start=RECIPE["warm_up"]
    )
    generator = Generator().manual_seed(RECIPE["seed"])
    balance = [_balance(targets[..., i], len(a.values)) for i, a in enumerate(attributes)]
    for _ in range(RECIPE["steps"]):
        rows, which = (torch.randint(n, (RECIPE["batch"],), generator=generator) for n in targets.shape[:2])
        logits, _ = network(_shifted(images[rows].float() / 255, generator))
        parts = logits.split([len(attribute.values) for attribute in attributes], -1)
        loss = torch.zeros(())
        for part, target, weight in zip(parts, targets[rows, which].unbind(-1), balance, strict=True):
            if bool((target != UNREAD).any()):
                loss = loss + cross_entropy(part, target, weight, ignore_index=UNREAD)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.state_dict()


def _balance(values: Tensor, kinds: int) -> Tensor:
    """Weights that make every value count the same, as in the metric: (kind,)."""
    counts = torch.bincount(values[values != UNREAD], minlength=kinds).float()
    return counts.sum() / (kinds * counts.clamp(min=1))


def _shifted(images: Tensor, generator: Generator) -> Tensor:
    """The whole batch moved by some pixels each way and perhaps mirrored: no attribute depends on either."""
    most, (height, width) = RECIPE["shift"], images.shape[-2:]
    down, right, flip = torch.randint(2 * most + 1, (3,), generator=generator).tolist()
    moved = pad(images, (most,) * 4, mode="replicate")[:, :, down : down + height, right : right + width]
    return moved.flip(-1) if flip % 2 else moved
