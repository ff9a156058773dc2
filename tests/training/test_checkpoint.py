"""Checkpoints that are damaged, of another model, or not finite."""

import math

import pytest
from torch import nn

from polyvae import InputError, RunError, files
from polyvae.training import checkpoint
from support.training import CONFIG, trained

NOTHING = checkpoint.Kept({}, {})


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"x" * 100, lambda b: b[:-1] + bytes([b[-1] ^ 1])]
)
def test_a_damaged_checkpoint_is_named(damage, tmp_path):
    trained(tmp_path)
    path = tmp_path / "checkpoint" / "state.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"state\.safetensors is damaged"):
        trained(tmp_path)


def test_a_checkpoint_of_another_model_is_named(tmp_path):
    trained(tmp_path)
    with pytest.raises(InputError, match="belongs to another model"):
        trained(tmp_path, CONFIG.with_(latent_dim=4))


def test_progress_of_an_earlier_release_is_read_and_a_wrong_one_is_named(tmp_path):
    path, model = tmp_path / "state.safetensors", nn.Linear(2, 1)
    checkpoint.save(path, checkpoint.Progress(step=3), model, None, NOTHING)
    tensors, meta = files.read_tensors(path)
    earlier = {name: value for name, value in meta["progress"].items() if name != "eager"}
    files.write_tensors(path, tensors, meta | {"progress": earlier})
    assert checkpoint.load(path, model)[0] == checkpoint.Progress(step=3)
    files.write_tensors(path, tensors, meta | {"progress": earlier | {"eager": 3}})
    with pytest.raises(InputError, match="progress 'eager' is 3"):
        checkpoint.load(path, model)


def test_weights_that_are_not_finite_leave_the_last_good_checkpoint(tmp_path):
    path, model = tmp_path / "state.safetensors", nn.Linear(2, 1)
    checkpoint.save(path, checkpoint.Progress(step=3), model, None, NOTHING)
    before = path.read_bytes()
    model.bias.data.fill_(math.nan)
    with pytest.raises(RunError, match="weight bias is not finite at step 4"):
        checkpoint.check_finite(checkpoint.Progress(step=4), model)
    assert path.read_bytes() == before
