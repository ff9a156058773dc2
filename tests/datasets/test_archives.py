"""Archives ask for no memory before they are believed; bombs, passwords and objects are refused in one line."""

import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from numpy.lib import format as npy
from PIL import Image

from polyvae import InputError, archives
from polyvae.datasets.birds.files import Archive
from polyvae.datasets.polymnist.digits import read_idx


def header(shape, dtype="<f4"):
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def written(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def saved(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


MEMBERS = {
    "72 TiB": (header((9_000_000_000_000, 2)), "72,000,000,000,000 bytes, and there are 0"),
    "negative": (header((-1, 2)) + bytes(8), "there are 8"),
    "too short": (header((4, 2)) + bytes(8), "32 bytes, and there are 8"),
    "objects": (saved(np.array([{}, []], dtype=object)), "objects are not read"),
    "nested header": (header((2,)).replace(b"(2,), }", b"((((((2"), "header"),
    "nothing": (b"", "cannot be read"),
    "no array": (b"hello", "cannot be read"),
}


@pytest.mark.parametrize("kind", MEMBERS)
def test_a_member_that_is_no_array_is_named_before_memory_is_taken(kind, tmp_path):
    content, reason = MEMBERS[kind]
    path = written(tmp_path / "x.npz", {"a.npy": content})
    tracemalloc.start()
    with pytest.raises(InputError, match=reason) as refused:
        archives.read_npz(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert f"'a' in {path}" in str(refused.value)


def test_a_table_that_is_no_array_is_named(tmp_path):
    path = tmp_path / "law.npy"
    for content in (header((10**12, 10**3)), b"", b"hello", saved(np.array([None], dtype=object))):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"law\.npy is not a readable table"):
            archives.read_npy(path)
    np.save(path, np.eye(2))
    assert np.array_equal(archives.read_npy(path), np.eye(2))


def test_bombs_passwords_and_double_names_are_refused(tmp_path, monkeypatch):
    zeros = saved(np.zeros(1_000_000))
    path = written(tmp_path / "bomb.npz", {"a.npy": zeros}, zipfile.ZIP_DEFLATED)
    assert archives.read_npz(path)["a"].shape == (1_000_000,), "small ones are as they are"
    monkeypatch.setattr(archives, "LARGE", 1_000_000)
    with pytest.raises(InputError, match=r"'a' in .*bomb\.npz unpacks to 0\.0 GB, .* times its size"):
        archives.read_npz(path)
    locked = tmp_path / "locked.npz"
    content = bytearray(written(locked, {"a.npy": saved(np.ones(2))}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    locked.write_bytes(content)
    with pytest.raises(InputError, match="is encrypted"):
        archives.read_npz(locked)
    twice = tmp_path / "twice.npz"
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a.npy", zeros)
        archive.writestr("b.npy", zeros)
    twice.write_bytes(twice.read_bytes().replace(b"b.npy", b"a.npy"))
    with pytest.raises(InputError, match="holds 'a' twice"):
        archives.read_npz(twice)


def test_more_than_this_machine_holds_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(1000))
    monkeypatch.setattr(archives.os, "sysconf", lambda name: 80)
    with pytest.raises(InputError, match=r"x\.npz holds arrays of .* GB, and this machine can take"):
        archives.read_npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saves_is_read_back(save, tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.asfortranarray(np.eye(3)), "d": 3.0}
    save(tmp_path / "x.npz", **arrays)
    found = archives.read_npz(tmp_path / "x.npz")
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def idx(*shape):
    return bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)


PACKERS = {".gz": gzip.compress, ".xz": lzma.compress, "": bytes}
SIZES = {
    "2^96 digits": (idx(2**32 - 1, 2**32 - 1, 2**32 - 1), "this machine can take"),
    "a bomb": (idx(1000, 28, 28) + bytes(784_000), "times its size; if that is meant"),
    "more than it says": (idx(2, 28, 28) + bytes(20_000), r"holds more bytes, its header says 1,568"),
    "less than it says": (idx(2, 28, 28) + bytes(9), r"holds 9 bytes, its header says 1,568"),
}


@pytest.mark.parametrize("ending", PACKERS, ids=["gz", "xz", "plain"])
@pytest.mark.parametrize("kind", SIZES)
def test_digits_are_as_many_as_the_header_says(kind, ending, tmp_path, monkeypatch):
    content, reason = SIZES[kind]
    monkeypatch.setattr(archives, "LARGE", 100_000)
    path = tmp_path / f"x{ending}"
    path.write_bytes(PACKERS[ending](content))
    if kind == "a bomb" and not ending:
        assert read_idx(path, 3).shape == (1000, 28, 28)  # nothing is packed
        return
    with pytest.raises(InputError, match=reason):
        read_idx(path, 3)


def test_a_tar_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGE", 100_000)
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("text_c10/a/b.txt")
        member.size = 2_000_000
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(InputError, match=r"x\.tar\.gz unpacks to .* times its size"):
        Archive(path, 0).stamps()


def png(width, height):
    """A picture of that size, by its header."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b""))]
    parts = [
        struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in [*chunks, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PICTURES = {
    "100 million pixels": (png(10_000, 10_000), "too large"),
    "10^9 pixels": (png(40_000, 40_000), "too large"),
    "cut": (png(28, 28), "unreadable"),
    "nothing": (b"", "unreadable"),
    "no picture": (b"hello", "unreadable"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_that_cannot_be_drawn_is_told_before_memory_is_taken(kind, tmp_path):
    content, reason = PICTURES[kind]
    (tmp_path / "x.png").write_bytes(content)
    tracemalloc.start()
    for source in (tmp_path / "x.png", io.BytesIO(content)):
        with pytest.raises(InputError, match=reason), archives.picture(source) as image:
            image.convert("RGB")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    Image.new("L", (3, 2)).save(tmp_path / "y.png")
    with archives.picture(tmp_path / "y.png") as image:
        assert image.size == (3, 2)


def test_what_is_no_file_is_not_opened(tmp_path):
    for path in (tmp_path, tmp_path / "none.npz"):
        with pytest.raises(InputError, match=r"folder|no file"):
            archives.read_npz(path)
    archives.os.mkfifo(tmp_path / "pipe")
    for read in (archives.read_npz, archives.read_npy):
        with pytest.raises(InputError, match="a pipe"):
            read(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe"), archives.picture(tmp_path / "pipe"):
        pass
