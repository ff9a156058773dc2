"""What every test gets: a cache of its own, the embedded data, one thread."""

import pytest
import torch
from matplotlib.figure import Figure

from polyvae.judges import critic, digits


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_world(monkeypatch, shared_cache):
    monkeypatch.setenv("POLYVAE_CACHE", str(shared_cache))
    monkeypatch.delenv("POLYVAE_DATA", raising=False)
    torch.set_num_threads(1)


@pytest.fixture
def unpainted(monkeypatch):
    """Figures are made and stay blank: enough for what stands around them, in a tenth of the time."""

    def blank(figure, file, **how):
        if hasattr(file, "write"):
            file.write('<svg viewBox="0 0 1 1"></svg>')
        else:
            file.touch()

    monkeypatch.setattr(Figure, "savefig", blank)


@pytest.fixture
def hasty(monkeypatch):
    """Judges of digits and critics that train for a few steps: enough for everything but accuracy."""
    for recipe, names in ((digits.RECIPE, ("steps", "steps_translated")), (critic.RECIPE, ("steps",))):
        for name in names:
            monkeypatch.setitem(recipe, name, 6)
        monkeypatch.setitem(recipe, "batch", 32)
