"""A tiny training run that can be interrupted after any step."""

import json

import torch

from polyvae import RunConfig
from polyvae.objectives import elbo
from polyvae.runs.plan import make_plan
from polyvae.training.loop import TrainingStage, exhausted, steps

CONFIG = RunConfig(
    dataset="toy", modalities=2, train_size=40, test_size=20, batch_size=16, epochs=3, latent_dim=3, metrics="none"
)  # fmt: skip


class Stop(Exception):
    """Stands for a killed process."""


def trained(folder, config=CONFIG, *, stop_at=(), stages=1, own=None, checkpoint_seconds=0.0):
    """Trains to the end, interrupted after the steps `stop_at`; returns (model, history)."""
    plan = make_plan(config, own=own)
    for last in (*stop_at, None):
        model = plan.build()
        made = [stage_of(model, plan, name, config.epochs - stages + 1 if n == 0 else 1)
                for n, name in enumerate(("first", "second")[:stages])]  # fmt: skip

        def on_step(done, total, loss, last=last):
            if done == last:
                raise Stop

        try:
            exhausted(steps(model, made, plan.rows_at, plan.validation, config, folder,
                            checkpoint_seconds=checkpoint_seconds, on_step=on_step))  # fmt: skip
        except Stop:
            continue
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return model, [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def stage_of(model, plan, name, epochs):
    """A stage that trains all parameters with L_S at beta 0.7."""
    return TrainingStage(
        name,
        lambda batch, generator: elbo(model, batch, plan.mixture, beta=0.7, generator=generator),
        list(model.parameters()),
        epochs,
    )


def same(a, b):
    """Two results of `trained` agree exactly, in history and weights."""
    (model_a, history_a), (model_b, history_b) = a, b
    assert history_a == history_b
    for name, value in model_a.state_dict().items():
        assert torch.equal(value, model_b.state_dict()[name]), name
