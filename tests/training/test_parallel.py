"""Several processes of torchrun train the model that one process trains."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Generator, nn

from polyvae import InputError, files, noise
from polyvae.cli import main
from polyvae.noise import ShareNoise
from polyvae.objectives import systematic_quantiles
from polyvae.training.parallel import Team

TINY = "run --dataset toy --modalities 3 --train-size 50 --test-size 20 --batch-size 15 --epochs 3 --latent-dim 3"


def flags(store, options):
    return [*TINY.split(), "--metrics", "none", "--threads", "1", "--store", str(store), *options]


def of_two_processes(store, options):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "polyvae"]
    told = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, *flags(store, options)], env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("done, in") == 1, "one process speaks"
    return results_in(store)


def results_in(store):
    """(history without times, weights, record) of the only run."""
    (record,) = Path(store).glob("*/record.json")
    lines = [json.loads(line) for line in (record.parent / "history.jsonl").read_text().splitlines()]
    weights, _ = files.read_tensors(record.parent / "model.safetensors")
    return (
        [{k: v for k, v in line.items() if k != "seconds"} for line in lines],
        weights,
        json.loads(record.read_text()),
    )


@pytest.mark.parametrize(
    "options",
    [
        # in most steps an encoder has no row
        ("--method", "mmvae", "--batch-size", "2", "--epochs", "1", "--validation-fraction", "0.3"),
        pytest.param(("--method", "mopoe", "--validation-fraction", "0.3"), marks=pytest.mark.slow),
        pytest.param(("--method", "mvae_plus_random"), marks=pytest.mark.slow),
        pytest.param(("--method", "mmjsd"), marks=pytest.mark.slow),
    ],
    ids=lambda options: options[1],
)
def test_two_processes_have_the_loss_curve_of_one(options, tmp_path):
    """Odd batches, so that shares differ in size; every subset is drawn for the whole batch."""
    main([*flags(tmp_path / "one", options), "--quiet"])
    alone, weights, record = results_in(tmp_path / "one")
    shared, others, found = of_two_processes(tmp_path / "two", options)
    assert found["run_id"] == record["run_id"]
    assert len(alone) == len(shared) == record["config"]["epochs"]
    for a, b in zip(alone, shared, strict=True):
        assert (a["step"], a["epoch"]) == (b["step"], b["epoch"])
        for line, other in ((a, b), (a.get("validation", a), b.get("validation", b))):
            for key in ("loss", "rate", "log_likelihood"):
                assert line[key] == pytest.approx(other[key], rel=1e-4)
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rows", [2, 7, 8])
def test_shares_are_the_rows_of_one_draw(rows):
    def of(draw, share=None):
        generator = Generator().manual_seed(3)
        return draw(generator if share is None else ShareNoise(generator, rows, share), rows if share is None else
                    share.stop - share.start)  # fmt: skip

    like = torch.zeros(())
    for draw in (
        lambda source, count: noise.normal(source, count, 3, like),
        lambda source, count: noise.uniform(source, count, like),
        lambda source, count: systematic_quantiles(count, source, torch.device("cpu")),
    ):
        parts = [of(draw, Team(rank, 2).share(rows)) for rank in range(2)]
        assert torch.equal(torch.cat(parts), of(draw))


def test_every_process_must_have_a_row():
    Team(0, 3).check(3)
    with pytest.raises(InputError, match="--batch-size"):
        Team(0, 3).check(2)


def test_one_process_alone_changes_nothing():
    alone, generator, weight = Team(), Generator(), nn.Parameter(torch.ones(2))
    assert alone.noise(generator, 5) is generator
    assert alone.share(5) == slice(0, 5)
    alone.average_gradients([weight], 5)
    assert weight.grad is None
