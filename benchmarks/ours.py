"""Worker: polyvae's training step on random images.

Arguments: mopoe, mvae or mmvae_official, modalities, latent, batch, threads; for the last, samples K and allocation.
"""

import resource
import sys

import torch
from worker import serve

from polyvae import Batch, Modality, MultimodalVAE, likelihoods, networks, objectives, priors
from polyvae.methods import METHODS

method = METHODS[sys.argv[1]]
modalities, latent, rows, threads = map(int, sys.argv[2:6])
torch.set_num_threads(threads)
torch.manual_seed(0)
names = [f"m{i}" for i in range(modalities)]
specs = [Modality(name, (3, 28, 28), likelihoods.Laplace(0.75)) for name in names]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert method.mixture is not None
model = MultimodalVAE(
    specs,
    {m.name: networks.build("conv", m, latent) for m in specs},
    method.mixture(names),
    latent,
    prior=priors.make(method.prior, latent),
    family=method.family,
)
objective = objectives.objective_named(method.objective)
options = {"samples": int(sys.argv[6]), "allocation": sys.argv[7]} if objective.draws else {}
optimiser = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
batch = Batch({name: torch.rand(rows, 3, 28, 28) for name in names})


def step() -> None:
    bound = objective.function(model, batch, model.mixture, **options)
    optimiser.zero_grad()
    bound.loss.backward()
    optimiser.step()


serve(step, warm_up=10 if objective.draws else 2)  # until few samples carry weight, as in most of a training
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)  # MiB that training added
