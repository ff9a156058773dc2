"""Builds the sdist and, from it, the wheel; installs the wheel where the source tree is not; and uses it.

    python scripts/release_check.py [--python PYTHON] [--env DIR] [--keep DIR]

What is built is the last commit, so that no stray file of the tree helps. --python: which Python. --env: an environment
to install into, such as one that has PyTorch already; by default a new one, with the versions of constraints.txt.
--keep: folder for the sdist and the wheel. Prints the sizes of what was installed and the times of a start. Exits with
1 at the first thing that fails.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

TREE = Path(__file__).parent.parent
NEEDED = (  # in the wheel
    "polyvae/py.typed",
    "polyvae/sweeps/measured.json",
    "polyvae/datasets/assets/SOURCES.md",
    "dist-info/licenses/LICENSE",
    "dist-info/licenses/src/polyvae/datasets/assets/SOURCES.md",
)
RUN = "run --epochs 1 --modalities 2 --network conv_half --train-size 512 --test-size 100 --metrics bound"
LIBRARY = """
import numpy as np, polyvae as pv
x = np.random.default_rng(0).standard_normal((200, 6))
x[:50, 4:] = np.nan
filled = pv.MultimodalVAEImputer(views={"a": slice(0, 4), "b": slice(4, 6)}, epochs=2).fit(x).impute(x)
assert np.isfinite(filled).all() and (filled[50:] == x[50:]).all()
"""
STARTS = {
    "import polyvae": ["-c", "import polyvae"],
    "polyvae --help": ["-m", "polyvae", "--help"],
    "polyvae run --help": ["-m", "polyvae", "run", "--help"],
    "import torch": ["-c", "import torch"],
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--python", default=sys.executable)
    asked.add_argument("--env", type=Path)
    asked.add_argument("--keep", type=Path)
    given = asked.parse_args()
    with TemporaryDirectory() as folder:
        place = Path(folder)
        wheel = built(given.python, place, given.keep or place / "dist")
        python = installed(given.python, wheel, given.env or place / "env")
        used(python, place / "elsewhere")
        sizes(python)
        starts(python, place)


def built(python: str, place: Path, out: Path) -> Path:
    """The wheel, built from the sdist in an environment that has nothing but the build tool."""
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=TREE, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(place / "tree", filter="data")
    tool = environment(python, place / "build")
    call(tool, "-m", "pip", "install", "-q", "build")
    call(tool, "-m", "build", "--outdir", str(out.absolute()), str(place / "tree"))
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = [name for name in NEEDED if not any(found.endswith(name) for found in names)]
    strange = [name for name in names if name.split("/")[0].partition("-")[0] != "polyvae"]
    if missing or strange:
        raise SystemExit(f"{wheel.name} lacks {missing} and holds {strange}")
    for path in (sdist, wheel):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    return wheel


def installed(python: str, wheel: Path, env: Path) -> str:
    """The Python of an environment that has the wheel and what it depends on."""
    if env.is_dir():
        own, pinned = str(env / "bin" / "python"), []
    else:
        own, pinned = environment(python, env), ["-c", str(TREE / "constraints.txt")]
    call(own, "-m", "pip", "install", "-q", *pinned, str(wheel))
    return own


def used(python: str, folder: Path) -> None:
    """Trains, scores and reports on the embedded data, and imputes from Python, in a folder that has nothing."""
    folder.mkdir()
    where = subprocess.run(
        [python, "-c", "import polyvae; print(polyvae.__file__)"],
        cwd=folder,
        env=clean(),
        capture_output=True,
        text=True,
    ).stdout.strip()
    if "site-packages" not in where:
        raise SystemExit(f"polyvae was imported from {where!r}, not from the wheel")
    polyvae = str(Path(python).parent / "polyvae")
    for command in ("--version", RUN, "watch --once", "report --quiet"):
        subprocess.run([polyvae, *command.split()], cwd=folder, env=clean(), check=True)
    (record,) = folder.glob("runs/*/record.json")
    metrics = json.loads(record.read_text())["metrics"]
    if not (metrics["bound/loss"] > 0 and (folder / "report" / "index.html").is_file()):
        raise SystemExit("the run has no loss, or there is no report")
    subprocess.run([python, "-c", LIBRARY], cwd=folder, env=clean(), check=True)


def sizes(python: str) -> None:
    """Prints what the environment holds, in MB on disk, the largest packages by name."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    found = {path.name: size(path) / 1e6 for path in packages.iterdir()}
    largest = sorted(found, key=lambda name: -found[name])[:8]
    print(f"installed: {sum(found.values()):,.0f} MB, of which polyvae {found['polyvae']:.1f} MB; the largest:")
    print("  " + ", ".join(f"{name} {found[name]:,.0f}" for name in largest))


def size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def starts(python: str, folder: Path) -> None:
    """Prints CPU seconds (user and system) of a start: median and range of 5, in alternation."""
    spent: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(5):
        for name, arguments in STARTS.items():
            before = os.times()
            subprocess.run([python, *arguments], cwd=folder, env=clean(), stdout=subprocess.DEVNULL, check=True)
            after = os.times()
            spent[name].append(
                after.children_user + after.children_system - before.children_user - before.children_system
            )
    for name, seconds in spent.items():
        print(f"{name}: {median(seconds):.2f} s of CPU ({min(seconds):.2f} to {max(seconds):.2f})")


def environment(python: str, folder: Path) -> str:
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    return str(folder / "bin" / "python")


def call(python: str, *arguments: str) -> None:
    started = time.monotonic()
    subprocess.run([python, *arguments], env=clean(), check=True, stdout=subprocess.DEVNULL)
    print(f"{' '.join(arguments[:3])}: {time.monotonic() - started:.0f} s")


def clean() -> dict[str, str]:
    """The environment without what would let the tree in."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
        "OMP_NUM_THREADS": "1"
    }


if __name__ == "__main__":
    main()
