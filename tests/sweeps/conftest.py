"""What the tests of sweeps share."""

import pytest

from polyvae import RunStore
from polyvae import run as run_single
from support.sweeping import CONFIGS, identity


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, shared_cache):
    """The store of the configs done one by one in this process."""
    store = RunStore(tmp_path_factory.mktemp("undisturbed"))
    for config in CONFIGS:
        run_single(config.with_(threads=1), store)
    return identity(store)
