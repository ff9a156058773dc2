"""Frozen networks that metrics look at values with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from polyvae.attributes import Attribute
from polyvae.errors import RunError

TRUSTED_FROM = 0.9


class Extractor(Protocol):
    """Anything that turns images (batch, channels, height, width) in [0, 1] into features.

    name: part of every metric key. weights_sha256: of its weights, for the record.
    """

    @property
    def name(self) -> str: ...

    @property
    def weights_sha256(self) -> str: ...

    def read(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(features (batch, dimension), probabilities of the classes (batch, class) or None)."""
        ...


@dataclass(frozen=True, eq=False)
class Judge:
    """A trained classifier that reads the digit of an image, whichever modality it belongs to.

    network: images (batch, 3, 28, 28) in [0, 1] -> (digit logits (batch, 10), features (batch, dimension)).
    version: of the recipe it was trained by. weights_sha256: of its weights, for the record.
    accuracy: modality -> share of real test images read correctly, the ceiling of any coherence.
    """

    network: nn.Module
    name: str
    version: str
    weights_sha256: str
    accuracy: Mapping[str, float]

    @torch.no_grad()
    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What both heads (digit; background) see last (batch, dimension), and probabilities of the digits."""
        logits, features = self.network.to(images.device).eval()(images)
        return features, logits.softmax(-1)

    def classify(self, images: Tensor) -> Tensor:
        """Probabilities of the digits: (batch, 10)."""
        return self.read(images)[1]

    def features(self, images: Tensor) -> Tensor:
        """What both heads see last: (batch, dimension)."""
        return self.read(images)[0]

    @property
    def doubt(self) -> str | None:
        """Why coherence by this judge should be withheld, or None: its mean accuracy is below 90 %."""
        mean = sum(self.accuracy.values()) / len(self.accuracy)
        if mean >= TRUSTED_FROM:
            return None
        each = ", ".join(f"{name} {share:.1%}" for name, share in self.accuracy.items())
        return f"the judge reads only {mean:.1%} of real test images correctly ({each}); at least 90 % is needed"


@dataclass(frozen=True, eq=False)
class AttributeJudge:
    """A trained classifier that reads in an image what captions name: colours, sizes.

    network: images (batch, 3, height, width) in [0, 1] -> (logits of all values laid end to end, features (batch,
    dimension)). version, weights_sha256: of the recipe and the weights, for the record.
    """

    network: nn.Module
    attributes: tuple[Attribute, ...]
    version: str
    weights_sha256: str
    name: str = "attributes"

    @torch.no_grad()
    def read(self, images: Tensor) -> tuple[Tensor, None]:
        """What the heads see last: (batch, dimension)."""
        return self.network.to(images.device).eval()(images)[1], None

    @torch.no_grad()
    def values(self, images: Tensor) -> Tensor:
        """The likeliest value of each attribute: Int64 (batch, attribute)."""
        logits = self.network.to(images.device).eval()(images)[0]
        parts = logits.split([len(attribute.values) for attribute in self.attributes], -1)
        return torch.stack([part.argmax(-1) for part in parts], -1)


@dataclass(frozen=True, eq=False)
class Critic:
    """A frozen network a modality: values (row, *shape) -> embedding (row, dimension) of length 1.

    Rows of two modalities belong together where embeddings point the same way. weights_sha256: for the record.
    """

    networks: Mapping[str, nn.Module]
    weights_sha256: str

    @torch.no_grad()
    def embed(self, name: str, values: Tensor) -> Tensor:
        network = self.networks[name].to(values.device).eval()
        return normalize(network(values), dim=-1)


def prepared(images: Tensor) -> Tensor:
    """Generated images as a picture file would hold them: clamped to [0, 1], rounded to 8 bits, back to floats.

    Raises RunError when they are not finite.
    """
    if not bool(images.isfinite().all()):
        raise RunError("the model generates images that are not finite; its training has diverged")
    return (images.clamp(0, 1) * 255 + 0.5).floor() / 255
