"""Linear probe (paper, figure 6): how well a linear classifier reads the class from posterior means."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Unpack

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.keys import joined
from polyvae.metrics.coherence import check_labels
from polyvae.metrics.pairs import Subset, known_subsets
from polyvae.metrics.protocol import Options, Trial, measuring, rows_with
from polyvae.models.contract import JointModel, Model, NotDefined, joint, shared_dim_of
from polyvae.noise import derive_seed
from polyvae.subsets import conditional

EXAMPLES = 500
CURVE = (50, 100, 200, 1000, 2000, 5000)

Examples = tuple[np.ndarray, np.ndarray]  # codes (row, dimension), labels (row,)


def probe_accuracy(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Test accuracy of scikit-learn's logistic regression (L2, C = 1, at most 1,000 iterations, inputs as they are).

    train, test: (row, dimension). Raises InputError when the training labels are of one class.
    """
    if len(np.unique(train_labels)) < 2:
        raise InputError(f"linear_probe: all {len(train_labels)} training examples are of one class; take more")
    (accuracy,) = probe_accuracies([((train, train_labels), (test, test_labels))])
    return accuracy


def probe_accuracies(tasks: Sequence[tuple[Examples, Examples]]) -> list[float]:
    """`probe_accuracy` of several (train, test), side by side, each on one thread: more would wait for each other."""
    # Here, since it starts slowly, and imports pandas where that is installed.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    def accuracy(task: tuple[Examples, Examples]) -> float:
        train, test = task
        return float(LogisticRegression(max_iter=1000, random_state=0).fit(*train).score(*test))

    with warnings.catch_warnings(), threadpool_limits(1), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # 1,000 iterations are the published protocol
        return list(pool.map(accuracy, tasks))


def linear_probe(
    model: Model, train: MultimodalDataset, test: MultimodalDataset, **options: Unpack[Options]
) -> dict[str, float]:
    """Accuracies in [0, 1] on test rows of classifiers on 500 training rows (or all) chosen by `seed`.

    Returns linear_probe/ + <given> for every subset of up to 5 modalities (with more: single ones and all); joint, the
    same as all; examples/<n>: joint with n training rows, where there are as many; joint_one_member: for a mixture,
    from the mean of one drawn member, as in published code, instead of the weighted mean of all members.
    Rows are those that have all of `given`; a `given` whose training rows are of one class is left out.
    Raises InputError without labels, NotDefined for a model that is not joint, or when nothing can be scored.
    """
    known = joint(model)
    labels = check_labels(train, "linear_probe"), check_labels(test, "linear_probe")
    if unseen := sorted(set(labels[1].tolist()) - set(labels[0].tolist())):
        raise NotDefined(f"test rows are of classes that no training row has, such as {unseen[0]}")
    names, given_sets = model.names, known_subsets(known)
    with measuring(known, test, **options) as on_test:
        order = np.random.default_rng(derive_seed(on_test.seed, "linear_probe")).permutation(len(train)).tolist()
        complete = rows_with(train, order, names)[: max(CURVE)]
        read = {row for given in given_sets for row in rows_with(train, order, given)[:EXAMPLES]}.union(complete)
        on_train = replace(on_test, data=train, rows=[row for row in order if row in read])
        trials = on_train, on_test
        codes = [embeddings(trial, given_sets) for trial in trials]
        is_mixture = len(conditional(known.mixture, names).terms) > 1
        one_member = [embeddings(trial, [names], of_one_member=True)[names] for trial in trials if is_mixture]
    targets = labels[0][on_train.rows], labels[1][on_test.rows]

    def task(train: np.ndarray, test: np.ndarray, examples: int = EXAMPLES) -> tuple[Examples, Examples]:
        """The rows that can be read, the first `examples` of those for training."""
        fit, scored = (~np.isnan(codes).any(-1) for codes in (train, test))
        return (train[fit][:examples], targets[0][fit][:examples]), (test[scored], targets[1][scored])

    tasks = {joined(given): task(codes[0][given], codes[1][given]) for given in given_sets}
    tasks |= {f"examples/{n}": task(codes[0][names], codes[1][names], n) for n in CURVE if n <= len(complete)}
    if is_mixture:
        tasks["joint_one_member"] = task(one_member[0], one_member[1])
    able = {key: (a, b) for key, (a, b) in tasks.items() if len(np.unique(a[1])) > 1 and len(b[1])}
    if not able:
        raise NotDefined("no subset of modalities has training rows of two classes and test rows")
    accuracies = dict(zip(able, probe_accuracies(list(able.values())), strict=True))
    if (whole := joined(names)) in accuracies:
        accuracies["joint"] = accuracies[whole]
    return {f"linear_probe/{key}": accuracy for key, accuracy in accuracies.items()}


@torch.no_grad()
def embeddings(
    trial: Trial[JointModel], subsets: Sequence[Subset], *, of_one_member: bool = False
) -> dict[Subset, np.ndarray]:
    """given -> posterior means (row, latent), NaN where a row lacks some of `given`; each batch is encoded once.

    Of a model with private codes it is the shared code alone, as published.

    of_one_member: for mixtures, the mean of one member drawn by the seed instead of the mean of all.
    """
    model, data, width = trial.model, trial.data, shared_dim_of(trial.model)
    able = {given: rows_with(data, trial.rows, given) for given in subsets}
    means: dict[Subset, list[Tensor]] = {given: [] for given in subsets}
    for ids, batch in trial.batches():
        experts = model.encode(batch)
        for given, of_given in means.items():
            rows, part, own = trial.part(ids, batch, given, experts)
            if not rows:
                continue
            posterior = model.posterior(part, given, own)
            noise = trial.noise("linear_probe/member", rows, spread=0.0)
            of_given.append((posterior.sample(noise) if of_one_member else posterior.mean)[:, :width])
    codes = {given: np.full((len(trial.rows), width), np.nan, np.float32) for given in subsets}
    place = {row: index for index, row in enumerate(trial.rows)}
    for given, parts in means.items():
        if parts:
            codes[given][[place[row] for row in able[given]]] = torch.cat(parts).cpu().numpy()
    return codes
