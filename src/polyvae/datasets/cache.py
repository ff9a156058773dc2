"""Generated data sets are written once and memory-mapped afterwards."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from polyvae import files


def checksum(*arrays: np.ndarray) -> str:
    """SHA-256 over types, shapes and contents."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def cached(parameters: Mapping[str, Any], build: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `build` makes from `parameters` (all that they depend on), built by one process only.

    Reopening costs no read of the content. Raises InputError when the cached file is damaged or cannot be written.
    """
    key = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    path = files.cache_dir() / "datasets" / f"{key}.safetensors"
    files.make_once(path, lambda: (build(), parameters))
    return files.read_tensors(path)[0]
