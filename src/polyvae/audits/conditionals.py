"""Normalised models of quantised modalities: their held-out cross-entropy bounds H(X_m | X_A) from above."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from polyvae.noise import derive_seed

Rows = Mapping[str, np.ndarray]  # modality -> Int (row, feature), bins
Score = Callable[[Rows, tuple[str, ...], bool], np.ndarray]
"""(rows, given, by feature) -> Float (2, row): -log q(x_m | x_given) in nats, and the most it could be in that row's
context, whatever x_m; by feature: summed over features one by one."""

HIDDEN, EPOCHS, PATIENCE, BATCH, RATE = 256, 120, 10, 64, 1e-3
SMOOTHING = 0.5
VALIDATION = 0.15


def table_model(train: Rows, target: str, widths: Mapping[str, np.ndarray]) -> Score:
    """Counts of the target given the context's cell, with 1/2 added to every cell (Krichevsky and Trofimov)."""

    def score(rows: Rows, given: tuple[str, ...], by_feature: bool) -> np.ndarray:
        context, of_train = (_cells(part, given, widths) for part in (rows, train))
        contexts = int(np.prod([width for name in given for width in widths[name]]))
        features = list(range(len(widths[target])))
        total = np.zeros((2, len(context)))
        for columns in [[feature] for feature in features] if by_feature else [features]:
            width = {target: widths[target][columns]}
            symbol, seen = (_cells({target: part[target][:, columns]}, (target,), width) for part in (rows, train))
            cells = int(np.prod(width[target]))
            hits = np.bincount(of_train * cells + seen, minlength=contexts * cells).reshape(contexts, cells) + SMOOTHING
            nats = np.log(hits.sum(1, keepdims=True)) - np.log(hits)
            total += [nats[context, symbol], nats[context].max(1)]
        return total

    return score


def network_model(train: Rows, target: str, widths: Mapping[str, np.ndarray], seed: int) -> Score:
    """One masked network per target: it reads any subset of the other modalities and gives each feature's bins.

    Features are independent given what is read, so its score is a bound on the sum of feature entropies as well.
    Trained on random subsets, stopped where held-out rows of the training part score best.
    """
    names = [name for name in train if name != target]
    rng = np.random.default_rng(derive_seed(seed, "conditional", target))
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "conditional weights", target))
        net = _Masked([len(widths[name]) for name in names], widths[target])
    order = rng.permutation(len(train[target]))
    cut = max(1, round(VALIDATION * len(order)))
    validation, rest = (
        _tensors({n: v[part] for n, v in train.items()}, names, target, widths) for part in np.split(order, [cut])
    )
    _fit(net, rest, validation, rng)

    def score(fresh: Rows, given: tuple[str, ...], by_feature: bool) -> np.ndarray:
        inputs, bins = _tensors(fresh, names, target, widths)
        seen = torch.tensor([name in given for name in names]).expand(len(bins), -1)
        with torch.no_grad():
            nats = net.nats_of_bins(inputs, seen)
            return np.stack(
                [part.double().numpy() for part in (_of(nats, bins), nats.where(net.is_bin, 0).amax(-1).sum(1))]
            )

    return score


class _Masked(nn.Module):
    is_bin: Tensor

    def __init__(self, inputs: Sequence[int], widths: np.ndarray) -> None:
        super().__init__()
        self.sizes, self.most = list(inputs), int(widths.max())
        self.register_buffer("is_bin", torch.arange(self.most) < torch.from_numpy(widths)[:, None])
        first, second = nn.Linear(sum(inputs) + len(inputs), HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.body = nn.Sequential(first, nn.ReLU(), nn.Dropout(0.2), second, nn.ReLU())
        self.head = nn.Linear(HIDDEN, len(widths) * self.most)

    def nats_of_bins(self, inputs: Tensor, seen: Tensor) -> Tensor:
        """-log q of every bin given the `inputs` of the modalities `seen` Bool (row, modality): (row, feature, bin)."""
        mask = torch.repeat_interleave(seen, torch.tensor(self.sizes), 1) if self.sizes else seen
        hidden = self.body(torch.cat([inputs * mask, seen.float()], 1))
        logits = self.head(hidden).view(len(inputs), -1, self.most).masked_fill(~self.is_bin, -torch.inf)
        return -logits.log_softmax(-1)

    def nats(self, inputs: Tensor, seen: Tensor, bins: Tensor) -> Tensor:
        """-log q of `bins` (row, feature): (row,)."""
        return _of(self.nats_of_bins(inputs, seen), bins)


def _of(nats: Tensor, bins: Tensor) -> Tensor:
    return nats.gather(-1, bins[..., None]).sum((1, 2))


def _fit(
    net: _Masked, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], rng: np.random.Generator
) -> None:
    """Adam on random subsets, until the validation rows (inputs, bins) have scored no better for 10 epochs."""
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE, weight_decay=1e-4)
    contexts = _subsets(len(validation[1]), len(net.sizes), rng)
    lowest, best, waited = float("inf"), {}, 0
    torch_rng = torch.Generator().manual_seed(int(rng.integers(2**31)))
    for _ in range(EPOCHS):
        net.train()
        for rows in torch.randperm(len(train[1]), generator=torch_rng).split(BATCH):
            optimiser.zero_grad()
            loss = net.nats(train[0][rows], _subsets(len(rows), len(net.sizes), rng), train[1][rows]).mean()
            loss.backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            nats = float(net.nats(validation[0], contexts, validation[1]).mean())
        waited += 1
        if nats < lowest:
            lowest, best, waited = nats, {key: value.clone() for key, value in net.state_dict().items()}, 0
        if waited >= PATIENCE:
            break
    net.load_state_dict(best)
    net.eval()


def _subsets(rows: int, modalities: int, rng: np.random.Generator) -> Tensor:
    """One random subset per row, of uniformly random size: Bool (row, modality)."""
    size = rng.integers(0, modalities + 1, (rows, 1))
    return torch.from_numpy(rng.random((rows, modalities)).argsort(1).argsort(1) < size)


def _tensors(rows: Rows, names: Sequence[str], target: str, widths: Mapping[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Inputs (row, feature) of the modalities `names`, bins scaled to [-1, 1]; bins (row, feature) of the target."""
    scaled = [2 * rows[name] / np.maximum(widths[name] - 1, 1) - 1 for name in names]
    inputs = np.concatenate([np.zeros((len(rows[target]), 0)), *scaled], 1)
    return torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(rows[target])


def _cells(rows: Rows, names: Sequence[str], widths: Mapping[str, np.ndarray]) -> np.ndarray:
    """Int64 (row,): the cell of the modalities `names` in their joint table."""
    cell = np.zeros(len(next(iter(rows.values()))), np.int64)
    for name in names:
        for feature, width in zip(rows[name].T, widths[name], strict=True):
            cell = cell * int(width) + feature
    return cell
