"""Text as token ids: words and punctuation, a vocabulary, and back to sentences. No downloads.

A caption is a row of `length` ids: its words, the end token, padding (Shi et al. 2019).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from polyvae.errors import InputError
from polyvae.likelihoods import END

UNKNOWN, PADDING = 0, 1
SPECIALS = ("<exc>", "<pad>", "<eos>")  # the words at UNKNOWN, PADDING and END
LENGTH = 32
LEAST_COUNT = 4  # the published rule: more than three times
TOKEN = re.compile(r"<\w+>|\w+(?:[-'/]\w+)*|[^\w\s]")
NO_SPACE_BEFORE = re.compile(r"\s+([.,;:!?)\]%])")


def tokenise(caption: str) -> list[str]:
    """Words (with inner hyphens and apostrophes) and punctuation marks, case kept."""
    return TOKEN.findall(caption)


def detokenise(tokens: Iterable[str]) -> str:
    """The tokens as a sentence to read."""
    return NO_SPACE_BEFORE.sub(r"\1", " ".join(tokens))


@dataclass(frozen=True)
class Vocabulary:
    """The words of a text modality, and its units: the data hold token ids (row, length), a model reads one-hot
    vectors (row, length, word).

    words: id -> word; the first three are `SPECIALS`. length: ids per caption, end token included.
    Raises InputError unless words begin with the specials and are all different.
    """

    words: tuple[str, ...]
    length: int = LENGTH

    def __post_init__(self) -> None:
        if self.words[:3] != SPECIALS or len(set(self.words)) < len(self.words):
            raise InputError(f"a vocabulary holds different words and begins with {', '.join(SPECIALS)}")
        if not self.length >= 2 or len(self.words) > np.iinfo(np.int16).max:
            raise InputError(f"{len(self.words)} words at length {self.length}; give length >= 2 and at most 32,767")

    @staticmethod
    def of(captions: Iterable[str], length: int = LENGTH, least: int = LEAST_COUNT) -> "Vocabulary":
        """Every token that occurs at least `least` times, in order of first appearance (Shi et al. 2019)."""
        counts = Counter(token for caption in captions for token in tokenise(caption))
        frequent = (word for word, count in counts.items() if count >= least and word not in SPECIALS)
        return Vocabulary((*SPECIALS, *frequent), length)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Int16 (row, length): the first length - 1 tokens, the end token, padding; unknown words are `<exc>`."""
        ids = np.full((len(captions), self.length), PADDING, np.int16)
        for row, caption in enumerate(captions):
            words = tokenise(caption)[: self.length - 1]
            of_words = [UNKNOWN if word in SPECIALS else self._ids.get(word, UNKNOWN) for word in words]
            ids[row, : len(words) + 1] = [*of_words, END]
        return torch.from_numpy(ids)

    def tokens(self, ids: Tensor) -> list[list[str]]:
        """The words of each row of ids (row, length) before its end token, without padding."""
        texts = (row[: row.index(END)] if END in row else row for row in ids.tolist())
        return [[self.words[index] for index in text if index != PADDING] for text in texts]

    def decode(self, ids: Tensor) -> list[str]:
        """Sentences of ids (row, length)."""
        return [detokenise(tokens) for tokens in self.tokens(ids)]

    def __call__(self, ids: Tensor) -> Tensor:
        """One-hot float32 (..., length, word) of ids (..., length)."""
        return one_hot(ids.long(), len(self.words)).float()

    def inverse(self, values: Tensor) -> Tensor:
        """The most probable ids Int64 (..., length) of one-hot vectors or probabilities (..., length, word)."""
        return values.argmax(-1)

    def to_json(self) -> dict[str, Any]:
        return {"words": list(self.words), "length": self.length}
