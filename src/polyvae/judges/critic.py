"""Critics: networks that learn from real tuples alone which values of two modalities belong together.

A critic is trained once per data set (contrastive, InfoNCE of van den Oord et al. 2018 between all pairs of
modalities), cached by content, and handed to the metric `label_free` frozen.
"""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from polyvae import networks
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.judges.extractors import Critic
from polyvae.judges.trained import CPU, optimise, place_of, trained_once
from polyvae.modality import Modality
from polyvae.networks.by_name import ByName
from polyvae.networks.reading import reading

RECIPE: dict[str, Any] = {
    "version": 1,
    "seed": 0,
    "steps": 500,
    "batch": 256,
    "learning_rate": 2e-3,
    "warm_up": 0.2,
    "weight_decay": 0.1,
    "temperature": 0.1,
    "dimension": 32,
    "check_every": 20,
}
LEAST_ROWS = 64


def can_be_criticised(train: MultimodalDataset) -> bool:
    """Whether there are two modalities, and enough rows that have all of them."""
    return len(train.names) > 1 and int(train.present.all(-1).sum()) >= LEAST_ROWS


def critic_for(train: MultimodalDataset, cache: Path | None = None, device: torch.device = CPU) -> Critic:
    """The critic of the tuples in `train`: from the cache, or trained now on `device` (about a minute) by one process.

    cache: a folder (default `files.cache_dir()`). Raises InputError for fewer than 64 rows with all modalities, or
    when the cached file is damaged.
    """
    complete = train.present.all(-1).nonzero().squeeze(1).cpu()
    if len(complete) < LEAST_ROWS:
        raise InputError(
            f"label_free: only {len(complete)} training rows have all modalities; a critic needs {LEAST_ROWS}"
        )
    tuples = train.to("cpu").rows(complete)
    encoders, digest = trained_once(
        critic_path(tuples, cache, device),
        lambda: _encoders(tuples.modalities),
        lambda encoders: _train(encoders, tuples.to(device)),
        RECIPE,
        device=device,
    )
    return Critic({m.name: encoders[m.name] for m in tuples.modalities}, digest)


def critic_path(tuples: MultimodalDataset, cache: Path | None = None, device: torch.device = CPU) -> Path:
    """Where the critic of these tuples is kept, by their content, the recipe and the device."""
    return place_of("critics", [RECIPE, tuples.fingerprint], cache, device)


class _Mean(nn.Module):
    """The mean of an encoder's posterior."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, values: Tensor) -> Tensor:
        return self.encoder(values)[0]


def _encoders(modalities: tuple[Modality, ...]) -> ByName:
    return ByName({m.name: _Mean(reading(m, networks.build(_kind(m), m, RECIPE["dimension"])[0])) for m in modalities})


def _kind(modality: Modality) -> str:
    """A small network: the critic need not draw."""
    default = networks.default(modality)
    return "conv_half" if default == "conv" else default


def _train(encoders: ByName, tuples: MultimodalDataset) -> Mapping[str, Tensor]:
    generator = Generator().manual_seed(RECIPE["seed"])
    order = torch.randperm(len(tuples), generator=generator)
    count = min(512, max(LEAST_ROWS // 4, len(order) // 10))
    held_out, rest = order[:count], order[count:]  # with few tuples, the best weights are early ones

    def loss() -> Tensor:
        rows = rest[torch.randperm(len(rest), generator=generator)[: RECIPE["batch"]]]
        return _loss(encoders, tuples, rows)

    return optimise(encoders, loss, RECIPE, RECIPE["steps"], lambda: _loss(encoders, tuples, held_out))


def _loss(encoders: ByName, tuples: MultimodalDataset, rows: Tensor) -> Tensor:
    values = tuples.batch(rows).values
    codes = {name: normalize(encoders[name](value), dim=-1) for name, value in values.items()}
    return sum((contrast(codes[a], codes[b]) for a, b in combinations(codes, 2)), torch.zeros(()))


def contrast(a: Tensor, b: Tensor) -> Tensor:
    """InfoNCE both ways, in nats: each row must find its partner among the batch. a, b: (batch, dimension)."""
    scores = a @ b.T / RECIPE["temperature"]
    partner = torch.arange(len(a), device=a.device)
    return 0.5 * (cross_entropy(scores, partner) + cross_entropy(scores.T, partner))
