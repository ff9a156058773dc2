"""Linear probe (paper, figure 6): how well a linear classifier reads the class from posterior means."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
import torch

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.gaussian import picked
from polyvae.keys import joined
from polyvae.metrics.coherence import check_labels
from polyvae.metrics.pairs import Subset, given_subsets
from polyvae.metrics.protocol import Options, Trial, has_all, measuring
from polyvae.models.contract import JointModel, Model, NotDefined, joint
from polyvae.noise import derive_seed
from polyvae.subsets import conditional

EXAMPLES = 500
CURVE = (50, 100, 200, 1000, 2000, 5000)


def probe_accuracy(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Test accuracy of scikit-learn's logistic regression (L2, C = 1, at most 1,000 iterations, inputs as they are).

    train, test: (row, dimension). Raises InputError when the training labels are of one class.
    """
    from sklearn.exceptions import (
        ConvergenceWarning,
    )  # here: it starts slowly, and imports pandas where that is installed
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(train_labels)) < 2:
        raise InputError(f"linear_probe: all {len(train_labels)} training examples are of one class; take more")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 1,000 iterations are the published protocol
        classifier = LogisticRegression(max_iter=1000, random_state=0).fit(train, train_labels)
    return float(classifier.score(test, test_labels))


def linear_probe(
    model: Model, train: MultimodalDataset, test: MultimodalDataset, **options: Unpack[Options]
) -> dict[str, float]:
    """Accuracies in [0, 1] on test rows of classifiers on 500 training rows (or all) chosen by `seed`.

    Returns linear_probe/ + <given> for every subset of up to 5 modalities (with more: single ones and all); joint, the
    same as all; examples/<n>: joint with n training rows, as many as there are; joint_one_member: for a mixture, from
    the mean of one drawn member, as published code takes it, instead of the weighted mean of all members.
    A row counts where it has all of `given`; a `given` whose training rows are of one class is left out.
    Raises InputError without labels, NotDefined for a model that is not joint, or when nothing can be scored.
    """
    known = joint(model)
    labels = check_labels(train, "linear_probe"), check_labels(test, "linear_probe")
    if unseen := sorted(set(labels[1].tolist()) - set(labels[0].tolist())):
        raise NotDefined(f"test rows are of classes that no training row has, such as {unseen[0]}")
    names, given_sets = model.names, given_subsets(model.names)
    with measuring(known, test, **options) as on_test:
        order = np.random.default_rng(derive_seed(on_test.seed, "linear_probe")).permutation(len(train)).tolist()
        on_train = replace(on_test, data=train, rows=order[: max(EXAMPLES, *CURVE)])
        trials = on_train, on_test
        codes = [embeddings(trial, given_sets) for trial in trials]
        is_mixture = len(conditional(known.mixture, names).terms) > 1
        one_member = [embeddings(trial, [names], of_one_member=True)[names] for trial in trials if is_mixture]
    targets = labels[0][on_train.rows], labels[1][on_test.rows]

    def score(train: np.ndarray, test: np.ndarray, examples: int = EXAMPLES) -> float:
        """NaN where the training rows that can be read are of one class, or no test row can be read."""
        parts = (train[:examples], targets[0][:examples]), (test, targets[1])
        (a, classes), (b, truth) = ((x[able], y[able]) for x, y in parts for able in [~np.isnan(x).any(-1)])
        return probe_accuracy(a, classes, b, truth) if len(np.unique(classes)) > 1 and len(b) else np.nan

    accuracies = {joined(given): score(codes[0][given], codes[1][given]) for given in given_sets}
    accuracies["joint"] = accuracies[joined(names)]
    accuracies |= {
        f"examples/{n}": score(codes[0][names], codes[1][names], n) for n in CURVE if n <= len(on_train.rows)
    }
    if is_mixture:
        accuracies["joint_one_member"] = score(one_member[0], one_member[1])
    if np.isnan(list(accuracies.values())).all():
        raise NotDefined("no subset of modalities has training rows of two classes and test rows")
    return {f"linear_probe/{key}": value for key, value in accuracies.items() if not np.isnan(value)}


@torch.no_grad()
def embeddings(
    trial: Trial[JointModel], subsets: Sequence[Subset], *, of_one_member: bool = False
) -> dict[Subset, np.ndarray]:
    """given -> posterior means (row, latent), NaN where a row lacks some of `given`; each batch is encoded once.

    of_one_member: for mixtures, the mean of one member drawn by the seed instead of the mean of all.
    """
    model, data = trial.model, trial.data
    by_subset: dict[Subset, list[np.ndarray]] = {given: [] for given in subsets}
    for ids, batch in trial.batches():
        experts = model.encode(batch)
        for given, parts in by_subset.items():
            means = np.full((len(ids), model.latent_dim), np.nan, np.float32)
            parts.append(means)
            able = has_all(data, batch.present, given).nonzero().squeeze(1)
            if not len(able):
                continue
            rows = tuple(ids[i] for i in able.tolist())
            part = batch if len(rows) == len(ids) else data.batch(rows)
            posterior = model.posterior(part, given, picked(experts, (slice(None), able)))
            noise = trial.noise("linear_probe/member", rows, spread=0.0)
            mean = posterior.sample(noise) if of_one_member else posterior.mean
            means[able.cpu().numpy()] = mean.cpu().numpy()
    return {given: np.concatenate(parts) for given, parts in by_subset.items()}
