"""What a linear classifier reads from the shared code and from the private one: the class, and where it is shown."""

from dataclasses import replace
from typing import Unpack

import numpy as np
import torch

from polyvae import keys
from polyvae.dataset import MultimodalDataset, chosen_rows
from polyvae.metrics.coherence import check_labels
from polyvae.metrics.linear_probe import Examples, probe_accuracies
from polyvae.metrics.protocol import Options, Trial, has_all, measuring
from polyvae.models.contract import CodeMeans, Model, NotDefined, TwoCodeModel, has_two_codes

EXAMPLES = 2000  # more than for `linear_probe`: to show that a code is free of something needs more rows

Target = tuple[str, str, str]  # code, fact, modality


def code_probe(
    model: Model, train: MultimodalDataset, test: MultimodalDataset, **options: Unpack[Options]
) -> dict[str, float]:
    """Accuracies in [0, 1] on test rows of classifiers on at most 2,000 training rows chosen by `seed`.

    Returns code_probe/ + shared/label/<modality>, private/label/<modality>: of the class, from the means of the shared
    code and of the private one given this modality alone; shared/place/<modality>, private/place/<modality>: of the
    place that the modality shows it in, where the data know it; chance/<fact>/<modality>: of always naming the
    commonest class of the training rows. The classifier is that of `linear_probe`, on codes in units of their root
    mean variance, since its penalty depends on the unit. A row counts where it has the modality.
    Raises InputError without labels, NotDefined for a model without the two codes, or when nothing can be scored.
    """
    if not has_two_codes(model):
        raise NotDefined("the model has no shared code beside a private one")
    for data in (train, test):
        check_labels(data, keys.CODE_PROBE)
    with measuring(model, test, **options) as on_test:
        on_train = replace(on_test, data=train, rows=chosen_rows(len(train), EXAMPLES, on_test.seed))
        known, asked = _examples(on_train), _examples(on_test)
    tasks = {
        target: _in_units(known[target], asked[target])
        for target in known.keys() & asked.keys()
        if len(np.unique(known[target][1])) > 1 and len(asked[target][1])
    }
    if not tasks:
        raise NotDefined("no modality has training rows of two classes and test rows")
    accuracies = dict(zip(tasks, probe_accuracies(list(tasks.values())), strict=True))
    chance = {("chance", *target[1:]): _chance(*task) for target, task in tasks.items()}
    return {keys.code_probe(*target): accuracy for target, accuracy in sorted((accuracies | chance).items())}


def _examples(trial: Trial[TwoCodeModel]) -> dict[Target, Examples]:
    """Codes and what they might hold, over the rows of the trial that have the modality."""
    data, rows = trial.data, trial.rows
    batches = [trial.model.code_means(batch) for _, batch in trial.batches()]
    facts = {"label": dict.fromkeys(data.names, data.labels), "place": data.places}
    found: dict[Target, Examples] = {}
    for name in data.names:
        able = has_all(data, data.present[rows], (name,))
        means = CodeMeans(
            *(torch.cat(parts)[able].cpu().numpy() for parts in zip(*(b[name] for b in batches), strict=True))
        )
        for fact, by_modality in facts.items():
            if (classes := by_modality.get(name)) is not None:
                truth = classes[rows][able].cpu().numpy()
                found |= {(code, fact, name): (mean, truth) for code, mean in means._asdict().items()}
    return found


def _in_units(train: Examples, test: Examples) -> tuple[Examples, Examples]:
    """Both with codes in units of the root mean variance of the training codes; codes that never vary stay."""
    unit = train[0].var(0).mean() ** 0.5 or 1.0
    return (train[0] / unit, train[1]), (test[0] / unit, test[1])


def _chance(train: Examples, test: Examples) -> float:
    classes, counts = np.unique(train[1], return_counts=True)
    return float((test[1] == classes[counts.argmax()]).mean())
