"""A plug-in that adds one thing of every kind."""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.distributions import Independent, StudentT

import polyvae as pv
from polyvae.likelihoods import OfNumbers


@dataclass(frozen=True)
class Rings:
    """radius: of the outer ring, the inner one has radius 1."""

    radius: float = 3.0


def load_rings(options, *, split, size, seed):
    """Points on two rings: their place, and a picture of it (8 x 8); the label says which ring."""
    rows = size or {"train": 200, "test": 80}[split]
    rng = torch.Generator().manual_seed(2 * seed + (split == "test"))
    angle, ring = math.tau * torch.rand(rows, generator=rng), torch.arange(rows) % 2
    place = torch.stack([angle.cos(), angle.sin()], -1) * torch.where(ring == 1, options.radius, 1.0)[:, None]
    cell = ((place + 4) * 7 / 8).round().long()
    picture = torch.zeros(rows, 1, 8, 8, dtype=torch.uint8)
    picture[torch.arange(rows), 0, cell[:, 1], cell[:, 0]] = 255
    specs = (pv.Modality("picture", (1, 8, 8), pv.likelihoods.Laplace()), pv.Modality("place", (2,), HeavyTails()))
    info = {"split": split, "rows": rows, "seed": seed, "radius": options.radius}
    present = torch.ones(rows, 2, dtype=torch.bool)
    return pv.MultimodalDataset("rings", specs, {"picture": picture, "place": place}, present, ring, info)


@dataclass(frozen=True)
class HeavyTails(OfNumbers):
    """Student-t with a learned scale per feature."""

    freedom: float = 3.0
    parameters = 2
    takes_any_real = True

    def __call__(self, params, event_dims):
        location, log_scale = params.unbind(-event_dims - 1)
        return Independent(StudentT(self.freedom, location, log_scale.exp(), validate_args=False), event_dims)


class Encoder(nn.Module):
    """One linear layer: mean and log variance side by side."""

    def __init__(self, modality, latent_dim):
        super().__init__()
        self.linear = nn.Linear(math.prod(modality.shape), 2 * latent_dim)

    def forward(self, values):
        return self.linear(values.flatten(1)).chunk(2, -1)


def linear(modality, latent_dim):
    width = math.prod(modality.shape)
    return Encoder(modality, latent_dim), nn.Sequential(nn.Linear(latent_dim, width), nn.Unflatten(1, modality.shape))


class Quadrants:
    """Reads the brightness of the four quadrants of a picture."""

    name, weights_sha256 = "quadrants", "none"

    def reads(self, modality):
        return modality.is_image

    def read(self, name, values):
        return nn.functional.avg_pool2d(values, 4).flatten(1), None


def centre(scoring):
    """Distance of the mean of prior samples from the centre."""
    codes = scoring.model.prior_codes(200, torch.Generator().manual_seed(scoring.on.seed))
    return {"centre/place": float(scoring.model.decode(codes)["place"].mean.mean(0).norm())}


def broken(scoring):
    """A metric with a fault: what is trained and scored is kept."""
    return {"broken/share": 1 / 0}


pv.likelihoods.register("heavy_tails", HeavyTails)
pv.datasets.register("rings", pv.datasets.Entry(load_rings, "points on two rings", Rings))
pv.networks.register("linear", linear)
pv.metrics.register("centre", pv.metrics.Metric(centre, "how far samples are off the centre", is_default=False))
pv.metrics.register("broken", pv.metrics.Metric(broken, "nothing", is_default=False))
pv.metrics.register_extractor(
    "quadrants", pv.metrics.ExtractorSource(Quadrants, "brightness of quadrants", is_at_hand=lambda: True)
)
pv.methods.register(replace(pv.methods.METHODS["mmvae"], name="pairs", summary="mmvae under another name"))
