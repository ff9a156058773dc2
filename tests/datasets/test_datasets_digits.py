"""Reading IDX files, and downloading them: resume, checksums, no network."""

import functools
import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyvae.datasets import download
from polyvae.datasets.polymnist.backgrounds import load_pictures
from polyvae.datasets.polymnist.digits import FILES, load_digits, read_idx
from polyvae.errors import InputError


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes((0, 0, 8, array.ndim)) + shape + array.astype(np.uint8).tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28))
LABELS = np.arange(12) % 10


def write_mnist(folder: Path, suffix: str) -> None:
    folder.mkdir(parents=True)
    for images, labels in FILES.values():
        for name, content in ((images, idx(IMAGES)), (labels, idx(LABELS))):
            (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_of_the_data_directory_are_read(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "mnist", suffix)
    given = load_digits("test", tmp_path)
    assert np.array_equal(given.images.numpy(), IMAGES)
    assert given.labels.tolist() == LABELS.tolist()
    monkeypatch.setenv("POLYVAE_DATA", str(tmp_path))
    assert torch.equal(load_digits("train").images, given.images)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.gz", gzip.compress(idx(IMAGES))[:-50]),
        ("flipped.gz", gzip.compress(idx(IMAGES))[:200] + b"\0\0\0" + gzip.compress(idx(IMAGES))[203:]),
        ("text.gz", b"no gzip"),
        ("short", idx(IMAGES)[:-1]),
        ("long", idx(IMAGES) + b"\0"),
        ("wrong-axes", idx(LABELS)),
        ("floats", b"\0\0\x0d\x03" + idx(IMAGES)[4:]),
        ("empty", b""),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        read_idx(tmp_path / name, 3)


def test_disagreeing_files_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", "")
    (tmp_path / "mnist/train-labels-idx1-ubyte").write_bytes(idx(LABELS[:-1]))
    with pytest.raises(InputError, match=r"12 images but .*train-labels-idx1-ubyte 11 labels"):
        load_digits("train", tmp_path)
    (tmp_path / "mnist/train-labels-idx1-ubyte").write_bytes(idx(LABELS + 3))
    with pytest.raises(InputError, match="labels 0 to 9"):
        load_digits("train", tmp_path)
    (tmp_path / "mnist/t10k-images-idx3-ubyte").write_bytes(idx(IMAGES[:, :27]))
    with pytest.raises(InputError, match=r"images of \(27, 28\)"):
        load_digits("test", tmp_path)


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_digits("train", tmp_path)
    assert all(name in str(error.value) for pair in FILES.values() for name in pair)
    assert str(tmp_path / "mnist") in str(error.value)


def test_own_pictures_come_sorted_and_are_checked(tmp_path: Path) -> None:
    (tmp_path / "backgrounds").mkdir()
    with pytest.raises(InputError, match=r"holds no .png or .jpg"):
        load_pictures(tmp_path)
    for name, colour in (("b.png", (9, 8, 7)), ("a.png", (1, 2, 3))):
        Image.new("RGB", (40, 30), colour).save(tmp_path / "backgrounds" / name)
    first, second = load_pictures(tmp_path)
    assert first.pixels.shape == (3, 30, 40)
    assert first.pixels[:, 0, 0].tolist() == [1, 2, 3]
    assert second.pixels[:, 0, 0].tolist() == [9, 8, 7]
    assert second.grey == pytest.approx(1 - 2 * 8 / 255)
    Image.new("RGB", (40, 28)).save(tmp_path / "backgrounds/c.png")
    with pytest.raises(InputError, match=r"c.png is 40 x 28 pixels; each side must be at least 29"):
        load_pictures(tmp_path)
    (tmp_path / "backgrounds/c.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"c.png cannot be read"):
        load_pictures(tmp_path)


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
    (tmp_path / "served" / name).write_bytes(gzip.compress(idx(LABELS[::-1])))
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
