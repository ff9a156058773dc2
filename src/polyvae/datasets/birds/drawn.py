"""Drawn birds with captions: a stand-in for CUB whose shared attributes are known.

Shared by image and caption: colours of body, wings and beak, and size. Private to the image: background, branch, place,
facing, tilt of the wing, light. Private to the caption: which of eight wordings, and synonyms.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyvae.attributes import Attribute
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.cache import cached
from polyvae.datasets.entry import NoOptions
from polyvae.likelihoods import Laplace
from polyvae.modality import Modality, text_modality
from polyvae.text import SPECIALS, Vocabulary, tokenise

VERSION = 2  # part of the cache key: raise it when the same parameters give other bytes
SIDE, CHUNK = 32, 500
SIZES = {"train": 6000, "test": 1000}
COLOURS = {
    **{"red": (214, 44, 44), "blue": (44, 90, 214), "yellow": (246, 214, 50), "green": (40, 150, 64)},
    **{"black": (30, 30, 34), "white": (248, 248, 248), "orange": (255, 132, 20), "grey": (128, 128, 132)},
}
FEATHERS, BEAKS = ("red", "blue", "yellow", "green", "black", "white"), ("orange", "yellow", "black", "grey")
BACKGROUNDS = np.array([(170, 206, 240), (236, 190, 190), (190, 224, 180), (226, 214, 186), (196, 190, 226)])
BRANCH = np.array((104, 76, 54))
NOUNS = {"body": ("body", "belly", "breast"), "wings": ("wings",), "beak": ("beak", "bill")}
SMALL, LARGE = ("small", "tiny", "little"), ("large", "big", "huge")
ATTRIBUTES = (
    Attribute("body", tuple((colour,) for colour in FEATHERS), NOUNS["body"]),
    Attribute("wings", tuple((colour,) for colour in FEATHERS), NOUNS["wings"]),
    Attribute("beak", tuple((colour,) for colour in BEAKS), NOUNS["beak"]),
    Attribute("size", (SMALL, LARGE), ("bird",)),
)
WORDINGS = (
    "a {size} bird with a {body} {body_noun}, {wings} wings and a {beak} {beak_noun}.",
    "this {size} bird has {wings} wings, a {body} {body_noun} and a {beak} {beak_noun}.",
    "a {size} bird that has a {beak} {beak_noun}, a {body} {body_noun} and {wings} wings.",
    "the bird has a {body} {body_noun} and {wings} wings, it is a {size} bird with a {beak} {beak_noun}.",
    "with its {beak} {beak_noun} and {body} {body_noun}, this {size} bird shows {wings} wings.",
    "{wings} wings, a {body} {body_noun}, a {beak} {beak_noun}: a {size} bird.",
    "a {size} bird, its {body} {body_noun} stands out from the {wings} wings, and it has a {beak} {beak_noun}.",
    "there is a {size} bird with {wings} wings and a {beak} {beak_noun} over a {body} {body_noun}.",
)
ROOM = 24  # uniform numbers per row


def load_toy_captions(options: NoOptions, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    """Images (3, 32, 32) and captions (32 words), 6,000 and 1,000 rows or as many as asked for; labels: body colour."""
    rows = SIZES[split] if size is None else size
    parameters = {"birds": VERSION, "split": split, "size": rows, "seed": seed}
    stored = cached(parameters, lambda: _build(parameters))
    specs = (Modality("image", (3, SIDE, SIDE), Laplace(0.75)), text_modality("caption", vocabulary()))
    values = {"image": stored["image"], "caption": stored["caption"]}
    labels = stored["attributes"][:, 0].clone()
    return MultimodalDataset.complete("toy_captions", specs, values, labels=labels, info=parameters)


def vocabulary() -> Vocabulary:
    """Every word that a caption can have."""
    known = [*NOUNS["body"], *NOUNS["wings"], *NOUNS["beak"], *SMALL, *LARGE, *FEATHERS, *BEAKS]
    fixed = [token for wording in WORDINGS for token in tokenise(wording.replace("{", "<").replace("}", ">"))]
    words = dict.fromkeys([*(token for token in fixed if token[0] != "<"), "an", *known])
    return Vocabulary((*SPECIALS, *words))


def draw_attributes(uniform: np.ndarray) -> np.ndarray:
    """Int64 (row, attribute), uniform and independent, from the first numbers of each row."""
    counts = np.array([len(attribute.values) for attribute in ATTRIBUTES])
    return (uniform[:, : len(counts)] * counts).astype(np.int64)


def write(attributes: np.ndarray, uniform: np.ndarray) -> list[str]:
    """One caption per row, in a wording and with synonyms chosen by `uniform` (row, 4)."""
    captions = []
    for (body, wings, beak, size), choice in zip(attributes.tolist(), uniform, strict=True):
        synonyms = (SMALL, LARGE)[size]
        caption = WORDINGS[int(choice[0] * len(WORDINGS))].format(
            size=synonyms[int(choice[1] * len(synonyms))],
            body=FEATHERS[body],
            wings=FEATHERS[wings],
            beak=BEAKS[beak],
            body_noun=NOUNS["body"][int(choice[2] * 3)],
            beak_noun=NOUNS["beak"][int(choice[3] * 2)],
        )
        captions.append(caption.replace("a orange", "an orange"))
    return captions


def paint(attributes: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Images UInt8 (row, 3, 32, 32); place, background and so on by `uniform` (row, 10). Edges are antialiased."""
    u = uniform[:, :, None, None]
    palette = np.array([COLOURS[name] for name in FEATHERS], float)
    body, wings = palette[attributes[:, 0]], palette[attributes[:, 1]]
    beak = np.array([COLOURS[name] for name in BEAKS], float)[attributes[:, 2]]
    scale = np.array([7.5, 10.5])[attributes[:, 3]][:, None, None] * (0.95 + 0.1 * u[:, 0])
    facing = np.where(u[:, 1] < 0.5, -1.0, 1.0)
    axis = np.arange(SIDE) + 0.5
    centre = SIDE / 2 + np.stack([3 * (u[:, 2] - 0.5), 4 * (u[:, 3] - 0.5)])
    y, x = (axis[:, None] - centre[0]) / scale - 0.15, facing * (axis[None, :] - centre[1]) / scale + 0.12
    light = 1 + 0.15 * (u[:, 4] - 0.5) + 0.12 * (0.5 - axis[:, None] / SIDE) + np.zeros(SIDE)
    canvas = BACKGROUNDS[(uniform[:, 5] * len(BACKGROUNDS)).astype(int)][..., None, None] * light[:, None]
    branch = np.abs(y - 0.95 - 0.3 * (u[:, 6] - 0.5) * x) - 0.09

    def over(distance: np.ndarray, colour: np.ndarray) -> None:
        cover = np.clip(0.5 - distance * scale, 0, 1)[:, None]
        canvas[:] = cover * colour.reshape(-1, 3, 1, 1) + (1 - cover) * canvas

    tilt = 0.5 * (u[:, 7] - 0.3)
    over(branch, BRANCH)
    over(_wedge(-x - 0.55, y + 0.5 * x + 0.2, 0.75, 0.22), 0.7 * wings)  # tail
    over(_ellipse(x - 0.62, y + 0.72, 0.40, 0.40), body)  # head
    over(_wedge(x - 0.92, y + 0.70, 0.55, 0.24), beak)
    over(_ellipse(x, y, 0.85, 0.66), body)
    over(_ellipse(x + 0.20 + tilt * y, y + 0.02 - tilt * x, 0.62, 0.40), 0.55 * wings)  # its edge
    over(_ellipse(x + 0.20 + tilt * y, y + 0.02 - tilt * x, 0.54, 0.32), wings)
    over(_ellipse(x - 0.70, y + 0.80, 0.11, 0.11), np.full((1, 3), 20.0))  # eye
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def _ellipse(x: np.ndarray, y: np.ndarray, wide: float, high: float) -> np.ndarray:
    """About the signed distance to an ellipse, negative inside."""
    return (np.hypot(x / wide, y / high) - 1) * min(wide, high)


def _wedge(x: np.ndarray, y: np.ndarray, length: float, half: float) -> np.ndarray:
    """About the signed distance to a triangle that narrows from x = 0 to its tip at x = length."""
    return np.maximum(-x, np.abs(y) + half * (x / length - 1))


def _build(parameters: Mapping[str, Any]) -> dict[str, Tensor]:
    rng = np.random.Generator(np.random.PCG64([parameters["seed"], int(parameters["split"] == "test")]))
    uniform = rng.random((parameters["size"], ROOM))
    attributes = draw_attributes(uniform)
    captions = write(attributes, uniform[:, 4:8])
    starts = range(0, len(uniform), CHUNK)
    images = [paint(attributes[s : s + CHUNK], uniform[s : s + CHUNK, 8:18]) for s in starts]
    return {
        "image": torch.from_numpy(np.concatenate(images)),
        "caption": vocabulary().encode(captions),
        "attributes": torch.from_numpy(attributes),
    }
