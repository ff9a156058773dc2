"""Coherence of images and captions: exact models at the ceiling, shuffled ones at chance."""

import pytest
import torch
from torch import nn

from polyvae.datasets.birds.drawn import ATTRIBUTES
from polyvae.metrics import AttributeJudge, Evaluation, attribute_coherence, evaluate
from support.captions import CHANCE, COUNTS, DATA, JUDGE, VALUES, Copier


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
    assert "attributes, not classes" in notes["coherence_from_means"]


def test_metrics_of_the_judges_features_serve_images_beside_text():
    found, notes = evaluate(Copier(), Evaluation(DATA, DATA, judge=JUDGE), ["frechet", "kid", "prdc", "diversity"])
    assert not notes
    assert found["frechet/attributes/unconditional/image"] == pytest.approx(0, abs=1e-6)
    assert found["kid/attributes/unconditional/image"] < 0.01
    assert found["diversity/attributes/caption/image"] == pytest.approx(0), "one picture for all draws"
