"""Checkpoints that are damaged, or of another model."""

import pytest

from polyvae import InputError
from support.training import CONFIG, trained


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"x" * 100])
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
