"""Attributes that captions name (the colour of a body, the length of a bill), read by rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.text import Vocabulary

UNREAD = -1


@dataclass(frozen=True)
class Attribute:
    """One thing that a caption may say.

    values: for each value the words that name it. parts: the nouns that it is said of; none: of any noun.
    """

    name: str
    values: tuple[tuple[str, ...], ...]
    parts: tuple[str, ...] = ()


def read_tokens(tokens: Sequence[str], attributes: Sequence[Attribute]) -> list[int]:
    """The value of each attribute, or -1 where the tokens do not say.

    A value belongs to the next part named after it ("a red body and blue wings"); the first reading counts.
    """
    meant = [{word: v for v, words in enumerate(a.values) for word in words} for a in attributes]
    parts = {part for attribute in attributes for part in attribute.parts}
    read, waiting = [UNREAD] * len(attributes), [UNREAD] * len(attributes)
    for token in map(str.lower, tokens):
        for i, attribute in enumerate(attributes):
            waiting[i] = meant[i].get(token, waiting[i])
            is_said = token in attribute.parts if attribute.parts else waiting[i] != UNREAD
            if is_said and read[i] == UNREAD:
                read[i] = waiting[i]
        if token in parts:
            waiting = [UNREAD] * len(attributes)
    return read


def read_captions(ids: Tensor, vocabulary: Vocabulary, attributes: Sequence[Attribute]) -> np.ndarray:
    """Int64 (row, attribute) of token ids (row, position)."""
    rows = [read_tokens(tokens, attributes) for tokens in vocabulary.tokens(ids)]
    return np.array(rows, np.int64).reshape(len(rows), len(attributes))


def caption_of(data: MultimodalDataset) -> str | None:
    """The first text modality, or None."""
    return next((m.name for m in data.modalities if m.vocabulary), None)


def said(data: MultimodalDataset, attributes: Sequence[Attribute]) -> np.ndarray:
    """What each row's own captions say: Int64 (row, variant, attribute); one variant where there is one caption.

    data: with a text modality; a row without a caption says nothing.
    """
    column, name, vocabulary = next((i, m.name, m.vocabulary) for i, m in enumerate(data.modalities) if m.vocabulary)
    ids = data.variants.get(name, data.values[name][:, None])
    values = read_captions(ids.flatten(0, 1), vocabulary, attributes).reshape(*ids.shape[:2], -1)
    values[~data.present[:, column].cpu().numpy()] = UNREAD
    return values


def agreed(said: np.ndarray) -> np.ndarray:
    """What most of a row's captions say, the lowest value in a tie, -1 where none says it: Int64 (row, attribute).

    Of several captions the first is left out, so that it can be judged by the others.
    """
    others = torch.from_numpy(said[:, 1:] if said.shape[1] > 1 else said)
    counts = torch.stack([(others == value).sum(1) for value in range(max(int(others.max()) + 1, 1))], -1)
    return torch.where(counts.sum(-1) > 0, counts.argmax(-1), UNREAD).numpy()
