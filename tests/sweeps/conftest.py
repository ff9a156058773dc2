"""What the tests of sweeps share."""

import pytest

from polyvae import RunStore
from polyvae import run as run_single
from support.sweeping import CONFIGS, identity


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs are made here, one after the other: what becomes of a run does not depend on who makes it."""

    def here(function, tasks, resources, on_poll):
        for task in tasks:
            yield task, function(task)

    monkeypatch.setattr("polyvae.sweeps.executors.EXECUTORS", {"local": here})


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, shared_cache):
    """The store of the configs done one by one in this process."""
    store = RunStore(tmp_path_factory.mktemp("undisturbed"))
    for config in CONFIGS:
        run_single(config.with_(threads=1), store)
    return identity(store)
