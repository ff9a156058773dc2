"""Frozen networks that metrics look at values with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from polyvae.attributes import Attribute
from polyvae.errors import RunError
from polyvae.modality import Modality

TRUSTED_FROM = 0.9


class Extractor(Protocol):
    """Anything that turns values of a modality into features, such as images (batch, channel, height, width) in [0, 1].

    name: part of every metric key. weights_sha256: of its weights, for the record.
    """

    @property
    def name(self) -> str: ...

    @property
    def weights_sha256(self) -> str: ...

    def reads(self, modality: Modality) -> bool:
        """Whether it can look at values of this modality."""
        ...

    def read(self, name: str, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """(features (batch, dimension), probabilities of the classes (batch, class) or None) of the modality `name`."""
        ...


@dataclass(frozen=True, eq=False)
class Judge:
    """Trained classifiers that read the class of a row in any of its modalities.

    networks: modality -> network, perhaps the same one for all: values (batch, *shape) -> (logits (batch, class),
    features (batch, dimension)). classes: the labels that logits stand for, in their order.
    version: of the recipe they were trained by. weights_sha256: of their weights, for the record.
    accuracy: modality -> share of real test values read correctly, the ceiling of any coherence.
    """

    networks: Mapping[str, nn.Module]
    classes: tuple[int, ...]
    name: str
    version: str
    weights_sha256: str
    accuracy: Mapping[str, float]

    def reads(self, modality: Modality) -> bool:
        return modality.name in self.networks

    @torch.no_grad()
    def read(self, name: str, values: Tensor) -> tuple[Tensor, Tensor]:
        """What the last layers see (batch, dimension), and probabilities of the classes (batch, class)."""
        logits, features = self.networks[name].to(values.device).eval()(values)
        return features, logits.softmax(-1)

    @property
    def doubt(self) -> str | None:
        """Why coherence by this judge should be withheld, or None: its mean accuracy is below 90 %."""
        mean = sum(self.accuracy.values()) / max(1, len(self.accuracy))
        if mean >= TRUSTED_FROM:
            return None
        each = ", ".join(f"{name} {share:.1%}" for name, share in self.accuracy.items())
        return f"the judge reads only {mean:.1%} of real test data correctly ({each}); at least 90 % is needed"


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

    def reads(self, modality: Modality) -> bool:
        return modality.is_image

    @torch.no_grad()
    def read(self, name: str, values: Tensor) -> tuple[Tensor, None]:
        """What the heads see last: (batch, dimension)."""
        return self.network.to(values.device).eval()(values)[1], None

    @torch.no_grad()
    def values(self, images: Tensor) -> Tensor:
        """The likeliest value of each attribute: Int64 (batch, attribute)."""
        logits = self.network.to(images.device).eval()(images)[0]
        parts = logits.split([len(attribute.values) for attribute in self.attributes], -1)
        return torch.stack([part.argmax(-1) for part in parts], -1)


@dataclass(frozen=True, eq=False)
class Critic:
    """A frozen network per modality: values (row, *shape) -> embedding (row, dimension) of length 1.

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
    check_finite([images.isfinite().all()])
    return in_bytes(images)


def in_bytes(images: Tensor) -> Tensor:
    """`prepared` images, without the check for finite values."""
    return (images.clamp(0, 1) * 255 + 0.5).floor() / 255


def check_finite(seen: Sequence[Tensor]) -> None:
    """seen: Bool (), whether images are finite. Raises RunError when some are not; reads from their device once."""
    if seen and not bool(torch.stack(list(seen)).all()):
        raise RunError("the model generates images that are not finite; its training has diverged")
