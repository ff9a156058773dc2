"""Threads fix the rounding of sums: a run has its own number, one by default, whatever the process had."""

import pytest

from polyvae import RunConfig, run
from polyvae.runs import finished
from polyvae.runs.store import RunStore
from polyvae.threads import on_threads

TINY = RunConfig(
    dataset="toy", network="mlp", latent_dim=2, epochs=1, metrics="bound", device="cpu", train_size=40, test_size=20
)


def test_a_run_has_one_thread_by_default(tmp_path):
    with on_threads(2):
        assert run(TINY, tmp_path).record.environment["threads"] == 1


def test_a_run_scored_on_other_threads_is_still_that_run(tmp_path):
    made = run(TINY.with_(threads=2), tmp_path)
    record = finished.evaluate(made.run_id, "bound", RunStore(tmp_path), threads=1)
    assert made.record.environment["threads"] == 2
    assert record.config == made.record.config
    assert record.metrics["bound/loss"] == pytest.approx(made.metrics["bound/loss"], rel=1e-5)
    assert record.run_id == made.run_id
