"""How much memory do data take that are read by batch? python benchmarks/larger.py 60000 240000

For each number of rows: a folder with two tables of 400 and 100 features (2 kB a row; one row in twenty lacks the
second), for which 0.05 GB may be taken, and the peak memory of each command's process (ru_maxrss), libraries included.
Then the time to read a batch of 256 rows that are on the disk alone, with and without being told of it 20 ms before.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from polyvae import archives
from polyvae.file_rows import FileRows

FEATURES = {"rna": 400, "protein": 100}
SETTINGS = (
    "--method mopoe_dense --network linear_mlp --latent-dim 8 --learning-rate .001 --epochs 1 --batch-size 512 "
    "--validation-fraction .2"
)
COMMANDS = {
    "data info": "data info --data {data}",
    "run": f"run --data {{data}} {SETTINGS} --metrics imputation,bound",
    "embed": "embed arrays --data {data}",
    "impute": "impute arrays --data {data} --draws 5",
}


def write(folder: Path, rows: int, part: int = 10_000) -> None:
    """Tables that share three codes."""
    rng = np.random.default_rng(0)
    loadings = {name: rng.standard_normal((3, width)) for name, width in FEATURES.items()}
    for name, width in FEATURES.items():
        codes, noise = np.random.default_rng(1), np.random.default_rng(len(name))
        sizes = [min(part, rows - start) for start in range(0, rows, part)]
        made = (codes.standard_normal((n, 3)) @ loadings[name] + noise.standard_normal((n, width)) for n in sizes)
        archives.write_npy(folder / f"{name}.npy", (values.astype(np.float32) for values in made), rows)
    np.save(folder / "protein.mask.npy", rng.random(rows) > 0.05)


def peak(command: str, place: Path) -> float:
    """MB."""
    world = os.environ | {"POLYVAE_MEMORY": "0.05", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "polyvae", *command.split()], cwd=place, env=world, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"polyvae {command} failed")
    return usage.ru_maxrss / 1024


def milliseconds(rows: FileRows, *, is_told: bool) -> float:
    """To read a batch of 256, median of 60."""
    with rows.path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    batches = np.random.default_rng(0).permutation(len(rows))[: 256 * 61].reshape(61, 256)
    seconds = []
    for batch, following in itertools.pairwise(batches):
        started = time.perf_counter()
        if is_told:
            rows.expect(following)
        assert len(rows[batch]) == len(batch)
        seconds.append(time.perf_counter() - started)
        time.sleep(0.02)  # a step
    return 1e3 * median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="+", help="at least 60,000, so that as many rows are held")
    for count in parser.parse_args().rows:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data"
            data.mkdir()
            write(data, count)
            peaks = {name: peak(command.format(data=data), Path(folder)) for name, command in COMMANDS.items()}
            found = [f"{name} {used:.0f} MB" for name, used in peaks.items()]
            rows = archives.open_npy(data / "rna.npy")
            assert isinstance(rows, FileRows)
            told, untold = (milliseconds(rows, is_told=is_told) for is_told in (True, False))
            print(f"{count:,} rows: {', '.join(found)}; a batch in {told:.1f} ms, untold {untold:.1f} ms", flush=True)


if __name__ == "__main__":
    main()
