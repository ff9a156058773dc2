"""The linear probe against scikit-learn."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from polyvae import metrics, subsets
from polyvae.errors import InputError
from polyvae.metrics.linear_probe import embeddings
from polyvae.metrics.protocol import Trial
from polyvae.noise import derive_seed
from support.painters import (
    NAMES,
    ROWS,
    painted,
    vae,
)


def test_the_probe_is_scikit_learn_on_posterior_means():
    model, data = vae(subsets.mopoe(NAMES)), painted()
    found = metrics.linear_probe(model, data, data, seed=3)
    order = np.random.default_rng(derive_seed(3, "linear_probe")).permutation(ROWS)
    for given in (("m0",), ("m0", "m2"), NAMES):
        means = model.embed(data.batch(range(ROWS)), given).numpy()
        classifier = LogisticRegression(max_iter=1000, random_state=0).fit(means[order], data.labels[order])
        assert found[f"linear_probe/{'+'.join(given)}"] == pytest.approx(classifier.score(means, data.labels))
    assert found["linear_probe/joint"] == found["linear_probe/m0+m1+m2"]
    assert "linear_probe/joint_one_member" not in found


def test_a_mixture_can_be_probed_by_one_drawn_member():
    model, data = vae(subsets.mmvae(NAMES)), painted()
    assert "linear_probe/joint_one_member" in metrics.linear_probe(model, data, data)
    one = embeddings(Trial(model, data, list(range(ROWS)), 1, 7), [NAMES], of_one_member=True)[NAMES]
    experts = model.encode(data.batch(range(ROWS))).mean.detach().numpy()
    nearest = np.abs(experts - one).max(-1).min(0)
    assert nearest.max() < 1e-5, "each row is the mean of one of its experts"
    which = np.abs(experts - one).max(-1).argmin(0)
    assert set(which.tolist()) == {0, 1, 2}


def test_the_probe_scores_rows_that_have_what_it_reads():
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[5:, 2] = False
    model, data = vae(subsets.mopoe(NAMES)), painted(present)
    read = embeddings(Trial(model, data, list(range(ROWS)), batch_size=9), [("m2",), NAMES])
    assert np.isnan(read["m2",]).all(-1).tolist() == [False] * 5 + [True] * 35
    means, order = (
        read["m2",][:5],
        [row for row in np.random.default_rng(derive_seed(0, "linear_probe")).permutation(ROWS) if row < 5],
    )
    classifier = LogisticRegression(max_iter=1000, random_state=0).fit(means[order], data.labels[order])
    score = metrics.linear_probe(model, data, data)["linear_probe/m2"]
    assert score == pytest.approx(classifier.score(means, data.labels[:5]))


def test_the_probe_of_a_subset_is_fitted_on_as_many_rows_as_have_it(monkeypatch):
    """Of 2,000 rows, of which a fifth are complete: `examples/<n>` is n rows, and every subset has its 500."""
    rows = 2000
    present = torch.ones(rows, 3, dtype=torch.bool)
    present[torch.arange(rows) % 5 > 0, 2] = False
    data = replace(painted().rows(torch.arange(rows) % ROWS), present=present)
    fitted = []

    def accuracies(tasks):
        fitted.extend(len(labels) for (_, labels), _ in tasks)
        return [0.5] * len(tasks)

    monkeypatch.setattr(sys.modules[embeddings.__module__], "probe_accuracies", accuracies)
    found = list(metrics.linear_probe(vae(subsets.mopoe(NAMES)), data, data))
    sizes = dict(zip((key.removeprefix("linear_probe/") for key in found), fitted, strict=False))
    assert sizes | {"m0": 500, "m2": 400, "m0+m1+m2": 400, "examples/50": 50, "examples/200": 200} == sizes
    assert "examples/1000" not in sizes


def test_the_probe_needs_labels_of_two_classes():
    model, data = vae(subsets.mopoe(NAMES)), painted()
    with pytest.raises(InputError, match="linear_probe needs labels"):
        metrics.linear_probe(model, replace(data, labels=None), data)
    with pytest.raises(InputError, match="two classes"):
        metrics.linear_probe(model, data, replace(data, labels=torch.zeros(ROWS, dtype=torch.long)))
