"""What does a Fréchet distance see? Real images, spoilt more and more in five ways, against other real images.

    python scripts/sensitivity.py docs/images/sensitivity.png digits effnet

Every curve should rise. Each extractor is measured on modality m1 of PolyMNIST (three modalities, embedded digits).
"""

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from polyvae import datasets
from polyvae.datasets.polymnist.backgrounds import Picture
from polyvae.datasets.polymnist.generator import Sampler
from polyvae.judges import pretrained
from polyvae.judges.digits import judge_for
from polyvae.judges.extractors import Extractor
from polyvae.metrics import frechet_distance
from polyvae.report.style import drawing

MODALITY, OTHER = 1, 2
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
Spoil = Callable[[Sampler, int, float, np.random.Generator], np.ndarray]


def _draw(sampler: Sampler, count: int, rng: np.random.Generator, modality: int = MODALITY) -> np.ndarray:
    return sampler.draw(count, rng, modality).images.numpy()


def blur(sampler: Sampler, count: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur of up to 2 pixels."""
    return gaussian_filter(_draw(sampler, count, rng).astype(np.float32), (0, 0, 2 * strength, 2 * strength)).round()


def mean_background(sampler: Sampler, count: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The picture fades to its mean colour, as in an average prediction."""
    picture = sampler.pictures[MODALITY]
    mean = picture.pixels.mean((1, 2), keepdims=True)
    faded = ((1 - strength) * picture.pixels + strength * mean).round().astype(np.uint8)
    pictures = [*sampler.pictures]
    pictures[MODALITY] = Picture(picture.name, faded)
    return _draw(replace(sampler, pictures=tuple(pictures)), count, rng)


def swapped_backgrounds(sampler: Sampler, count: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the images lies on another modality's picture."""
    images = _draw(sampler, count, rng)
    swapped = round(strength * count)
    images[:swapped] = _draw(sampler, count, rng, OTHER)[:swapped]
    return images


def wrong_digits(sampler: Sampler, count: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the digits stands on its head."""
    images = _draw(sampler, count, rng)
    turned = round(strength * count)
    images[:turned] = _draw(replace(sampler, masks=sampler.masks[:, ::-1].copy()), count, rng)[:turned]
    return images


def dropped_modes(sampler: Sampler, count: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Up to eight of the ten digits are never drawn."""
    kept = sampler.labels >= round(8 * strength)
    return _draw(replace(sampler, masks=sampler.masks[kept], labels=sampler.labels[kept]), count, rng)


WAYS: tuple[Spoil, ...] = (blur, mean_background, swapped_backgrounds, wrong_digits, dropped_modes)


def curves(extractor: Extractor, sampler: Sampler, count: int) -> dict[str, list[float]]:
    """way -> distance at each strength, from `count` spoilt images to `count` real ones."""

    def features(images: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(images.astype(np.float32) / 255).split(250)
        return torch.cat([extractor.read(f"m{MODALITY}", part)[0] for part in parts]).numpy()

    real = features(_draw(sampler, count, np.random.default_rng(0)))
    untouched = frechet_distance(features(_draw(sampler, count, np.random.default_rng(1))), real)
    return {
        way.__name__: [untouched]
        + [
            frechet_distance(features(way(sampler, count, strength, np.random.default_rng(1))), real)
            for strength in STRENGTHS[1:]
        ]
        for way in WAYS
    }


def main(out: str, *names: str) -> None:
    sampler = datasets.sampler("polymnist", split="test", modalities=3)
    of_training = datasets.sampler("polymnist", modalities=3)
    assert sampler is not None
    assert of_training is not None
    test = datasets.load("polymnist", split="test", modalities=3)
    loaders = {"digits": (lambda: judge_for(of_training, test), 4000), "effnet": (pretrained.effnet, 400)}
    chosen = names or tuple(loaders)
    with drawing():
        figure = Figure(figsize=(4.4 * len(chosen), 3.6))
        for name, axes in zip(chosen, figure.subplots(1, len(chosen), squeeze=False)[0], strict=True):
            load, count = loaders[name]
            for way, distances in curves(load(), sampler, count).items():
                print(name, way.replace("_", " "), [round(d) for d in distances], flush=True)
                axes.plot(STRENGTHS, np.array(distances) + 1, marker="o", markersize=3.5, label=way.replace("_", " "))
            axes.set_yscale("log")
            axes.set_yticks([10.0**k for k in range(5)], [f"{10**k:,}" for k in range(5)])
            axes.minorticks_off()
            axes.set_title(f"{name} features, {count:,} images", loc="left", fontsize=9)
            axes.set_xlabel("strength")
            axes.set_ylabel("Fréchet distance + 1")
            axes.legend(fontsize=6.5, loc="lower right")
        figure.savefig(out, dpi=150, facecolor="white")


if __name__ == "__main__":
    main(*sys.argv[1:])
