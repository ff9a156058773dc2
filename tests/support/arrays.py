"""Arrays as a user may bring them."""

import numpy as np


def own_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((50, 4)) * 3 + 7
    mask = rng.random(50) > 0.3
    table[~mask] = np.nan
    return {
        "photo": rng.integers(0, 256, (50, 3, 8, 8), dtype=np.uint8),
        "genes": table,
        "genes.mask": mask,
        "kind": rng.integers(0, 3, 50),
        "label": rng.integers(0, 5, 50),
    }


TABLES = ("m0", "m1", "m2")


def tables_with_gaps(rows: int) -> dict[str, np.ndarray]:
    """Three tables, of which all rows have the first and seven of ten each other one."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(rows, 3)).astype("float32") for name in TABLES}
    return arrays | {f"{name}.mask": rng.random(rows) > 0.3 for name in TABLES[1:]}
