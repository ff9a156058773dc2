"""Generated data are kept, once, and damage is named."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from polyvae import datasets, files
from polyvae.datasets.cache import cached
from polyvae.errors import InputError


def test_cache_is_built_once_by_two_processes(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time, torch\n"
        "from polyvae.datasets.cache import cached\n"
        "def build():\n"
        "    pathlib.Path(sys.argv[1]).touch()\n"
        "    time.sleep(0.5)\n"
        "    return {'a': torch.arange(5)}\n"
        "cached({'n': 1}, build)\n"
    )
    started = tmp_path / "started"
    with subprocess.Popen([sys.executable, "-c", program, str(started)]) as other:
        while not started.exists():
            assert other.poll() is None
            time.sleep(0.01)
        second = cached({"n": 1}, lambda: pytest.fail("built twice"))
    assert other.returncode == 0
    assert second["a"].tolist() == [0, 1, 2, 3, 4]


def test_damaged_cache_names_the_file_to_delete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYVAE_CACHE", str(tmp_path))
    datasets.load("polymnist", modalities=1, size=20)
    (path,) = (files.cache_dir() / "datasets").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=f"{path.name}.*delete it"):
        datasets.load("polymnist", modalities=1, size=20)
