"""Caption networks compared: unimodal VAEs of captions at equal steps and at equal CPU time; prints rows.

    python benchmarks/caption_networks.py [--steps 300] [--seconds 40] [--seed 0] [--data-dir DIR]

Captions are those of toy_captions, or with --data-dir those of CUB.

One thread. Each network trains until it has done `steps` and has used `seconds` of CPU time, at a constant step size,
and is scored where it reaches either. CPU time, not wall time, so that other work on the machine counts little.
"""

import argparse
import json
import time

import torch

from polyvae.config import RunConfig
from polyvae.metrics.captions import captions
from polyvae.noise import derive_seed
from polyvae.objectives.elbo import elbo
from polyvae.runs.plan import make_plan

NETWORKS = ("transformer", "conv", "mlp")
SHOWN = ("log_likelihood_per_word", "distinct_2", "real_3grams", "length_distance")


def scores(model, plan) -> dict[str, float]:
    model.eval()
    found = captions(model, plan.test, plan.train, seed=plan.config.seed)
    model.train()
    return {key: round(found[f"captions/{key}/unconditional/caption"], 3) for key in SHOWN}


def compare(network: str, data_dir: str | None, steps: int, seconds: float, seed: int) -> None:
    """Prints a row at `steps` and a row at `seconds`."""
    plan = make_plan(
        RunConfig(
            dataset="cub_captions" if data_dir else "toy_captions", method="unimodal", only="caption", network=network,
            latent_dim=32, seed=seed, data_dir=data_dir, batch_size=64, learning_rate=1e-3, metrics="none", threads=1,
        )
    )  # fmt: skip
    model = plan.build().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=plan.config.learning_rate, fused=True)
    weights = sum(value.numel() for value in model.parameters())
    rows, used, done, due = len(plan.train), 0.0, 0, {"steps", "time"}
    while due:
        started = time.process_time()
        generator = torch.Generator().manual_seed(derive_seed(seed, "step", done))
        data, size = plan.rows_at(done * plan.config.batch_size // rows), plan.config.batch_size
        batch = data.batch(torch.randint(rows, (size,), generator=generator))
        bound = elbo(model, batch, plan.mixture, generator=generator)
        optimiser.zero_grad()
        bound.loss.backward()
        optimiser.step()
        used, done = used + time.process_time() - started, done + 1
        reached = due & ({"steps"} if done == steps else set()) | due & ({"time"} if used >= seconds else set())
        for at in sorted(reached):
            row = {"network": network, "weights": weights, "at": at, "steps": done}
            row |= {"cpu_seconds": round(used), "ms_a_step": round(1000 * used / done, 1)}
            print(json.dumps(row | scores(model, plan)), flush=True)
        due -= reached


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for network in NETWORKS:
        compare(network, given.data_dir, given.steps, given.seconds, given.seed)
