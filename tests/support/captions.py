"""Drawn birds with captions, a judge that knows them, and a model that copies them."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import one_hot

from polyvae import datasets
from polyvae.attributes import agreed, said
from polyvae.datasets.birds.drawn import ATTRIBUTES
from polyvae.likelihoods import Normal, Text
from polyvae.metrics import AttributeJudge
from polyvae.noise import RowNoise

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
