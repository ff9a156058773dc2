"""Test tuples unlike the training data: inputs on pictures, or with digits in places, that were never shown."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from polyvae.dataset import MultimodalDataset
from polyvae.datasets.polymnist.backgrounds import load_pictures
from polyvae.datasets.polymnist.generator import Sampler
from polyvae.modality import Modality
from polyvae.noise import derive_seed

ROWS = 2000


def shifted(
    sampler: Sampler, modalities: Sequence[Modality], seed: int, data_dir: Path | str | None = None
) -> dict[str, MultimodalDataset]:
    """name -> 2,000 fresh test tuples of `modalities`, images of m<k> by the k-th picture.

    unseen_backgrounds: every modality on a picture that no modality was trained on (if there are any).
    held_out_pairs: digits only where they were never shown (if the sampler holds any out).
    sampler: of the test digits.
    """
    used = {picture.name for picture in sampler.pictures}
    others = [picture for picture in load_pictures(data_dir) if picture.name not in used]
    tuples = {}
    if others:
        unseen = tuple(others[k % len(others)] for k in range(len(sampler.pictures)))
        tuples["unseen_backgrounds"] = _tuples(replace(sampler, pictures=unseen), modalities, seed)
    if sampler.held_out:
        tuples["held_out_pairs"] = _tuples(replace(sampler, shows_held_out=True), modalities, seed)
    return tuples


def _tuples(sampler: Sampler, modalities: Sequence[Modality], seed: int) -> MultimodalDataset:
    images, labels, _ = sampler.draw_tuples(ROWS, np.random.default_rng(derive_seed(seed, "shifted")))
    values = {m.name: images[int(m.name.removeprefix("m"))] for m in modalities}
    return MultimodalDataset.complete("shifted", modalities, values, labels=labels)
