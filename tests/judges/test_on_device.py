"""Judges and critics are trained where they lie: torch's `meta` device holds no numbers: asking it for one raises."""

from collections.abc import Mapping

import pytest
import torch

from polyvae import datasets
from polyvae.datasets.birds.drawn import ATTRIBUTES
from polyvae.judges import attributes, critic, digits, labelled
from polyvae.judges.trained import place_of, trained_once

META = torch.device("meta")
STEPS = 3


def stepped(network, loss, recipe, steps, held_out=None):
    """`optimise` without the look at held-out rows, which is allowed to wait."""
    for _ in range(STEPS):
        loss().backward()
    assert held_out is None or held_out().device == META
    return network.state_dict()


class OnMeta:
    """Rows that lie there."""

    def __init__(self, data):
        self.data, self.modalities = data, data.modalities

    def __len__(self):
        return len(self.data)

    def batch(self, rows):
        return self.data.batch(slice(len(rows))).to(META)


def check(weights: Mapping[str, torch.Tensor]) -> None:
    assert {weight.device for weight in weights.values()} == {META}


@pytest.mark.parametrize("name", ["polymnist", "translated_polymnist"])
def test_a_judge_of_digits_asks_for_nothing(name, hasty):
    sampler = datasets.sampler(name, modalities=2)
    check(digits._train(digits._Network(sampler.cells, sampler.offsets).to(META), sampler))


def test_nor_do_a_judge_of_labels_and_a_critic(hasty, monkeypatch):
    for module in (labelled, critic):
        monkeypatch.setattr(module, "optimise", stepped)
    data = datasets.load("polymnist", modalities=2, size=150)
    check(critic._train(critic._encoders(data.modalities).to(META), OnMeta(data)))
    network = labelled._network(data.modalities[0], 10).to(META)
    check(labelled._train_one(network, OnMeta(data.select(["m0"])), data.labels.to(META)))


def test_nor_does_a_judge_of_attributes(monkeypatch):
    monkeypatch.setattr(attributes, "optimise", stepped)
    pairs = datasets.load("toy_captions", size=150)
    check(attributes._train(attributes._network(ATTRIBUTES).to(META), pairs, ATTRIBUTES))


def test_what_another_device_trains_is_kept_elsewhere_and_handed_out_there(tmp_path):
    here, there = (place_of("judges", ["x"], tmp_path, torch.device(kind)) for kind in ("cpu", "cuda"))
    assert here == place_of("judges", ["x"], tmp_path) != there
    assert there == place_of("judges", ["x"], tmp_path, torch.device("cuda:1"))
    seen = []

    def train(network):
        seen.append(network.weight.device)
        return {name: torch.zeros(weight.shape) for name, weight in network.state_dict().items()}

    network, _ = trained_once(there, lambda: torch.nn.Linear(2, 1), train, {"seed": 0}, device=META)
    assert seen == [network.weight.device] == [META]
