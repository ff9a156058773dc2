"""Worker: polyvae's training step on random images, of a method's last stage; flags in `worker.py`."""

import resource

import torch
from worker import flags, serve

from polyvae import Batch, Modality, likelihoods, models, objectives
from polyvae.methods import METHODS
from polyvae.models import Blueprint

chosen = flags()
method = METHODS[chosen.method]
torch.set_num_threads(chosen.threads)
torch.manual_seed(0)
names = [f"m{i}" for i in range(chosen.modalities)]
specs = tuple(Modality(name, (3, 28, 28), likelihoods.Laplace(0.75)) for name in names)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert method.mixture is not None
model = models.build(
    Blueprint(
        specs,
        method.mixture(names),
        chosen.latent,
        dict.fromkeys(names, chosen.network),
        kind=method.model,
        prior={"kind": method.prior},
        family=method.family,
    )
)
stage = method.stages[-1]
taught = list(stage.parameters(model))
model.requires_grad_(False)
for parameter in taught:
    parameter.requires_grad_(True)
objective = objectives.objective_named(method.objective)
options = {"allocation": chosen.allocation} | ({"samples": chosen.samples} if objective.draws else {})
minimised = stage.objective or objective.function
optimiser = torch.optim.Adam(taught, lr=5e-4, fused=True)
batch = Batch({name: torch.rand(chosen.rows, 3, 28, 28) for name in names})


def step() -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=chosen.precision == "bf16"):
        bound = minimised(model, batch, model.mixture, **options)
    optimiser.zero_grad()
    bound.loss.backward()
    optimiser.step()


serve(step, chosen.warm_up)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)  # MiB that training added
