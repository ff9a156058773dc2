"""Metrics of images and captions: exact models at the ceiling, shuffled ones at chance, counts by hand."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import one_hot

from polyvae import datasets
from polyvae.attributes import agreed, read_captions, said
from polyvae.datasets.birds.drawn import ATTRIBUTES
from polyvae.judges.attributes import attribute_judge_for
from polyvae.likelihoods import Normal, Text
from polyvae.metrics import AttributeJudge, Critic, Evaluation, attribute_coherence, captions, evaluate, label_free
from polyvae.metrics.captions import quality
from polyvae.noise import RowNoise
from polyvae.pictures.grids import write_grids
from polyvae.pictures.pages import TEXT_CELL, _font, wrapped

DATA = datasets.load("toy_captions", split="test", size=400)
VALUES = torch.from_numpy(agreed(said(DATA, ATTRIBUTES)))
COUNTS = [len(attribute.values) for attribute in ATTRIBUTES]
CHANCE = np.mean([1 / count for count in COUNTS])


class Oracle(nn.Module):
    """Knows every image of the data by its pixels."""

    def forward(self, images):
        bank = DATA.batch(slice(None)).values["image"].flatten(1)
        row = torch.cdist(images.flatten(1), bank).argmin(-1)
        logits = [one_hot(VALUES[row, i], count).float() for i, count in enumerate(COUNTS)]
        return torch.cat(logits, -1), images.flatten(1)[:, :8]


JUDGE = AttributeJudge(Oracle(), ATTRIBUTES, "0", "none")


class Copier:
    """Codes are rows of the data; decodes row `order[code]` exactly. sure: log odds of the words."""

    def __init__(self, order=None, sure=40.0):
        self.modalities, self.names = DATA.modalities, DATA.names
        self.order = torch.arange(len(DATA)) if order is None else order
        self.sure = sure

    def prior_codes(self, count, generator=None):
        assert isinstance(generator, RowNoise)
        return dict.fromkeys(self.names, torch.tensor(generator.rows))

    def posterior_codes(self, batch, given, targets, generator=None):
        assert isinstance(generator, RowNoise)
        own = torch.tensor(generator.rows)
        return {t: own if tuple(given) == (t,) else self.order[own] for t in targets}

    def decode(self, codes):
        found = {}
        for spec in (m for m in self.modalities if m.name in codes):
            value = DATA.batch(codes[spec.name]).values[spec.name]
            found[spec.name] = Text()(self.sure * value, 2) if spec.vocabulary else Normal(0.1)(value, 3)
        return found


def test_an_exact_model_is_at_the_ceiling():
    found = attribute_coherence(Copier(), DATA, JUDGE)
    exact = ["joint", "joint_kappa", "leave_one_out", "conditional/caption/image", "conditional/image/caption"]
    exact += ["self/image", "self/caption", "ceiling/image", "ceiling/caption", "attribute/beak/caption/image"]
    assert {key: found[f"coherence/{key}"] for key in exact} == pytest.approx(dict.fromkeys(exact, 1.0))
    assert found["coherence/chance"] == pytest.approx(CHANCE)


def test_an_exact_model_stays_at_the_ceiling_when_rows_miss_a_modality_unevenly():
    data = DATA.rows(range(len(DATA)))
    red = VALUES[:, 0] == 0
    data.present[red.nonzero().squeeze(1)[: int(red.sum()) // 2], 0] = False
    found = attribute_coherence(Copier(), data, JUDGE)
    for key in ("ceiling/image", "conditional/image/caption", "attribute/body/image/caption"):
        assert found[f"coherence/{key}"] == pytest.approx(1.0)


def test_shuffled_pairs_and_constant_guesses_are_at_chance():
    shuffled = attribute_coherence(Copier(torch.randperm(400, generator=torch.Generator().manual_seed(0))), DATA, JUDGE)
    assert shuffled["coherence/leave_one_out"] == pytest.approx(CHANCE, abs=0.03)
    low, high = (shuffled[f"coherence/leave_one_out_{end}"] for end in ("low", "high"))
    assert low < CHANCE < high
    constant = attribute_coherence(Copier(torch.full((400,), 7)), DATA, JUDGE)
    assert constant["coherence/leave_one_out"] == pytest.approx(CHANCE)
    assert constant["coherence/self/image"] == pytest.approx(1)


def test_attributes_need_captions_and_a_judge_that_sees():
    alone = DATA.select(["image"])
    model = Copier()
    model.modalities, model.names = alone.modalities, alone.names
    _, notes = evaluate(model, Evaluation(alone, alone, judge=JUDGE), ["coherence"])
    assert "no caption" in notes["coherence"]

    class Blind(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), sum(COUNTS)), images.flatten(1)[:, :8]

    blind = AttributeJudge(Blind(), ATTRIBUTES, "0", "none")
    _, notes = evaluate(Copier(), Evaluation(DATA, DATA, judge=blind), ["coherence", "ood", "coherence_from_means"])
    assert "too near chance" in notes["coherence"]
    assert "attributes, no classes" in notes["coherence_from_means"]


def test_metrics_of_the_judges_features_serve_images_beside_text():
    found, notes = evaluate(Copier(), Evaluation(DATA, DATA, judge=JUDGE), ["frechet", "kid", "prdc", "diversity"])
    assert not notes
    assert found["frechet/attributes/unconditional/image"] == pytest.approx(0, abs=1e-6)
    assert found["kid/attributes/unconditional/image"] < 0.01
    assert found["diversity/attributes/caption/image"] == pytest.approx(0), "one picture for all draws"


def test_caption_quality_counts_by_hand():
    real = [["a", "red", "bird"], ["a", "blue", "bird"]]
    known = [Counter([("a", "red"), ("red", "bird"), ("a", "blue")]), Counter([("a", "red", "bird")])]
    found = quality([["a", "red", "bird"], ["a", "red"], ["bird"]], real, known)
    assert found == pytest.approx(
        {
            "length": 2.0,
            "length_distance": 1.0,  # lengths 3, 2, 1 against 3, 3
            "distinct_1": 3 / 6,
            "distinct_2": 2 / 3,
            "distinct_3": 1.0,
            "real_2grams": 1.0,
            "real_3grams": 1.0,
        }
    )
    empty = quality([[], []], real, known)
    assert empty["length"] == 0
    assert math.isnan(empty["distinct_1"])
    assert all(math.isnan(value) for value in quality([], real, known).values())


def test_captions_of_an_exact_model_are_real_and_certain():
    found = captions(Copier(), DATA, datasets.load("toy_captions", size=3000))
    for source in ("image", "unconditional"):
        for key in ("distinct_2", "real_3grams", "length"):
            assert found[f"captions/{key}/{source}/caption"] == found[f"captions/{key}/real/caption"]
        assert found[f"captions/length_distance/{source}/caption"] == 0
    assert found["captions/real_2grams/real/caption"] > 0.99
    assert found["captions/perplexity/image/caption"] == pytest.approx(1, abs=1e-6)
    level = captions(Copier(sure=0.0), DATA, DATA)
    words = len(DATA.modalities[1].vocabulary)
    assert level["captions/perplexity/image/caption"] == pytest.approx(words, rel=1e-4), "all words alike"


@pytest.mark.slow
def test_the_trained_judge_reads_drawn_birds():
    judge = attribute_judge_for(datasets.load("toy_captions"), ATTRIBUTES)
    right = (judge.values(DATA.batch(slice(None)).values["image"]) == VALUES).double().mean(0)
    assert right.min() > 0.97


def test_captions_are_wrapped_and_drawn(tmp_path):
    lines = wrapped("a small bird with a red body , blue wings and a yellow beak", TEXT_CELL)
    assert len(lines) > 1
    assert all(_font().getlength(line) <= TEXT_CELL for line in lines)
    assert " ".join(lines) == "a small bird with a red body , blue wings and a yellow beak"
    assert wrapped("", 50) == []
    for path in write_grids(Copier(), DATA, tmp_path, columns=3):
        with Image.open(path) as image:
            assert image.width == 3 * (TEXT_CELL + 1) + 1
    assert {p.stem for p in tmp_path.iterdir()} == {
        *("unconditional", "reconstruction", "conditional_image_caption", "conditional_caption_image")
    }


def test_a_critic_of_images_and_text_needs_no_labels():
    class Same(nn.Module):
        """Embeds what a row's attributes are: of an image by the oracle, of a caption by reading it."""

        def forward(self, values):
            if values.dim() == 4:
                return Oracle()(values)[0]
            spec = DATA.modalities[1]
            read = read_captions(spec.to_original(values), spec.vocabulary, ATTRIBUTES)
            return torch.cat([one_hot(torch.from_numpy(read[:, i]), n).float() for i, n in enumerate(COUNTS)], -1)

    critic = Critic({"image": Same(), "caption": Same()}, "none")
    found = label_free(Copier(), DATA, critic)
    assert found["label_free/against_real"] == pytest.approx(1)
    assert found["label_free/leave_one_out"] == pytest.approx(1)
    shuffled = label_free(Copier(torch.randperm(400, generator=torch.Generator().manual_seed(0))), DATA, critic)
    assert shuffled["label_free/leave_one_out"] == pytest.approx(0, abs=0.1)
