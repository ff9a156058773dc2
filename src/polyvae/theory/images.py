"""Entropies of PolyMNIST-type generators, exactly, without enumerating an image (docs/theory.md, "Digits on pictures").

An image shows a crop c of a picture, inverted to 255 - c where a digit's mask is on. Given the class Y, modalities are
independent. **Fold lemma**: c and 255 - c never agree, and |2c - 255| = |2 (255 - c) - 255| is visible whatever the
mask. So the folded image names the crop if folded crops are distinct, the crop and the image name the mask, and
H(X_m | Y) = H(crop) + H(mask | Y).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from polyvae.subsets import SubsetMixture
from polyvae.theory.discrepancies import discrepancy
from polyvae.theory.information import Entropies
from polyvae.theory.pixels import SIDE, PixelLaw


@dataclass(frozen=True, eq=False)
class ImageLaw:
    """What is known of a generator of digits on pictures; all values in nats.

    class_entropy: H(Y). low, high: (modality,) bounds on H(X_m | Y), equal where the fold lemma applies.
    ambiguity: a bound on H(Y | X_m), 0 where the lemma applies and no two classes share a mask.
    pixels: one per modality, what its single pixels can tell.
    """

    names: tuple[str, ...]
    class_entropy: float
    low: np.ndarray
    high: np.ndarray
    ambiguity: float
    pixels: tuple[PixelLaw, ...]

    @property
    def is_exact(self) -> bool:
        return bool((self.low == self.high).all()) and self.ambiguity == 0

    @cached_property
    def entropies(self) -> Entropies:
        """H(X_A) = H(Y) + sum over A of H(X_m | Y); where that is not exact, lower bounds, of Delta as well."""
        return self._entropies(self.low, self.class_entropy - self.ambiguity)

    def discrepancy_interval(self, S: SubsetMixture) -> tuple[float, float]:
        """Delta is between these; one number twice where the generator's entropies are exact."""
        low, high = (discrepancy(self._entropies(ends, self.class_entropy), S) for ends in (self.low, self.high))
        return low, high + self.ambiguity

    def unseen_pixels(self, given: Sequence[str]) -> float:
        """sum of H(x_j | X_given) over the pixels j of the modalities outside `given` (line 6), from below."""
        return sum(p.entropy for name, p in zip(self.names, self.pixels, strict=True) if name not in given)

    def _entropies(self, ends: np.ndarray, shared: float) -> Entropies:
        count = len(self.names)
        member = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return Entropies(self.names, member @ ends + shared * (np.arange(2**count) > 0))


def image_law(
    masks: np.ndarray, labels: np.ndarray, pictures: Sequence[np.ndarray], travel: int, held_out: int = 0
) -> ImageLaw:
    """The law of independent tuples (pairing "fresh") of a PolyMNIST-type generator.

    masks: Bool (digit, side, side); labels: Int (digit,); pictures: UInt8 (3, height, width), per modality; a mask's
    corner is uniform in [0, travel)^2, but digits d below held_out never stand in quadrant d mod 4.
    """
    canvas, mask_probability, ambiguity = _canvas_entropy(masks, labels, travel, held_out)
    sizes = np.bincount(labels)
    chance = sizes[sizes > 0] / len(labels)
    different = {id(picture): picture for picture in pictures}  # modalities may share one
    crops = {key: crop_entropy(picture) for key, picture in different.items()}
    pixels = {key: PixelLaw.of(picture, mask_probability, chance) for key, picture in different.items()}
    ends = np.array([crops[id(picture)] for picture in pictures]) + canvas
    names = tuple(f"m{k}" for k in range(len(pictures)))
    class_entropy = float(-(chance * np.log(chance)).sum())
    ambiguity = min(class_entropy, ambiguity + float((ends[:, 1] - ends[:, 0]).max()))  # H(Y | X_m) <= H(crop, Y | X_m)
    of_each = tuple(pixels[id(picture)] for picture in pictures)
    return ImageLaw(names, class_entropy, ends[:, 0], ends[:, 1], ambiguity, of_each)


def crop_entropy(picture: np.ndarray) -> tuple[float, float]:
    """Bounds on what a crop adds to an image's entropy: (H(fold), H(corner)), equal if all folded crops differ.

    Folded crops are told apart by a hash: a hash that differs proves a difference, so the lower end is certain.
    """
    fold = np.abs(2 * picture.astype(np.int64) - 255).astype(np.uint64)
    rng = np.random.default_rng(28)
    row, column, channel = (rng.integers(0, 2**63, n, np.uint64) * 2 + 1 for n in (SIDE, SIDE, 3))
    height, width = (size - SIDE for size in picture.shape[1:])
    mixed = np.einsum("chw,c->hw", fold * fold + fold, channel)  # uint64 arithmetic wraps, which is what a hash wants
    along = sum(mixed[:, i : i + width] * weight for i, weight in enumerate(row))
    hashes = sum(along[i : i + height] * weight for i, weight in enumerate(column))
    repeats = np.unique(np.asarray(hashes), return_counts=True)[1]
    total = height * width
    return float(np.log(total) - (repeats * np.log(repeats)).sum() / total), float(np.log(total))


def _canvas_entropy(
    masks: np.ndarray, labels: np.ndarray, travel: int, held_out: int
) -> tuple[float, np.ndarray, float]:
    """H(mask on the canvas | Y), the chance of each pixel to be on (class, 28, 28), and a bound on H(Y | mask)."""
    shape, corner = _trimmed(masks)
    joint, chances = [], []
    entropy = 0.0
    for label in np.unique(labels):
        chosen = labels == label
        offset = _offsets(label, travel, held_out)
        keys = shape[chosen, None] * SIDE**2 + (corner[chosen, None] + offset) @ (SIDE, 1)
        empty = ~masks[chosen].any((1, 2))
        keys[empty] = -1  # a mask without a pixel looks the same wherever it stands
        distinct, repeats = np.unique(keys, return_counts=True)
        entropy += chosen.mean() * (np.log(keys.size) - (repeats * np.log(repeats)).sum() / keys.size)
        joint.append((distinct, repeats / keys.size * chosen.mean()))
        chances.append(_placed(masks[chosen].mean(0), offset))
    return float(entropy), np.stack(chances), _confusion(joint)


def _trimmed(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which masks are equal up to translation, Int (digit,), and the corner of what is on, Int (digit, 2)."""
    side = masks.shape[1]
    corner = np.stack([masks.any(2).argmax(1), masks.any(1).argmax(1)], 1)
    rows, columns = (np.minimum(corner[:, [axis]] + np.arange(side), side - 1) for axis in (0, 1))
    inside = [corner[:, [axis]] + np.arange(side) < side for axis in (0, 1)]
    moved = masks[np.arange(len(masks))[:, None, None], rows[:, :, None], columns[:, None, :]]
    moved &= inside[0][:, :, None] & inside[1][:, None, :]
    packed = np.packbits(moved.reshape(len(masks), -1), 1)
    return np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1), corner


def _offsets(label: int, travel: int, held_out: int) -> np.ndarray:
    """Where a digit of that class may stand: Int (offset, 2)."""
    offset = np.stack(np.meshgrid(np.arange(travel), np.arange(travel), indexing="ij"), -1).reshape(-1, 2)
    quadrant = (2 * offset >= travel) @ (2, 1)
    return offset if label >= held_out else offset[quadrant != label % 4]


def _placed(mean: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The chance of each canvas pixel to be on (28, 28), for a mean mask at uniform offsets."""
    canvas = np.zeros((SIDE, SIDE))
    places = sliding_window_view(canvas, mean.shape, writeable=True)
    for y, x in offset:
        places[y, x] += mean / len(offset)
    return canvas


def _confusion(joint: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """H(Y | mask), from (masks, their joint probabilities with the class) of every class."""
    keys, chance = (np.concatenate(parts) for parts in zip(*joint, strict=True))
    place = np.unique(keys, return_inverse=True)[1]
    shared = np.bincount(place, chance)[place]
    return float(max(0.0, -(chance * np.log(chance / shared)).sum()))
