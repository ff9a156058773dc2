"""A step as a CUDA graph, on a real card."""

from pathlib import Path

import pytest
import torch

from polyvae import RunConfig
from polyvae.methods import METHODS
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from polyvae.training import loop

CONFIG = RunConfig(dataset="toy", modalities=3, train_size=640, test_size=64, batch_size=32, latent_dim=16, epochs=1)


class Eager:
    """In place of `Replayed`: the step as it is."""

    reason = "not asked for"

    def __init__(self, step, generator):
        self.step = step

    def __call__(self, rows):
        return self.step(rows)


def losses(config: RunConfig, folder: Path) -> torch.Tensor:
    plan, seen = make_plan(config), []
    model = plan.build()
    stages = stages_of(plan, model)
    loop.exhausted(
        loop.steps(
            model, stages, plan.rows_at, None, config, folder, on_step=lambda done, total, loss: seen.append(loss)
        )
    )
    return torch.tensor(seen)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_step_trains_as_one_that_is_not(tmp_path, monkeypatch):
    for name in sorted(set(METHODS) - {"custom"}):
        only = "m0" if METHODS[name].is_single else None
        config = CONFIG.with_(method=name, device="cuda", metrics="none", only=only)
        captured = losses(config, tmp_path / name / "captured")
        with monkeypatch.context() as patch:
            patch.setattr(loop, "Replayed", Eager)
            eager = losses(config, tmp_path / name / "eager")
        torch.testing.assert_close(captured, eager, rtol=1e-5, atol=0, msg=lambda text, name=name: f"{name}: {text}")
