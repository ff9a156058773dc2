"""The parts that every encoder shares."""

import torch
from torch import Tensor, nn

from polyvae import waiting
from polyvae.errors import InputError
from polyvae.modality import Modality
from polyvae.text import Vocabulary

FIRST_LOGVAR = -4.0


class GaussianHead(nn.Module):
    """Features (batch, width) to mean and logvar, each (batch, latent).

    Posteriors start narrow (logvar -4), the same for all inputs: with the usual start at 0, noise of the prior's width
    hides the mean from the decoders, and mixtures of experts spend their first thousands of steps on a plateau.
    """

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Linear(width, latent_dim)
        self.logvar = nn.Linear(width, latent_dim)
        nn.init.normal_(self.logvar.weight, std=1e-3)
        nn.init.constant_(self.logvar.bias, FIRST_LOGVAR)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(features), self.logvar(features)


class ChannelsLast(nn.Module):
    """Lays images out with channels innermost, which convolutions run fastest on."""

    def forward(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last)


def side_of(modality: Modality, network: str) -> int:
    """The side of a square image of 28 pixels, or of 8, 16, 32, ... Raises InputError for any other shape."""
    side = modality.shape[-1]
    if not modality.is_image or modality.shape[1] != side or not (side == 28 or (side >= 8 and side & (side - 1) == 0)):
        raise InputError(
            f"network {network!r} needs square images of 28x28, 32x32, 64x64, ... pixels, but modality "
            f"{modality.name!r} has shape {modality.shape}; use network 'mlp' or pass your own networks"
        )
    return side


def words_of(modality: Modality, network: str) -> Vocabulary:
    """The vocabulary of a text modality. Raises InputError for any other."""
    if modality.vocabulary is None:
        raise InputError(f"network {network!r} needs text, which modality {modality.name!r} is not; use mlp or conv")
    return modality.vocabulary


class Embedding(nn.Module):
    """One-hot vectors, or probabilities, (batch, position, word) to a vector per position: the mean over words."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words, width)

    def forward(self, values: Tensor) -> Tensor:
        if waiting.is_free(values.device) and not values.requires_grad:
            largest, word = values.max(-1)
            if bool((largest == 1).all()):  # one-hot, as data are
                return self.vectors(word)
        with torch.autocast(values.device.type, enabled=False):
            return values.to(self.vectors.weight.dtype) @ self.vectors.weight


class LearnedScale(nn.Module):
    """Puts more parameters per feature beside a decoder's output, the same for all z: usually the log of a scale.

    (batch, *shape) -> (batch, 1 + count, *shape). The log scale is SPEED times its parameter: Adam moves every
    parameter by about the learning rate a step, too slow for a number of size 1. A scale that lags behind makes
    intervals too wide (measured on tables after 250 steps: 80 % intervals that hold 92 %, against 78 to 80 % with
    SPEED).
    """

    SPEED = 10.0

    def __init__(self, decoder: nn.Module, shape: tuple[int, ...], count: int = 1) -> None:
        super().__init__()
        self.decoder = decoder
        self.log_scale = nn.Parameter(torch.zeros(shape if count == 1 else (count, *shape)))

    def forward(self, z: Tensor) -> Tensor:
        location = self.decoder(z).to(self.log_scale.dtype)[:, None]
        learned = self.bounded(self.log_scale).view(-1, *location.shape[2:])
        return torch.cat([location, learned.expand(len(location), *learned.shape)], 1)

    @classmethod
    def bounded(cls, parameter: Tensor) -> Tensor:
        """The log scale that a parameter stands for, within [-7, 7]."""
        return 7 * torch.tanh(cls.SPEED * parameter / 7)

    @torch.no_grad()
    def start(self, log_scale: Tensor) -> None:
        """Sets the parameter so that it stands for this log scale, or nearly for one beyond (-7, 7)."""
        self.log_scale.copy_(torch.atanh((log_scale / 7).clamp(-0.99, 0.99)) * 7 / self.SPEED)


def completed(modality: Modality, decoder: nn.Module) -> nn.Module:
    """The decoder with all parameters that the modality's likelihood takes. Raises InputError for none."""
    parameters = modality.likelihood.parameters
    if parameters < 1:
        raise InputError(f"the likelihood of {modality.name!r} takes {parameters} parameters; it must be at least 1")
    is_complete = parameters == 1 or isinstance(decoder, LearnedScale)
    return decoder if is_complete else LearnedScale(decoder, modality.shape, parameters - 1)
