"""Models and data whose metrics are known: a digit is painted as the brightness of the first pixel."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Laplace

from polyvae import likelihoods, networks, subsets
from polyvae.dataset import MultimodalDataset
from polyvae.metrics import Critic, Judge
from polyvae.modality import Modality
from polyvae.models.vae import MultimodalVAE
from polyvae.noise import RowNoise

NAMES = ("m0", "m1", "m2")
ROWS = 40
SHAPE = (3, 28, 28)
STEP = 20  # a digit is painted as brightness 20 x digit / 255 of the first pixel


class ReadsPaint(nn.Module):
    """Reads a painted digit exactly; features are 12 block means."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        digit = (images[:, 0, 0, 0] * 255 / STEP).round().long().clamp(max=9)
        return 50 * nn.functional.one_hot(digit, 10).float(), nn.functional.avg_pool2d(images, 14).flatten(1)


class Painter:
    """A model with private codes per target, no joint posterior and no S.

    It reads the digit of the first given modality, and paints it over private noise in every target. Prior sample
    `row` shows digit row % 10, except m1 in every fourth row.
    """

    def __init__(self) -> None:
        self.names = NAMES
        self.modalities = tuple(Modality(name, SHAPE, likelihoods.Laplace()) for name in NAMES)

    def prior_codes(self, count, generator):
        rows = torch.tensor(generator.rows)
        return {name: torch.stack([self.prior_digit(name, rows), self.private(generator, name)], -1) for name in NAMES}

    def posterior_codes(self, batch, given, targets, generator):
        digit = (batch.values[given[0]][:, 0, 0, 0] * 255 / STEP).round()
        return {name: torch.stack([digit, self.private(generator, name)], -1) for name in targets}

    def decode(self, codes):
        return {name: Independent(Laplace(paint(code[:, 0], code[:, 1]), 0.75), 3) for name, code in codes.items()}

    @staticmethod
    def prior_digit(name: str, rows: Tensor) -> Tensor:
        wrong = (rows % 4 == 0) if name == "m1" else torch.zeros_like(rows).bool()
        return ((rows + wrong) % 10).float()

    @staticmethod
    def private(generator: RowNoise, name: str) -> Tensor:
        own = replace(generator, purpose=f"{generator.purpose}/{name}")
        return torch.tensor([stream.standard_normal() for stream in own.streams("normal")]).float()


class MixturePainter(Painter):
    """The same as a mixture of experts: it refuses to encode more than one modality at once."""

    mixture = subsets.mmvae(NAMES)

    def posterior_codes(self, batch, given, targets, generator):
        assert len(given) == 1
        return super().posterior_codes(batch, given, targets, generator)


def paint(digit: Tensor, shade: Tensor) -> Tensor:
    images = torch.sigmoid(shade)[:, None, None, None].repeat(1, *SHAPE) * torch.linspace(0, 1, 28)
    images[:, 0, 0, 0] = digit * STEP / 255
    return images


def painted(present: Tensor | None = None) -> MultimodalDataset:
    """m0 shows the label, m1 in the first 30 of 40 rows, m2 in the first 20; otherwise the next digit."""
    label = torch.arange(ROWS) % 7
    rng = torch.Generator().manual_seed(1)
    values = {}
    for name, right in zip(NAMES, (40, 30, 20), strict=True):
        shown = torch.where(torch.arange(ROWS) < right, label, label + 1)
        values[name] = (paint(shown, torch.randn(ROWS, generator=rng)) * 255).round().to(torch.uint8)
    present = torch.ones(ROWS, 3, dtype=torch.bool) if present is None else present
    return MultimodalDataset("painted", Painter().modalities, values, present, label)


JUDGE = Judge(dict.fromkeys(NAMES, ReadsPaint()), tuple(range(10)), "digits", "1", "none", dict.fromkeys(NAMES, 1.0))


def vae(mixture: subsets.SubsetMixture, seed: int = 0) -> MultimodalVAE:
    torch.manual_seed(seed)
    modalities = Painter().modalities
    built = {m.name: networks.build("mlp", m, 4) for m in modalities}
    for _, decoder in built.values():
        decoder[-2].bias.data += torch.rand(decoder[-2].bias.shape)
    return MultimodalVAE(modalities, built, mixture, 4)


class SeesPaint(nn.Module):
    """Embeds the painted digit exactly."""

    def forward(self, images):
        digit = (images[:, 0, 0, 0] * 255 / 20).round().long().clamp(0, 9)
        return nn.functional.one_hot(digit, 10).float()


CRITIC = Critic(dict.fromkeys(NAMES, SeesPaint()), "none")


def agreeing(rows: int = 600):
    """All three modalities show the label."""
    label = torch.arange(rows) % 7
    rng = torch.Generator().manual_seed(0)
    shades = torch.randn(3, rows, generator=rng)
    values = {n: (paint(label, s) * 255).round().to(torch.uint8) for n, s in zip(NAMES, shades, strict=True)}
    return replace(painted(), values=values, present=torch.ones(rows, 3, dtype=torch.bool), labels=label)
