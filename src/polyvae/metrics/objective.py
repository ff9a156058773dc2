"""What a run minimised, on the test set."""

from typing import Unpack

from polyvae import keys
from polyvae.dataset import MultimodalDataset
from polyvae.metrics.protocol import BatchLoss, Options, measuring
from polyvae.models.contract import Model
from polyvae.noise import drawing_from


def objective(
    model: Model, data: MultimodalDataset, function: BatchLoss, **options: Unpack[Options]
) -> dict[str, float]:
    """objective/loss: the mean loss over rows of `function`, which the model was trained with, regularisers included.

    And regulariser/<name>: each one's value, unweighted. They compare the rows of a batch: both numbers then depend on
    the batch size, and on the order of rows.

    function: (batch, noise) -> bound, of this model, with its beta and weights; called without gradients, in eval mode.
    Noise belongs to rows. An objective that draws for a whole batch (random subsets) is seeded by the batch's rows.
    Losses of different objectives are not comparable: `bound` is L_S for all of them.
    Raises InputError without rows.
    """
    totals: dict[str, float] = {}
    with measuring(model, data, least=1, **options) as trial:
        for ids, batch in trial.batches():
            noise = trial.noise("objective", ids)
            with drawing_from(noise, batch.present.device):
                bound = function(batch, noise)
            found = {"objective/loss": bound.loss}
            found |= {keys.of(keys.REGULARISER, name): value for name, value in bound.regularisers.items()}
            for key, value in found.items():
                totals[key] = totals.get(key, 0.0) + len(ids) * float(value)
    return {key: total / len(trial.rows) for key, total in totals.items()}
