"""Downloads: resume, checksums, no network."""

import functools
import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from polyvae.datasets import download
from polyvae.datasets.polymnist.digits import load_digits
from polyvae.errors import InputError
from support.polymnist import IMAGES, LABELS, idx, write_mnist


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with range requests; `log` gets (path, first byte), `cut` bytes of the first answer are lost."""

    def __init__(self, log: list[tuple[str, int]], cut: list[int], *args: object, **options: object) -> None:
        self.log, self.cut = log, cut
        super().__init__(*args, **options)  # ty: ignore[invalid-argument-type]

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path))
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.log.append((content.name, start))
        if not content.is_file():
            return self.send_error(404)
        rest = content.read_bytes()[start:]
        if not rest:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: len(rest) - (self.cut.pop() if self.cut else 0)])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list, list]]:
    write_mnist(tmp_path / "served", ".gz")
    sums = {
        name: hashlib.sha256(gzip.decompress((tmp_path / f"served/{name}.gz").read_bytes())).hexdigest()
        for name in download.SUMS
    }
    monkeypatch.setattr(download, "SUMS", sums)
    log, cut = [], []
    handler = functools.partial(Mirror, log, cut, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", log, cut
        server.shutdown()
        thread.join()


def test_download_then_nothing_is_fetched_again(tmp_path: Path, mirror: tuple[str, list, list]) -> None:
    url, log, _ = mirror
    folder = download.download_mnist(tmp_path / "data", [url])
    assert len(log) == 4
    assert {p.name for p in folder.glob("*.gz")} == {p.name for p in (tmp_path / "served").iterdir()}
    assert np.array_equal(load_digits("train", tmp_path / "data").images.numpy(), IMAGES)
    download.download_mnist(tmp_path / "data", [url])
    assert len(log) == 4


def test_partial_files_are_continued(tmp_path: Path, mirror: tuple[str, list, list]) -> None:
    url, log, _ = mirror
    name = "train-images-idx3-ubyte.gz"
    served = (tmp_path / "served" / name).read_bytes()
    (tmp_path / "data/mnist").mkdir(parents=True)
    (tmp_path / "data/mnist" / f"{name}.part").write_bytes(served[:1000])
    folder = download.download_mnist(tmp_path / "data", [url])
    assert log[0] == (name, 1000)
    assert (folder / name).read_bytes() == served
    assert not list(folder.glob("*.part"))


def test_a_complete_partial_file_is_taken(tmp_path: Path, mirror: tuple[str, list, list]) -> None:
    url, _, _ = mirror
    name = "train-images-idx3-ubyte.gz"
    served = (tmp_path / "served" / name).read_bytes()
    (tmp_path / "data/mnist").mkdir(parents=True)
    (tmp_path / "data/mnist" / f"{name}.part").write_bytes(served)
    assert (download.download_mnist(tmp_path / "data", [url]) / name).read_bytes() == served


def test_a_broken_transfer_is_continued_by_the_next_call(tmp_path: Path, mirror: tuple[str, list, list]) -> None:
    url, log, cut = mirror
    cut.append(700)
    with pytest.raises(InputError, match="transfer ended 700 bytes early"):
        download.download_mnist(tmp_path / "data", [url])
    name, _ = log[0]
    folder = download.download_mnist(tmp_path / "data", [url])
    size = (tmp_path / "served" / name).stat().st_size
    assert log[1] == (name, size - 700)
    assert (folder / name).stat().st_size == size


def test_wrong_content_is_refused_and_leaves_nothing(tmp_path: Path, mirror: tuple[str, list, list]) -> None:
    url, _, _ = mirror
    name = "t10k-labels-idx1-ubyte.gz"
    (tmp_path / "served" / name).write_bytes(gzip.compress(idx(LABELS[::-1]), mtime=0))
    with pytest.raises(InputError, match=f"{name}: wrong SHA-256"):
        download.download_mnist(tmp_path / "data", [url])
    assert not list((tmp_path / "data/mnist").glob("t10k-labels*"))


def test_the_next_mirror_steps_in(tmp_path: Path, mirror: tuple[str, list, list]) -> None:
    url, log, _ = mirror
    download.download_mnist(tmp_path / "data", [f"{url}/nothing-here", url])
    assert len(log) == 8


def test_offline_names_folder_and_files(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        download.download_mnist(tmp_path, ["http://127.0.0.1:9"])
    assert str(tmp_path / "mnist") in str(error.value)
    assert all(f"{name}.gz" in str(error.value) for name in download.SUMS)
