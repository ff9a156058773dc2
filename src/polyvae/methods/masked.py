"""The masked bound with a permutation-invariant encoder (Hirt et al. 2024).

For a row with modalities X, S a random subset of it, q_S the output of one network of the set of experts, maximised:

    E_S { E_{q_S} sum_{m in S} log p(x_m | z) - beta KL(q_S || p)
        + E_{q_X} sum_{m not in S} log p(x_m | z) - beta KL(q_X || q_S) }

The first half bounds log p(x_S), the second log p(x_notS | x_S); exact posteriors attain log p(X) for every S at once.
S has each modality with probability 1/2. For S = X it is the ELBO of q_X, and so it is for the empty set with q = p,
which has nothing to learn; the published code has a network for it. A draw of each posterior, KLs closed (published: at
the draws). At test time the posterior of A is q_A. "systematic" has one S per row, "exact" all of them.

With g features of an expert, the network (`models.fused.SetNetwork`) is head(sum_{m in S} g_m); `masked_attention` puts
blocks of self-attention over the members between g and the sum.
"""

from dataclasses import dataclass, replace

import torch

from polyvae import posteriors, subsets
from polyvae.methods.method import Method, Stage
from polyvae.modality import Batch
from polyvae.models.contract import JointModel, fused
from polyvae.noise import Noise
from polyvae.objectives import Allocation, Bound
from polyvae.objectives.parts import bound_of, check, rsample, scores_of, subsets_of
from polyvae.options import require
from polyvae.subsets import SubsetMixture

MOST_WIDTH, MOST_DEPTH, MOST_BLOCKS = 8192, 16, 16


@dataclass(frozen=True)
class Options:
    """width, depth: of the layers that read each expert before they are added up; the published ones are 256 and 2."""

    width: int = 256
    depth: int = 2

    def __post_init__(self) -> None:
        for name, most in (("width", MOST_WIDTH), ("depth", MOST_DEPTH)):
            require(1 <= getattr(self, name) <= most, name, getattr(self, name), f"from 1 to {most}")


@dataclass(frozen=True)
class Attention(Options):
    """As `Options`, with blocks of self-attention, each of `heads` heads, which divide the width.

    The published code has two blocks of eight heads by default, and one block in its Gaussian simulation.
    """

    blocks: int = 2
    heads: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.blocks <= MOST_BLOCKS, "blocks", self.blocks, f"from 1 to {MOST_BLOCKS}; without any: masked")
        divides = self.heads >= 1 and self.width % self.heads == 0
        require(divides, "heads", self.heads, f"at least 1, and divide width={self.width}")


def objective(
    model: JointModel,
    batch: Batch,
    mixture: SubsetMixture,
    *,
    beta: float = 1.0,
    allocation: Allocation = "systematic",
    weights: torch.Tensor | None = None,
    generator: Noise = None,
) -> Bound:
    """The formula above, negated in `loss`."""
    check(model, batch, mixture, beta)
    present = batch.present
    given, factor = subsets_of(present, allocation, generator)
    is_whole = (given == present).all(-1)
    factor = factor * torch.where(is_whole, 2.0, 1.0) / 2.0 ** present.sum(-1)  # the empty set counts as X
    experts = model.encode(batch)
    both = torch.stack([given, present.expand_as(given)])  # (2, n, batch, modality)
    laws = fused(model, experts, both.flatten(0, 1), ~both.any(-1).flatten(0, 1))
    z = rsample(laws, generator)
    some, whole = (laws.like(*(field.chunk(2)[half] for field in laws)) for half in (0, 1))
    z_some, z_whole = z.chunk(2)
    factor = factor.to(z.dtype)
    codes = {name: torch.where(given[..., i, None], z_some, z_whole) for i, name in enumerate(model.names)}
    scores = scores_of(model, batch, codes)
    log_likelihood = torch.stack([(factor * scores[name]).sum(0) for name in model.names], -1)
    rate = model.prior.kl(some, z_some) + posteriors.kl(whole, some)
    return bound_of(log_likelihood, (factor * rate).sum(0), beta, weights)


MASKED = Method(
    "masked",
    subsets.whole,
    "one network for any subset; a random one predicts itself, all predict the rest",
    "Hirt et al. 2024",
    (Stage(objective=objective),),
    model="set_network",
    options=Options,
)
ROWS = (
    MASKED,
    replace(
        MASKED,
        name="masked_attention",
        summary="masked, whose network lets the members of a subset attend to each other",
        options=Attention,
    ),
)
