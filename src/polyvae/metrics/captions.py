"""Quality of generated captions, for which there is no Fréchet distance: likelihood per word, variety, real word order,
length; each beside the same number of real captions."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Unpack

import numpy as np
import torch

from polyvae.dataset import MultimodalDataset
from polyvae.keys import all_but, joined
from polyvae.metrics.pairs import Subset, members, wanted_members
from polyvae.metrics.protocol import Options, Trial, measuring
from polyvae.modality import Modality
from polyvae.models.contract import Model, NotDefined, code_draws
from polyvae.noise import derive_seed
from polyvae.text import PADDING

MOST_ROWS = 1000
SIZES = (2, 3)  # words of an n-gram
Tokens = Sequence[Sequence[str]]


def captions(
    model: Model, data: MultimodalDataset, train: MultimodalDataset, *, samples: int = 12, **options: Unpack[Options]
) -> dict[str, float]:
    """For every text modality, over at most 1,000 test rows and as many prior samples, the likeliest words shown.

    Returns captions/ + distinct_<n>/<source>/<name>: share of different n-grams among all (Li et al. 2016), comparable
    at equal numbers only; real_<n>grams/...: share of n-grams that occur in real training captions; length/...: words
    per caption; length_distance/...: Wasserstein distance of lengths to real test captions, in words. <source>: real
    (test captions), unconditional (prior samples), or the given modalities: all but the text.
    log_likelihood_per_word/<source>/<name>: nats per word (end token included) of real test captions, from the mean
    likelihood over `samples` draws given the source or from the prior: higher is better.
    perplexity/<source>/<name>: exp of minus that.
    Raises NotDefined where no modality is text.
    """
    texts = [m for m in model.modalities if m.vocabulary]
    if not texts:
        raise NotDefined("no modality is text")
    scores: dict[str, float] = {}
    with measuring(model, data, **options) as on_all:
        trial = on_all.having((), MOST_ROWS)
        for spec in texts:
            given = all_but(spec.name, model.names)
            sources = {"unconditional": None} | ({joined(given): given} if given else {})
            real = _real(data.rows(trial.rows), spec, all_variants=False)
            known = [_ngrams(_real(train, spec, all_variants=True), n) for n in SIZES]
            drawn = {label: _drawn(trial, spec, source) for label, source in sources.items()}
            for label, tokens in {"real": real, **drawn}.items():
                scores |= {f"{key}/{label}/{spec.name}": v for key, v in quality(tokens, real, known).items()}
            for label, source in sources.items():
                score = _per_word(trial, spec, source, samples)
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
        from scipy.stats import wasserstein_distance  # here: SciPy's statistics start slowly

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


def _drawn(trial: Trial[Model], spec: Modality, given: Subset | None) -> Tokens:
    """Words of one caption per row: from the prior, or given others, each row from one member drawn by its weight."""
    assert spec.vocabulary is not None
    words: list[list[str]] = []
    if given is None:
        for _, means in trial.prior_means("captions/prior", (spec.name,)):
            words += spec.vocabulary.tokens(spec.to_original(means[spec.name]))
        return words
    parts = members(trial.model, given)
    weights = [weight for _, weight in parts]
    chosen = np.random.default_rng(derive_seed(trial.seed, "captions")).choice(len(parts), len(trial.data), p=weights)
    for drawn in trial.conditional_means("captions", wanted_members(trial.model, [(given, spec.name)])):
        mine = [i for i, row in enumerate(drawn.rows) if parts[chosen[row]][0] == drawn.given]
        words += spec.vocabulary.tokens(spec.to_original(drawn.values[mine]))
    return words


def _per_word(trial: Trial[Model], spec: Modality, given: Subset | None, samples: int) -> float:
    """Nats per word of the real captions: log of the mean likelihood over draws, summed, over the number of words.

    End tokens count as words; padding does not, even where a likelihood scores it.
    """
    model, name = trial.model, spec.name
    total, words = 0.0, 0
    for ids, batch in trial.having((name, *(given or ()))).batches():
        scores, posterior = [], None if given is None else code_draws(model, batch, given, (name,))
        for draw in range(samples):
            noise = trial.noise(f"captions/likelihood/{draw}", ids)
            codes = model.prior_codes(len(ids), noise) if posterior is None else posterior(noise)
            scores.append(model.decode({name: codes[name]})[name].log_prob(batch.values[name]).double())
        total += float((torch.stack(scores).logsumexp(0) - math.log(samples)).sum())
        words += int((trial.data.values[name][list(ids)] != PADDING).sum())
    return total / words if words else math.nan
