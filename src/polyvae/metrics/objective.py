"""What a run minimised, on the test set."""

from collections.abc import Sequence

from polyvae.dataset import MultimodalDataset, chunks
from polyvae.errors import InputError
from polyvae.metrics.protocol import BatchLoss, Draws, check_same, scoring
from polyvae.models.contract import Model
from polyvae.noise import drawing_from


def objective(
    model: Model,
    data: MultimodalDataset,
    function: BatchLoss,
    *,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch_size: int = 500,
) -> dict[str, float]:
    """objective/loss: the mean loss over `rows` (default all) of `function`, what the model was trained by.

    function: (batch, noise) -> bound, of this model, with its beta and weights; called without gradients, in eval mode.
    Noise belongs to rows. An objective that draws for a whole batch (random subsets) is seeded by the batch's rows.
    Losses of different objectives are not comparable: `bound` is L_S for all of them.
    Raises InputError without rows.
    """
    check_same(model, data)
    kept = list(range(len(data)) if rows is None else rows)
    if not kept:
        raise InputError("no test rows; the objective needs at least 1")
    draws, total = Draws(seed, "objective", batch_size), 0.0
    with scoring(model):
        for ids in chunks(kept, batch_size):
            batch, noise = data.batch(list(ids)), draws.noise(ids)
            with drawing_from(noise, batch.present.device):
                total += len(ids) * float(function(batch, noise).loss)
    return {"objective/loss": total / len(kept)}
