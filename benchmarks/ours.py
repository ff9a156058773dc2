"""Worker: polyvae's training step on random images, of a method's last stage; flags in `worker.py`."""

import resource
from dataclasses import asdict

import torch
from worker import flags, serve

from polyvae import Batch, Modality, likelihoods, models
from polyvae.methods import METHODS
from polyvae.models import Blueprint
from polyvae.objectives import OfTerms, objective_named

chosen = flags()
method = METHODS[chosen.method]
torch.set_num_threads(chosen.threads)
torch.manual_seed(0)
names = tuple(f"m{i}" for i in range(chosen.modalities))
specs = tuple(Modality(name, (3, 28, 28), likelihoods.Laplace(0.75)) for name in names)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert method.mixture is not None
mixture = method.mixture(names)
options = {} if method.options is None else asdict(method.options())
model = models.build(
    Blueprint(
        specs,
        mixture,
        chosen.latent,
        dict.fromkeys(names, chosen.network),
        kind=method.model,
        prior={"kind": method.prior},
        family=method.family,
        options=options,
    )
)
stage, recipe, objective = method.stages[-1], method.terms_for(options), objective_named(method.objective)
loss = stage.objective or (OfTerms(recipe, method.regularisers_for(options)) if recipe else objective.function)
how = {"beta": 1.0, "weights": torch.ones(len(names)), "generator": None}
if models.is_joint(model):
    how["allocation"] = chosen.allocation if mixture.is_bound else "exact"  # as runs do
if objective.draws:
    how["samples"] = chosen.samples
optimiser = torch.optim.Adam(list(stage.parameters(model)), lr=5e-4, fused=True)
batch = Batch({name: torch.rand(chosen.rows, 3, 28, 28) for name in names})


def step() -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=chosen.precision == "bf16"):
        bound = loss(model, batch, mixture, **how)
    optimiser.zero_grad()
    bound.loss.backward()
    optimiser.step()


serve(step, chosen.warm_up)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)  # MiB that training added
