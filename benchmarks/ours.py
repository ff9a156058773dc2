"""Worker: polyvae's training step on random images. Arguments: method, modalities, latent, batch, threads."""

import resource
import sys

import torch
from worker import serve

from polyvae import Batch, Modality, MultimodalVAE, likelihoods, networks, objectives, subsets

mixture = {"mopoe": subsets.mopoe, "mvae": subsets.mvae}[sys.argv[1]]
modalities, latent, rows, threads = map(int, sys.argv[2:6])
torch.set_num_threads(threads)
torch.manual_seed(0)
names = [f"m{i}" for i in range(modalities)]
specs = [Modality(name, (3, 28, 28), likelihoods.Laplace(0.75)) for name in names]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = MultimodalVAE(specs, {m.name: networks.build("conv", m, latent) for m in specs}, mixture(names), latent)
optimiser = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
batch = Batch({name: torch.rand(rows, 3, 28, 28) for name in names})


def step() -> None:
    bound = objectives.elbo(model, batch, model.mixture)
    optimiser.zero_grad()
    bound.loss.backward()
    optimiser.step()


serve(step)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)  # MiB that training added
