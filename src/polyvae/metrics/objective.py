"""What a run minimised, on the test set."""

from typing import Unpack

from polyvae.dataset import MultimodalDataset
from polyvae.metrics.protocol import BatchLoss, Options, measuring
from polyvae.models.contract import Model
from polyvae.noise import drawing_from


def objective(
    model: Model, data: MultimodalDataset, function: BatchLoss, **options: Unpack[Options]
) -> dict[str, float]:
    """objective/loss: the mean loss over rows of `function`, what the model was trained by.

    function: (batch, noise) -> bound, of this model, with its beta and weights; called without gradients, in eval mode.
    Noise belongs to rows. An objective that draws for a whole batch (random subsets) is seeded by the batch's rows.
    Losses of different objectives are not comparable: `bound` is L_S for all of them.
    Raises InputError without rows.
    """
    total = 0.0
    with measuring(model, data, least=1, **options) as trial:
        for ids, batch in trial.batches():
            noise = trial.noise("objective", ids)
            with drawing_from(noise, batch.present.device):
                total += len(ids) * float(function(batch, noise).loss)
    return {"objective/loss": total / len(trial.rows)}
