"""Time and memory of `polyvae data build cub` on as many synthetic birds as CUB has; prints JSON.

    python benchmarks/cub_build.py [pictures]

11,788 JPEG files of about 500x375 in 200 class folders, ten captions each, in a temporary folder (about 1 GB). 64
pictures are drawn, as detailed as photographs, and written under all names: decoding costs the same for each.
Keys: pictures, mib (of JPEG files), seconds, peak_mib, import_mib (peak of a process that only imports).
"""

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, DRAWN = 200, 64
CAPTION = "this small bird has a {} belly, grey-brown wings with white bars and a short pointed beak ."
COLOURS = ("red", "yellow", "white", "black", "blue", "green", "orange", "grey", "brown", "tan")


def picture(seed: int) -> bytes:
    """A JPEG file of 500x375: smooth colours with detail at every scale, about 100 kB."""
    rng = np.random.default_rng(seed)
    whole = np.zeros((375, 500, 3))
    for cells in (4, 16, 64, 250):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        whole += np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)) / 4
    target = io.BytesIO()
    Image.fromarray(whole.astype(np.uint8)).save(target, "JPEG", quality=90)
    return target.getvalue()


def write_birds(root: Path, count: int) -> int:
    """The official layout below `root`; returns the bytes of all pictures."""
    drawn = [picture(seed) for seed in range(DRAWN)]
    captions = "".join(CAPTION.format(colour) + "\n" for colour in COLOURS)
    total = 0
    for index in range(count):
        number = index * CLASSES // count + 1
        folder, name = f"{number:03d}.Class_{number}", f"Bird_{index:05d}"
        images, texts = root / "CUB_200_2011/images" / folder, root / "text_c10" / folder
        images.mkdir(parents=True, exist_ok=True)
        texts.mkdir(parents=True, exist_ok=True)
        (images / f"{name}.jpg").write_bytes(drawn[index % DRAWN])
        (texts / f"{name}.txt").write_text(captions)
        total += len(drawn[index % DRAWN])
    return total


def peak_of(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of a command, and the peak MiB of the largest process waited for so far."""
    started = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


count = int(sys.argv[1]) if len(sys.argv) > 1 else 11_788
with tempfile.TemporaryDirectory() as temporary:
    place = Path(temporary)
    size = write_birds(place / "data/cub", count)
    environment = os.environ | {"POLYVAE_CACHE": str(place / "cache")}
    polyvae = [sys.executable, "-c", "from polyvae.cli import main; main()", "data"]
    _, imported = peak_of([*polyvae, "list"], environment)
    seconds, peak = peak_of([*polyvae, "build", "cub", "--data-dir", str(place / "data")], environment)
print(
    json.dumps(
        {
            "pictures": count,
            "mib": round(size / 2**20),
            "seconds": round(seconds, 1),
            "peak_mib": round(peak),
            "import_mib": round(imported),
        }
    )
)
