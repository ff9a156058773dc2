"""Entropies of digits on pictures, against the enumeration of every image of small generators."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from polyvae import InputError, datasets, subsets, theory
from polyvae.audits import laws as truths
from polyvae.datasets.polymnist.backgrounds import Picture
from polyvae.datasets.polymnist.generator import Placement, Sampler


def small(side=12, travel=1, *, flat=False, held_out=0, seed=0, twins=False):
    """Seven digits of three classes, two of them equal, on pictures of 30 x 31 and 31 x 30 pixels."""
    rng = np.random.default_rng(seed)
    masks = rng.random((7, side, side)) < 0.3
    masks[:, 0, 0] = masks[:, -1, -1] = True
    masks[1] = masks[0]
    masks[2] = 0
    masks[2, 2:4, 3:6] = True  # smaller than its square: may look the same as the next one elsewhere
    masks[3] = 0
    masks[3, 3:5, 3:6] = True
    if twins:
        masks[6] = masks[0]
    sizes = ((30, 31), (31, 30))
    pictures = [rng.integers(0, 256, (3, *size)).astype(np.uint8) for size in sizes]
    if flat:
        pictures[0][:] = 7
        pictures[0][0, 0, 0] = 9
    named = tuple(Picture(str(i), pixels) for i, pixels in enumerate(pictures))
    return Sampler(masks, np.array([0, 0, 1, 1, 1, 2, 2]), named, travel, held_out)


def enumerated(sampler, modality):
    """Every image (n, 3, 28, 28) of a modality, its class (n,) and its probability (n,)."""
    height, width = (size - 28 for size in sampler.pictures[modality].pixels.shape[1:])
    images, labels, chance = [], [], []
    for digit, label in enumerate(sampler.labels):
        offsets = [
            offset
            for offset in itertools.product(range(sampler.travel), repeat=2)
            if label >= sampler.held_out or sampler.quadrant(np.array([offset]))[0] != label % 4
        ]
        cells = [(c, o) for c in itertools.product(range(height), range(width)) for o in offsets]
        corner, offset = (np.array(part) for part in zip(*cells, strict=True))
        images.append(sampler.render(modality, Placement(np.full(len(cells), digit), corner, offset)))
        labels.append(np.full(len(cells), label))
        chance.append(np.full(len(cells), 1 / len(sampler.labels) / len(cells)))
    return np.concatenate(images), np.concatenate(labels), np.concatenate(chance)


def entropy(keys, chance):
    mass = np.bincount(np.unique(keys, axis=0, return_inverse=True)[1].ravel(), chance)
    return float(-(mass * np.log(mass)).sum())


CASES = [{}, {"travel": 5}, {"travel": 6, "held_out": 2}, {"side": 28}, {"flat": True}, {"twins": True}]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_image_entropies_are_those_of_enumeration(case):
    sampler = small(**case)
    law = truths.law_of(sampler)
    h_class = entropy(sampler.labels[:, None], np.full(7, 1 / 7))
    assert law.class_entropy == pytest.approx(h_class)
    assert law.is_exact == (not case.get("flat") and not case.get("twins"))
    given_class = []
    for modality in range(2):
        images, labels, chance = enumerated(sampler, modality)
        flat = images.reshape(len(images), -1)
        with_class = np.concatenate([flat, labels[:, None].astype(np.uint8)], 1)
        truth = entropy(with_class, chance) - h_class
        assert law.low[modality] - 1e-9 <= truth <= law.high[modality] + 1e-9
        assert h_class + truth - entropy(flat, chance) <= law.ambiguity + 1e-9  # H(Y | X_m)
        if law.low[modality] == law.high[modality]:
            assert law.low[modality] == pytest.approx(truth)
        given_class.append(truth)
    S = subsets.mmvae(law.names)
    low, high = law.discrepancy_interval(S)
    assert low - 1e-9 <= sum(given_class) / 2 <= high + 1e-9
    if law.is_exact:
        assert low == high == pytest.approx(theory.discrepancy(law, S)) == pytest.approx(sum(given_class) / 2)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pixel_laws_are_those_of_enumeration(case):
    sampler = small(**case)
    law = truths.law_of(sampler)
    images, labels, chance = enumerated(sampler, 0)
    bits = loss = 0.0
    for label in range(3):
        chosen = labels == label
        values, weight = images[chosen].reshape(chosen.sum(), -1), chance[chosen]
        counts = np.zeros((values.shape[1], 256))
        np.add.at(counts, (np.arange(values.shape[1]), values), weight[:, None] / weight.sum())
        bits += weight.sum() * -(counts * np.log(np.where(counts > 0, counts, 1))).sum()
        cost = np.abs(np.arange(256)[:, None] - np.arange(256)) / 255
        loss += weight.sum() * (counts @ cost).min(1).sum()
    assert law.pixels[0].entropy == pytest.approx(bits)
    assert law.pixels[0].deviation == pytest.approx(loss)
    assert law.unseen_pixels(("m1",)) == law.pixels[0].entropy
    plain = loss / 0.5 + 3 * 28 * 28 * np.log(2 * 0.5)
    assert law.pixels[0].laplace_loss(0.5) == pytest.approx(plain)


def test_limited_crops_are_those_of_enumeration():
    sampler = replace(small(), crop_range=2)
    law = truths.law_of(sampler)
    cells = list(itertools.product(range(len(sampler.labels)), range(2), range(2)))
    digit, *corner = (np.array(part) for part in zip(*cells, strict=True))
    images = sampler.render(0, Placement(digit, np.stack(corner, 1), np.zeros((len(cells), 2), int)))
    names, chance = images.reshape(len(cells), -1), np.full(len(cells), 1 / len(cells))
    assert law.entropies.of(("m0",)) == pytest.approx(entropy(names, chance))
    drawn = sampler.draw_tuples(500, np.random.default_rng(0))[0][0].numpy().reshape(500, -1)
    assert {row.tobytes() for row in drawn} == {row.tobytes() for row in names}


def test_each_crop_position_adds_its_logarithm_to_delta():
    S = subsets.mmvae(("m0", "m1"))
    deltas = [theory.discrepancy(truths.law_named("polymnist", modalities=2, crop_range=k), S) for k in (1, 2, 8)]
    assert np.diff(deltas) == pytest.approx([np.log(4), np.log(16)])
    with pytest.raises(InputError, match="crop_range 10000 must be from 1 to"):
        datasets.sampler("polymnist", crop_range=10_000)


@pytest.mark.parametrize(
    ("name", "options"),
    [("polymnist", {"modalities": 3}), ("translated_polymnist", {"modalities": 2}), ("repeated_polymnist", {})],
)
def test_the_shipped_generators_are_exact(name, options):
    law = truths.law_of(datasets.sampler(name, **options))
    assert law.is_exact
    assert law.class_entropy == pytest.approx(np.log(10))
    shared = law.entropies.information(("m0",), ("m1",))
    assert shared == pytest.approx(np.log(10))
