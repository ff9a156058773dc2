"""Frozen networks that metrics read images with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from polyvae.errors import RunError

TRUSTED_FROM = 0.9


class Extractor(Protocol):
    """Anything that turns images (batch, channels, height, width) in [0, 1] into features (batch, dimension)."""

    @property
    def name(self) -> str: ...

    def features(self, images: Tensor) -> Tensor: ...


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

    def classify(self, images: Tensor) -> Tensor:
        """Probabilities of the digits: (batch, 10)."""
        return self._read(images)[0].softmax(-1)

    def features(self, images: Tensor) -> Tensor:
        """What both heads (digit; background) see last: (batch, dimension)."""
        return self._read(images)[1]

    @property
    def is_trusted(self) -> bool:
        return self.doubt is None

    @property
    def doubt(self) -> str | None:
        """Why coherence by this judge should be withheld, or None: its mean accuracy is below 90 %."""
        mean = sum(self.accuracy.values()) / len(self.accuracy)
        if mean >= TRUSTED_FROM:
            return None
        each = ", ".join(f"{name} {share:.1%}" for name, share in self.accuracy.items())
        return f"the judge reads only {mean:.1%} of real test images correctly ({each}); at least 90 % is needed"

    @torch.no_grad()
    def _read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.to(images.device).eval()(images)


def prepared(images: Tensor) -> Tensor:
    """Generated images as a picture file would hold them: clamped to [0, 1], rounded to 8 bits, back to floats.

    Raises RunError when they are not finite.
    """
    if not bool(images.isfinite().all()):
        raise RunError("the model generates images that are not finite; its training has diverged")
    return (images.clamp(0, 1) * 255 + 0.5).floor() / 255
