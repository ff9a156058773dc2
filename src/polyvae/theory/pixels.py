"""Single pixels of PolyMNIST-type images given the class: the best that a pixel-factorised decoder can do."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import entr

SIDE, VALUES = 28, 256


@dataclass(frozen=True)
class PixelLaw:
    """Sums over the pixels j and channels of one modality, in expectation over the class Y.

    entropy: sum of H(x_j | Y) in nats. deviation: sum of E|x_j - median of x_j given Y|, of values in [0, 1].
    components: how many values an image has.
    """

    entropy: float
    deviation: float
    components: int

    def laplace_loss(self, scale: float) -> float:
        """Least E[-log Laplace density] of an image that only the class tells about (line 7), in nats."""
        return self.deviation / scale + self.components * math.log(2 * scale)

    @staticmethod
    def of(picture: np.ndarray, mask_probability: np.ndarray, chance: np.ndarray) -> "PixelLaw":
        """From a picture UInt8 (3, height, width), the masks' chance (class, 28, 28), and the classes' (class,)."""
        entropy = deviation = 0.0
        for channel in picture:
            plain = _crop_histograms(channel)
            inverted = plain[..., ::-1]
            for probability, weight in zip(mask_probability, chance, strict=True):
                on = probability[..., None]
                law = (1 - on) * plain + on * inverted
                entropy += weight * float(entr(law).sum())
                deviation += weight * _deviation(law)
        return PixelLaw(entropy, deviation, len(picture) * SIDE * SIDE)


def _crop_histograms(channel: np.ndarray) -> np.ndarray:
    """Probabilities (28, 28, 256) of the values at each place of a crop whose corner is uniform."""
    height, width = (size - SIDE for size in channel.shape)
    shown = np.zeros((len(channel), SIDE, VALUES))  # row of the picture, place along x, value
    rows = np.arange(len(channel))
    np.add.at(shown[:, 0], (rows[:, None], channel[:, :width]), 1)
    for x in range(1, SIDE):
        shown[:, x] = shown[:, x - 1]
        shown[rows, x, channel[:, x - 1]] -= 1
        shown[rows, x, channel[:, x - 1 + width]] += 1
    total = np.concatenate([np.zeros((1, SIDE, VALUES)), shown.cumsum(0)])
    return (total[height : height + SIDE] - total[:SIDE]) / (height * width)


def _deviation(law: np.ndarray) -> float:
    """Sum over places of the mean absolute deviation from the median, for value / 255.

    E|x - median| = the integral of min(F, 1 - F).
    """
    below = law.cumsum(-1)[..., :-1]
    return float(np.minimum(below, 1 - below).clip(0).sum()) / (VALUES - 1)
