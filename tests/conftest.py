"""What every test gets: a cache of its own, the embedded data, one thread."""

import pytest
import torch


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_world(monkeypatch, shared_cache):
    monkeypatch.setenv("POLYVAE_CACHE", str(shared_cache))
    monkeypatch.delenv("POLYVAE_DATA", raising=False)
    torch.set_num_threads(1)
