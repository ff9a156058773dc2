"""What judges and critics share: networks trained once, kept by what they were trained on, and handed out frozen."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from polyvae import files
from polyvae.dataset import MultimodalDataset, chosen_rows, chunks
from polyvae.errors import InputError
from polyvae.threads import on_threads

CEILING_ROWS, CEILING_BATCH = 2000, 256
WIDTH = 64  # features
CPU = torch.device("cpu")

Network = TypeVar("Network", bound=nn.Module)
Recipe = Mapping[str, Any]  # version, seed, learning_rate, warm_up, weight_decay, and what else a judge has


def place_of(folder: str, content: Any, cache: Path | None, device: torch.device = CPU) -> Path:
    """Where the network that `content` (JSON-able) identifies is kept; cache: default `files.cache_dir()`.

    device: that it is trained on. Accelerators round differently, so they train another network.
    """
    if device.type != CPU.type:
        content = {"trained on": device.type, "content": content}
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (cache or files.cache_dir()) / folder / f"{key}.safetensors"


def fresh(build: Callable[[], Network], recipe: Recipe) -> Network:
    """An untrained network, the same for the same recipe; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe["seed"])
        return build()


def trained_once(
    path: Path,
    build: Callable[[], Network],
    train: Callable[[Network], Mapping[str, Tensor]],
    recipe: Recipe,
    device: torch.device = CPU,
) -> tuple[Network, str]:
    """The frozen network kept at `path`, trained now by one process if it is not there, and the SHA-256 of its weights.

    build: the untrained network. train: the weights that training gives it, on `device`, and on one thread whatever the
    caller has: threads fix the rounding. Raises InputError when the file is damaged or was changed.
    """

    def make() -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        with on_threads(1):
            weights = {name: weight.cpu() for name, weight in train(fresh(build, recipe).to(device)).items()}
        return weights, {"sha256": files.digest(weights), "recipe": recipe}

    files.make_once(path, make)
    weights, meta = files.read_tensors(path)
    network, digest = fresh(build, recipe), files.digest(weights)
    if meta.get("sha256") != digest or _shapes(weights) != _shapes(network.state_dict()):
        raise InputError(f"{path} was changed since it was trained; delete it, then run the same command again")
    network.load_state_dict(weights)
    return network.to(device).eval().requires_grad_(False), digest


def optimise(
    network: nn.Module,
    loss: Callable[[], Tensor],
    recipe: Recipe,
    steps: int,
    held_out: Callable[[], Tensor] | None = None,
) -> dict[str, Tensor]:
    """The weights after `steps` of AdamW with one cycle of learning rates. loss: of a new batch at every call.

    held_out: a loss on rows kept back, looked at every `recipe["check_every"]` steps: the weights at its lowest count.
    """
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=recipe["weight_decay"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe["learning_rate"], total_steps=steps, pct_start=recipe["warm_up"]
    )
    best, lowest = network.state_dict(), torch.inf
    for step in range(1, steps + 1):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if held_out is not None and (step % recipe["check_every"] == 0 or step == steps):
            with torch.no_grad():
                now = float(held_out())
            if now < lowest:
                best, lowest = {name: weight.clone() for name, weight in network.state_dict().items()}, now
    return best


class Reader(nn.Module):
    """A trunk, one hidden layer whose outputs are the features, and a linear head.

    trunk: values (batch, *shape) -> (batch, width). outputs: of the head.
    """

    def __init__(self, trunk: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.features = nn.Sequential(nn.Linear(width, WIDTH), nn.ReLU())
        self.logits = nn.Linear(WIDTH, outputs)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(logits (batch, output), features (batch, dimension))."""
        features = self.features(self.trunk(values))
        return self.logits(features), features


def layer(inward: int, outward: int, kernel: int = 3, stride: int = 2) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inward, outward, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outward), nn.ReLU()


def shifted(images: Tensor, most: int, generator: Generator, *, mirrored: bool = False) -> Tensor:
    """The whole batch moved by up to `most` pixels each way, and perhaps `mirrored`."""
    down, right, *flip = torch.randint(2 * most + 1, (2 + mirrored,), generator=generator).tolist()
    images = moved(images, most, down, right)
    return images.flip(-1) if flip and flip[0] % 2 else images


def moved(images: Tensor, most: int, down: int, right: int) -> Tensor:
    """Images (batch, channel, height, width) moved by `down` - most and `right` - most pixels; edges are repeated."""
    height, width = images.shape[-2:]
    return pad(images, (most,) * 4, mode="replicate")[:, :, down : down + height, right : right + width]


def accuracy_of(networks: Mapping[str, nn.Module], classes: Sequence[int], test: MultimodalDataset) -> dict[str, float]:
    """Modality -> share of real values whose label is read correctly, over at most 2,000 test rows."""
    rows = test.rows(chosen_rows(len(test), CEILING_ROWS, 0))
    assert rows.labels is not None
    shares = {}
    for name, network in networks.items():
        able = rows.present[:, test.names.index(name)].nonzero().squeeze(1).cpu()
        if not len(able):
            continue
        of_name, device, hits = rows.select([name]).to(device_of(network)), device_of(network), []
        known = torch.tensor(classes, device=device)
        for ids in chunks(range(len(able)), CEILING_BATCH):
            batch = of_name.batch(ids)
            assert batch.label is not None
            with torch.no_grad():
                hits.append(known[network(batch.values[name])[0].argmax(-1)] == batch.label)
        shares[name] = float(torch.cat(hits).double().mean())
    return shares


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}
