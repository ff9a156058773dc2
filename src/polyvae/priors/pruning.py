"""How many clusters of a mixture prior the codes of data use (Palumbo et al. 2024, CMVAE): the others are dropped.

Clusters are dropped one by one, always the one of the least mass, and the number kept has the least penalised
entropy: few clusters leave no doubt which one a code is from, but make codes less likely.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Assigned(NamedTuple):
    """What draws z_m of every q(z | x_m) say about clusters c: log p(c) + log p(z_m | c), (modality, row, cluster).

    present: Bool (modality, row); where a row lacks m, log_joint is finite but meaningless.
    """

    log_joint: Tensor
    present: Tensor

    def of(self, clusters: Sequence[int]) -> "Assigned":
        """By these clusters alone; their weights are left as they are."""
        return self._replace(log_joint=self.log_joint[..., list(clusters)])

    @property
    def mass(self) -> Tensor:
        """(cluster,): each row counts for the cluster that most of its z_m are likeliest from, by the largest of the
        probabilities p(c | z_m) averaged over m."""
        probability = self.log_joint.softmax(-1)
        votes = torch.zeros_like(probability).scatter(-1, probability.argmax(-1, keepdim=True), 1.0)
        chosen, share = self._mean(votes).argmax(-1), self._mean(probability).amax(-1)
        return share.new_zeros(probability.shape[-1]).index_add(0, chosen, share)

    def penalised_entropy(self, log_weight: float, beta: float, dimensions: int) -> float:
        """beta H(c | z) / log C - log p(z) / D, its mean over rows and their modalities.

        log_weight: log of what the weights of the C clusters sum to, by which they are divided. C is at least 2.
        dimensions: D, of z.
        """
        log_density = self.log_joint.logsumexp(-1, keepdim=True)
        log_share = self.log_joint - log_density
        entropy = -(log_share.exp() * log_share).sum(-1) / torch.tensor(self.log_joint.shape[-1]).log()
        each = beta * entropy - (log_density[..., 0] - log_weight) / dimensions
        return float(self._mean(each[..., None]).mean())

    def _mean(self, values: Tensor) -> Tensor:
        """(modality, row, any) to (row, any): over the modalities that a row has."""
        present = self.present[..., None]
        return torch.where(present, values, 0.0).sum(0) / present.sum(0)


def fewer(assigned: Assigned, least: int) -> Iterator[list[int]]:
    """All clusters, then again and again all but the one of the least mass among them, down to `least`."""
    clusters = list(range(assigned.log_joint.shape[-1]))
    while len(clusters) >= least:
        yield list(clusters)
        del clusters[int(assigned.of(clusters).mass.argmin())]
