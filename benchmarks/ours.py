"""Worker: polyvae's training step on random images; flags in `worker.py`."""

import resource

import torch
from worker import flags, serve

from polyvae import Batch, Modality, MultimodalVAE, likelihoods, networks, objectives, priors
from polyvae.methods import METHODS

chosen = flags()
method = METHODS[chosen.method]
torch.set_num_threads(chosen.threads)
torch.manual_seed(0)
names = [f"m{i}" for i in range(chosen.modalities)]
specs = [Modality(name, (3, 28, 28), likelihoods.Laplace(0.75)) for name in names]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert method.mixture is not None
model = MultimodalVAE(
    specs,
    {m.name: networks.build(chosen.network, m, chosen.latent) for m in specs},
    method.mixture(names),
    chosen.latent,
    prior=priors.make(method.prior, chosen.latent),
    family=method.family,
)
objective = objectives.objective_named(method.objective)
options = {"allocation": chosen.allocation} | ({"samples": chosen.samples} if objective.draws else {})
optimiser = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
batch = Batch({name: torch.rand(chosen.rows, 3, 28, 28) for name in names})


def step() -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=chosen.precision == "bf16"):
        bound = objective.function(model, batch, model.mixture, **options)
    optimiser.zero_grad()
    bound.loss.backward()
    optimiser.step()


serve(step, chosen.warm_up)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)  # MiB that training added
