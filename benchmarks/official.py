"""Worker: the training step as the public MoPoE code writes it (Sutter et al. 2021), with polyvae's networks.

A Python loop over the components of the mixture (all subsets, the singletons, or the full set) fuses each and takes its
KL on the whole batch; consecutive blocks of rows draw from the components; one decode a row, divergence in the mean.
Networks, likelihood, batch and optimiser are those of `ours.py`. Flags in `worker.py`.
"""

import resource
from itertools import combinations

import torch
from torch.distributions import Laplace, Normal, kl_divergence
from worker import flags, serve

from polyvae import Modality, likelihoods, networks

chosen = flags()
torch.set_num_threads(chosen.threads)
torch.manual_seed(0)
names = [f"m{i}" for i in range(chosen.modalities)]
sizes = {"mopoe": range(1, len(names) + 1), "mmvae": (1,), "mvae": (len(names),)}[chosen.method]
components = [subset for size in sizes for subset in combinations(names, size)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pairs = {
    name: networks.build(chosen.network, Modality(name, (3, 28, 28), likelihoods.Laplace(0.75)), chosen.latent)
    for name in names
}
modules = torch.nn.ModuleList([network for pair in pairs.values() for network in pair])
optimiser = torch.optim.Adam(modules.parameters(), lr=5e-4, fused=True)
batch = {name: torch.rand(chosen.rows, 3, 28, 28) for name in names}
prior = Normal(torch.zeros(()), torch.ones(()))


def fuse(posteriors: list[tuple[torch.Tensor, torch.Tensor]]) -> Normal:
    """Product of Gaussian experts, from mean and log-variance of each."""
    precisions = [1 / (logvar.exp() + 1e-8) for _, logvar in posteriors]
    variance = 1 / sum(precisions)
    mean = variance * sum(precision * mean for precision, (mean, _) in zip(precisions, posteriors, strict=True))
    return Normal(mean, variance.sqrt())


def step() -> None:
    codes = {name: encoder(batch[name]) for name, (encoder, _) in pairs.items()}
    fused = [fuse([codes[name] for name in subset]) for subset in components]
    divergence = sum(kl_divergence(posterior, prior).sum(-1).mean() for posterior in fused) / len(fused)
    height = chosen.rows // len(fused)
    ends = [height * (i + 1) for i in range(len(fused) - 1)] + [chosen.rows]
    blocks = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    posterior = Normal(
        torch.cat([each.loc[rows] for each, rows in zip(fused, blocks, strict=True)]),
        torch.cat([each.scale[rows] for each, rows in zip(fused, blocks, strict=True)]),
    )
    z = posterior.rsample()
    distortion = -sum(
        Laplace(decoder(z), 0.75).log_prob(batch[name]).sum() / chosen.rows for name, (_, decoder) in pairs.items()
    )
    optimiser.zero_grad()
    (distortion + divergence).backward()
    optimiser.step()


serve(step, chosen.warm_up)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)  # MiB that training added
