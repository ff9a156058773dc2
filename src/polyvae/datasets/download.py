"""Fetches files on request (MNIST), checks them, and resumes where a broken transfer stopped."""

import gzip
import hashlib
import http.client
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from polyvae import files
from polyvae.errors import InputError

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist")
# SHA-256 of the decompressed files.
SUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
BLOCK = 1 << 18
TIMEOUT = 30.0


def download_mnist(data_dir: Path | str, mirrors: Sequence[str] = MIRRORS) -> Path:
    """Puts the four MNIST files into `data_dir`/mnist and returns that folder; files already there and right are kept.

    A partial file is continued by a range request. Raises InputError naming the folder and the files to put there
    by hand when no mirror answers, or when what arrives has the wrong SHA-256.
    """
    folder = Path(data_dir) / "mnist"
    by_hand = f"put {', '.join(f'{name}.gz' for name in SUMS)} into {folder} by hand"
    with files.lock(folder / "download.lock"):
        for name, expected in SUMS.items():
            path = folder / f"{name}.gz"
            is_right = partial(_is_right, expected=expected)
            if not is_right(path):
                fetch(path, [f"{mirror}/{path.name}" for mirror in mirrors], is_right, by_hand)
    return folder


def fetch(path: Path, urls: Sequence[str], is_right: Callable[[Path], bool], otherwise: str) -> None:
    """Downloads `path` from the first of `urls` that serves a file which `is_right`; a partial one is continued.

    Raises InputError with the reasons and the advice `otherwise` when none does.
    """
    part, reasons = path.with_name(f"{path.name}.part"), []
    for url in urls:
        try:
            _transfer(url, part)
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {error}")
            continue
        if is_right(part):
            part.replace(path)
            return
        part.unlink()
        reasons.append(f"{url}: wrong SHA-256")
    raise InputError(f"cannot download {path.name} ({'; '.join(reasons)}); {otherwise}")


def _transfer(url: str, part: Path) -> None:
    start = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing left to send: the partial file is complete, or of another version
            return
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as file:
        missing = int(response.headers.get("Content-Length", 0))
        while block := response.read(BLOCK):
            missing -= file.write(block)
    if missing > 0:
        raise OSError(f"transfer ended {missing} bytes early; the same command continues it")


def _is_right(path: Path, expected: str) -> bool:
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == expected
    except (OSError, EOFError, zlib.error):
        return False
