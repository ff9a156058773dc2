"""Caption networks compared on the captions of CUB: unimodal VAEs at equal steps and at equal CPU time; prints rows.

    python benchmarks/caption_networks.py DATA_DIR [steps] [seconds] [seed]

One thread. Each network trains until it has done `steps` and has used `seconds` of CPU time, at a constant step size,
and is scored where it reaches either. CPU time, not wall time, so that other work on the machine counts little.
"""

import json
import sys
import time

import torch

from polyvae.benchmark import build_model
from polyvae.config import RunConfig
from polyvae.metrics.captions import captions
from polyvae.noise import derive_seed
from polyvae.objectives.elbo import elbo
from polyvae.plan import make_plan

NETWORKS = ("conv", "transformer", "mlp", "conv_half")
SHOWN = ("log_likelihood_per_word", "distinct_2", "real_3grams", "length_distance")


def scores(model, plan) -> dict[str, float]:
    model.eval()
    found = captions(model, plan.test, plan.rows(0), seed=plan.config.seed)
    model.train()
    return {key: round(found[f"captions/{key}/unconditional/caption"], 3) for key in SHOWN}


def compare(network: str, data_dir: str, steps: int, seconds: float, seed: int) -> list[dict]:
    """A row at `steps` and a row at `seconds`."""
    plan = make_plan(
        RunConfig(
            dataset="cub_captions", method="unimodal", only="caption", network=network, latent_dim=32, seed=seed,
            data_dir=data_dir, batch_size=64, learning_rate=1e-3, metrics="none", threads=1,
        )
    )  # fmt: skip
    model = build_model(plan, {}).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=plan.config.learning_rate, fused=True)
    weights = sum(value.numel() for value in model.parameters())
    rows, used, done = [], 0.0, 0
    while len(rows) < 2:
        started, epoch = time.process_time(), done * plan.config.batch_size // len(plan.rows(0))
        data = plan.rows(epoch)
        generator = torch.Generator().manual_seed(derive_seed(seed, "step", done))
        chosen = torch.randint(len(data), (plan.config.batch_size,), generator=generator)
        bound = elbo(model, data.batch(chosen), plan.mixture, generator=generator)
        optimiser.zero_grad()
        bound.loss.backward()
        optimiser.step()
        used, done = used + time.process_time() - started, done + 1
        if done == steps or (used >= seconds and all(row["at"] != "time" for row in rows)):
            row = {"network": network, "weights": weights, "at": "steps" if done == steps else "time", "steps": done}
            rows.append(
                row | {"cpu_seconds": round(used), "ms_a_step": round(1000 * used / done)} | scores(model, plan)
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    given = sys.argv[1:] + [None] * 4
    torch.set_num_threads(1)
    for network in NETWORKS:
        compare(network, given[0], int(given[1] or 1000), float(given[2] or 60), int(given[3] or 0))
