"""Critics: networks that learn from real tuples alone which values of two modalities belong together.

A critic is trained once per data set (contrastive, InfoNCE of van den Oord et al. 2018 between all pairs of
modalities), cached by content, and handed to the metric `label_free` frozen.
"""

import hashlib
import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from polyvae import files, networks
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.judges.extractors import Critic
from polyvae.modality import Modality
from polyvae.noise import on_threads

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
THREADS = 1
LEAST_ROWS = 64


def can_be_criticised(train: MultimodalDataset) -> bool:
    """Whether there are two modalities, and enough rows that have all of them."""
    return len(train.names) > 1 and int(train.present.all(-1).sum()) >= LEAST_ROWS


def critic_for(train: MultimodalDataset, cache: Path | None = None) -> Critic:
    """The critic of the tuples in `train`: from the cache, or trained now (about a minute) by one process.

    cache: a folder (default `files.cache_dir()`). Raises InputError for fewer than 64 rows with all modalities, or
    when the cached file is damaged.
    """
    complete = train.present.all(-1).nonzero().squeeze(1).cpu()
    if len(complete) < LEAST_ROWS:
        raise InputError(
            f"label_free: only {len(complete)} training rows have all modalities; a critic needs {LEAST_ROWS}"
        )
    tuples = train.to("cpu").rows(complete)
    path = critic_path(tuples, cache)
    files.make_once(path, lambda: _made(tuples))
    weights, meta = files.read_tensors(path)
    digest = files.digest(weights)
    if meta.get("sha256") != digest:
        raise files.damaged(path, "it was changed since the critic was trained")
    built = _networks(tuples.modalities)
    built.load_state_dict(weights)
    frozen = built.eval().requires_grad_(False)
    return Critic({m.name: frozen[m.name] for m in tuples.modalities}, digest)


def critic_path(tuples: MultimodalDataset, cache: Path | None = None) -> Path:
    """Where the critic of these tuples is kept, by their content and the recipe."""
    key = hashlib.sha256(json.dumps([RECIPE, tuples.fingerprint], sort_keys=True).encode()).hexdigest()
    return (cache or files.cache_dir()) / "critics" / f"{key}.safetensors"


class _Mean(nn.Module):
    """The mean of an encoder's posterior."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, values: Tensor) -> Tensor:
        return self.encoder(values)[0]


def _networks(modalities: tuple[Modality, ...]) -> nn.ModuleDict:
    """Untrained encoders; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RECIPE["seed"])
        return nn.ModuleDict({m.name: _Mean(networks.build(_kind(m), m, RECIPE["dimension"])[0]) for m in modalities})


def _kind(modality: Modality) -> str:
    """A small network: the critic need not draw."""
    default = networks.default(modality)
    return "conv_half" if default == "conv" else default


def _made(tuples: MultimodalDataset) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """What the file holds: weights, and their digest beside the recipe."""
    with on_threads(THREADS):
        weights = _train(tuples)
    return weights, {"sha256": files.digest(weights), "recipe": RECIPE}


def _train(tuples: MultimodalDataset) -> Mapping[str, Tensor]:
    built = _networks(tuples.modalities)
    optimiser = torch.optim.AdamW(built.parameters(), weight_decay=RECIPE["weight_decay"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RECIPE["learning_rate"], total_steps=RECIPE["steps"], pct_start=RECIPE["warm_up"]
    )
    generator = Generator().manual_seed(RECIPE["seed"])
    order = torch.randperm(len(tuples), generator=generator)
    count = min(512, max(LEAST_ROWS // 4, len(order) // 10))
    held_out, rest = order[:count], order[count:]  # with few tuples, the best weights are early ones
    best, lowest = built.state_dict(), torch.inf
    for step in range(RECIPE["steps"]):
        rows = rest[torch.randperm(len(rest), generator=generator)[: RECIPE["batch"]]]
        loss = _loss(built, tuples, rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % RECIPE["check_every"] == 0 or step + 1 == RECIPE["steps"]:
            with torch.no_grad():
                now = float(_loss(built, tuples, held_out))
            if now < lowest:
                best, lowest = {name: value.clone() for name, value in built.state_dict().items()}, now
    return best


def _loss(built: nn.ModuleDict, tuples: MultimodalDataset, rows: Tensor) -> Tensor:
    values = tuples.batch(rows).values
    codes = {name: normalize(built[name](value), dim=-1) for name, value in values.items()}
    return sum((contrast(codes[a], codes[b]) for a, b in combinations(codes, 2)), torch.zeros(()))


def contrast(a: Tensor, b: Tensor) -> Tensor:
    """InfoNCE both ways, in nats: each row must find its partner among the batch. a, b: (batch, dimension)."""
    scores = a @ b.T / RECIPE["temperature"]
    partner = torch.arange(len(a))
    return 0.5 * (cross_entropy(scores, partner) + cross_entropy(scores.T, partner))
