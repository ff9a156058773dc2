"""Quality of generated captions, for which there is no Frechet distance: likelihood a word, variety, real word order,
length; each beside the same number of real captions."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from polyvae.dataset import MultimodalDataset, chosen_rows, chunks
from polyvae.keys import all_but, joined
from polyvae.metrics.protocol import (
    Draws,
    Subset,
    check_names,
    conditional_means,
    members,
    rows_with,
    scoring,
    wanted_members,
)
from polyvae.modality import Modality
from polyvae.models.contract import Model, NotDefined
from polyvae.noise import RowNoise
from polyvae.text import PADDING

MOST_ROWS = 1000
SIZES = (2, 3)  # words of an n-gram
Tokens = Sequence[Sequence[str]]


def captions(
    model: Model,
    data: MultimodalDataset,
    train: MultimodalDataset,
    *,
    samples: int = 12,
    seed: int = 0,
    batch_size: int = 500,
) -> dict[str, float]:
    """For every text modality, over at most 1,000 test rows and as many prior samples, the likeliest words shown.

    Returns captions/ + distinct_<n>/<source>/<name>: share of different n-grams among all (Li et al. 2016), comparable
    at equal numbers only; real_<n>grams/...: share of n-grams that occur in real training captions; length/...: words a
    caption; length_distance/...: Wasserstein distance of lengths to real test captions, in words. <source>: real (test
    captions), unconditional (prior samples), or the given modalities: all but the text.
    log_likelihood_per_word/<source>/<name>: nats a word (end token included) of real test captions, from the mean
    likelihood over `samples` draws given the source or from the prior: higher is better.
    perplexity/<source>/<name>: exp of minus that.
    Raises NotDefined where no modality is text.
    """
    rows = check_names(model, data, None)
    texts = [m for m in model.modalities if m.vocabulary]
    if not texts:
        raise NotDefined("no modality is text")
    kept = [rows[i] for i in chosen_rows(len(rows), MOST_ROWS, seed)]
    scores: dict[str, float] = {}
    with scoring(model):
        for spec in texts:
            given = all_but(spec.name, model.names)
            sources = {"unconditional": None} | ({joined(given): given} if given else {})
            real = _real(data.rows(kept), spec, all_variants=False)
            known = [_ngrams(_real(train, spec, all_variants=True), n) for n in SIZES]
            by_source = {"real": real} | {
                label: _drawn(model, data, spec, source, kept, seed, batch_size) for label, source in sources.items()
            }
            for label, tokens in by_source.items():
                scores |= {f"{key}/{label}/{spec.name}": v for key, v in quality(tokens, real, known).items()}
            for label, source in sources.items():
                score = _per_word(model, data, spec, source, kept, samples, seed, batch_size)
                scores[f"log_likelihood_per_word/{label}/{spec.name}"] = score
                scores[f"perplexity/{label}/{spec.name}"] = math.exp(min(-score, 700.0))
    return {f"captions/{key}": value for key, value in scores.items() if not math.isnan(value)}


def quality(tokens: Tokens, real: Tokens, known: Sequence[Counter[tuple[str, ...]]]) -> dict[str, float]:
    """distinct_<n>, real_<n>grams, length, length_distance of captions as lists of words.

    real: to compare lengths with. known: for n = 2, 3 the n-grams of real captions. An n-gram share is NaN where no
    caption has n words, lengths are NaN where there is no caption.
    """
    lengths, real_lengths = ([len(words) for words in captions] for captions in (tokens, real))
    scores = {"length": float(np.mean(lengths)) if lengths else math.nan, "length_distance": math.nan}
    if lengths and real_lengths:
        scores["length_distance"] = float(wasserstein_distance(lengths, real_lengths))
    for n in (1, *SIZES):
        counts = _ngrams(tokens, n)
        scores[f"distinct_{n}"] = len(counts) / counts.total() if counts else math.nan
    for n, grams in zip(SIZES, known, strict=True):
        counts = _ngrams(tokens, n)
        inside = sum(count for gram, count in counts.items() if gram in grams)
        scores[f"real_{n}grams"] = inside / counts.total() if counts else math.nan
    return scores


def _ngrams(tokens: Tokens, n: int) -> Counter[tuple[str, ...]]:
    return Counter(chain.from_iterable(zip(*(words[i:] for i in range(n)), strict=False) for words in tokens))


def _real(data: MultimodalDataset, spec: Modality, *, all_variants: bool) -> Tokens:
    """Words of the captions that the rows have; of all their variants if `all_variants`."""
    assert spec.vocabulary is not None
    seen = data.present[:, data.names.index(spec.name)]
    ids = data.values[spec.name][seen]
    if all_variants and spec.name in data.variants:
        ids = data.variants[spec.name][seen].flatten(0, 1)
    return spec.vocabulary.tokens(ids)


def _drawn(
    model: Model,
    data: MultimodalDataset,
    spec: Modality,
    given: Subset | None,
    rows: Sequence[int],
    seed: int,
    batch_size: int,
) -> Tokens:
    """Words of one caption a row: from the prior, or given others, each row from one member drawn by its weight."""
    assert spec.vocabulary is not None
    if given is None:
        ids = []
        for part in chunks(range(len(rows)), batch_size):
            codes = model.prior_codes(len(part), RowNoise(seed, "captions/prior", part))
            ids.append(spec.to_original(model.decode({spec.name: codes[spec.name]})[spec.name].mean))
        return spec.vocabulary.tokens(torch.cat(ids))
    parts = members(model, given)
    chosen = np.random.default_rng(seed).choice(len(parts), len(data), p=[weight for _, weight in parts])
    wanted = wanted_members(model, [(given, spec.name)])
    words: list[list[str]] = []
    for drawn in conditional_means(model, data, wanted, rows, Draws(seed, "captions", batch_size)):
        mine = [i for i, row in enumerate(drawn.rows) if parts[chosen[row]][0] == drawn.given]
        words += spec.vocabulary.tokens(spec.to_original(drawn.values[mine]))
    return words


def _per_word(
    model: Model,
    data: MultimodalDataset,
    spec: Modality,
    given: Subset | None,
    rows: Sequence[int],
    samples: int,
    seed: int,
    batch_size: int,
) -> float:
    """Nats a word of the real captions: log of the mean likelihood over draws, summed, over the number of words."""
    able = rows_with(data, rows, (spec.name, *(given or ())))
    total, words = 0.0, 0
    for ids in chunks(able, batch_size):
        batch = data.batch(list(ids))
        scores = []
        for draw in range(samples):
            noise = RowNoise(seed, f"captions/likelihood/{draw}", ids)
            codes = (
                model.prior_codes(len(ids), noise)
                if given is None
                else model.posterior_codes(batch, given, (spec.name,), noise)
            )
            law = model.decode({spec.name: codes[spec.name]})[spec.name]
            scores.append(law.log_prob(batch.values[spec.name]).double())
        total += float((torch.stack(scores).logsumexp(0) - math.log(samples)).sum())
        words += _scored_words(data.values[spec.name][list(ids)])
    return total / words if words else math.nan


def _scored_words(ids: Tensor) -> int:
    """Words and end tokens of ids (row, position); padding is not counted, even where a likelihood scores it."""
    return int((ids != PADDING).sum())
