"""Judges of attributes: small classifiers that read in an image what captions name, trained on real pairs alone.

A judge is trained once per data set, cached by content, and handed to the metrics frozen. Its last features are also
those of the Fréchet distance `attributes`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from polyvae.attributes import UNREAD, Attribute, said
from polyvae.dataset import MultimodalDataset
from polyvae.judges.extractors import AttributeJudge
from polyvae.judges.trained import CPU, Reader, device_of, layer, optimise, place_of, shifted, trained_once
from polyvae.networks.heads import ChannelsLast

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


def attribute_judge_for(
    train: MultimodalDataset,
    attributes: tuple[Attribute, ...],
    cache: Path | None = None,
    device: torch.device = CPU,
) -> AttributeJudge:
    """The judge of the pairs in `train`: from the cache, or trained now (about a minute) by one process.

    It learns from what the captions of each image say, a caption drawn anew at every step.
    cache: a folder (default `files.cache_dir()`). device: to train it on. Raises InputError when the cached file is
    damaged or was changed.
    """
    tuples = train.to("cpu").rows(train.present.all(-1).nonzero().squeeze(1).cpu())
    content = [RECIPE, tuples.fingerprint, [[a.name, a.values, a.parts] for a in attributes]]
    network, digest = trained_once(
        place_of("judges", content, cache, device),
        lambda: _network(attributes),
        lambda network: _train(network, tuples, attributes),
        RECIPE,
        device=device,
    )
    return AttributeJudge(network, attributes, str(RECIPE["version"]), digest)


class _MeanAndMost(nn.Module):
    """The mean and the maximum over positions: (batch, channel, height, width) -> (batch, 2 channel)."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], -1)


def _network(attributes: Sequence[Attribute]) -> Reader:
    """One linear head for all values, laid end to end."""
    trunk = nn.Sequential(ChannelsLast(), *layer(3, 32), *layer(32, 64), *layer(64, 96), _MeanAndMost())
    return Reader(trunk, 2 * 96, sum(len(attribute.values) for attribute in attributes))


def _train(network: Reader, tuples: MultimodalDataset, attributes: Sequence[Attribute]) -> Mapping[str, Tensor]:
    device = device_of(network)
    images = tuples.values[next(m.name for m in tuples.modalities if m.is_image)].to(device)
    targets = torch.from_numpy(said(tuples, attributes))  # (row, variant, attribute), on the host
    generator = Generator().manual_seed(RECIPE["seed"])
    balance = [_balance(targets[..., i], len(a.values)).to(device) for i, a in enumerate(attributes)]

    def loss() -> Tensor:
        rows, which = (torch.randint(n, (RECIPE["batch"],), generator=generator) for n in targets.shape[:2])
        # No attribute depends on where it is seen, nor on left and right.
        seen = images[rows.to(device)].float() / 255
        logits, _ = network(shifted(seen, RECIPE["shift"], generator, mirrored=True))
        parts = logits.split([len(attribute.values) for attribute in attributes], -1)
        total = torch.zeros(())
        for part, target, weight in zip(parts, targets[rows, which].unbind(-1), balance, strict=True):
            if bool((target != UNREAD).any()):
                total = total + cross_entropy(part, target.to(device), weight, ignore_index=UNREAD)
        return total

    return optimise(network, loss, RECIPE, RECIPE["steps"])


def _balance(values: Tensor, kinds: int) -> Tensor:
    """Weights that make every value count the same, as in the metric: (kind,)."""
    counts = torch.bincount(values[values != UNREAD], minlength=kinds).float()
    return counts.sum() / (kinds * counts.clamp(min=1))
