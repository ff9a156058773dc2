"""Arrays of NumPy files, .npy and .npz, and pictures: their size is read before memory is taken for them."""

import lzma
import os
import shlex
import struct
import warnings
import zipfile
import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, NoReturn

import numpy as np
from numpy.lib import format as npy
from PIL import Image

from polyvae.errors import InputError
from polyvae.file_rows import Array, FileRows

ENCRYPTED = 1  # the bit of a zip member's flags
PACKED, LARGE = 200, 2**28  # more bytes than LARGE out of PACKED times fewer are a bomb, or should not be packed
NO_OBJECTS = "save text as column.astype(str), numbers as column.astype(float)"
FIX = "use fewer rows or smaller types, or save each modality as NAME.npy in one folder, whose rows are read by batch"
UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)
NO_PICTURE = (OSError, SyntaxError, ValueError, EOFError, ArithmeticError, LookupError, struct.error, zlib.error)
TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy file. Raises InputError, before memory is taken, if it is not one or is too large."""
    with _opened(path) as file:
        try:
            check_memory(path, held := path.stat().st_size)
            return _array(file, held)
        except UNREADABLE as error:
            raise InputError(f"{path} is not a readable table ({error}); save it with numpy.save") from error


def open_npy(path: Path) -> Array:
    """The rows of a .npy file, left there if each has several values. Raises InputError as `read_npy` does."""
    with _opened(path) as file:
        try:
            held = path.stat().st_size
            shape, is_by_column, dtype = _header(file, held)
            start = file.tell()
        except UNREADABLE as error:
            raise InputError(f"{path} is not a readable table ({error}); save it with numpy.save") from error
    if prod(shape[1:]) == 1 or dtype.kind not in "biuf":
        return read_npy(path)
    if is_by_column:
        raise InputError(
            f"{path} is too large to be read at once, and is stored by column; save numpy.ascontiguousarray of it"
        )
    return FileRows(path, start, dtype, shape[1:], dtype, shape)


def write_npy(path: Path, parts: Iterable[np.ndarray], rows: int) -> None:
    """Writes the parts of an array of `rows` rows, one after the other."""
    with path.open("wb") as file:
        for index, part in enumerate(parts):
            if not index:
                write_header(file, part.dtype, (rows, *part.shape[1:]))
            file.write(np.ascontiguousarray(part).data)


def write_header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """What a .npy file begins with; the values follow, row by row."""
    npy.write_array_header_1_0(file, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name. Raises InputError, before it takes memory, if it is not one or too large."""
    with _opened(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except UNREADABLE as error:
            _refuse(path, file, error)
        with archive:
            members = archive.infolist()
            names = [member.filename.removesuffix(".npy") for member in members]
            if double := [name for place, name in enumerate(names) if name in names[:place]]:
                raise InputError(f"{path} holds {double[0]!r} twice; keep one")
            unpacking = shlex.join(["python", "-m", "zipfile", "-e", str(path), str(path.with_suffix(""))])
            fix = f"unpack it into an empty folder, from which rows are read by batch: {unpacking}"
            check_memory(path, sum(member.file_size for member in members), fix)
            return {name: _member(path, archive, m, name) for name, m in zip(names, members, strict=True)}


@contextmanager
def picture(source: Path | IO[bytes]) -> Generator[Image.Image]:
    """A picture, whose size is known and whose pixels are not read yet.

    Raises InputError, here and while it is read, if it is not one, is damaged, or has more pixels than Pillow thinks
    safe (some 90 million).
    """
    try:
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise ValueError("a folder, a pipe or a device")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                yield image
    except TOO_LARGE as error:
        raise InputError(f"too large ({str(error).split(',')[0]}); make it smaller") from error
    except InputError:
        raise
    except NO_PICTURE as error:
        raise InputError(f"unreadable ({str(error) or type(error).__name__})") from error


def check_unpacked(place: str, size: int, packed: int) -> None:
    """Raises InputError where `packed` bytes become so many that it is a bomb, or should not be packed."""
    if size > max(LARGE, PACKED * packed):
        raise InputError(
            f"{place} unpacks to {size / 1e9:,.1f} GB, {size // max(1, packed):,} times its size; if that is meant, "
            "save it unpacked"
        )


def most_memory() -> int:
    """Bytes that data may take: $POLYVAE_MEMORY (in GB), else half of this machine's memory, since they are copied once
    on the way. Raises InputError for a value that is not a number."""
    given = os.environ.get("POLYVAE_MEMORY")
    if given is None:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:
        return int(1e9 * float(given))
    except (ValueError, OverflowError):
        raise InputError(f"POLYVAE_MEMORY is {given!r}; give a number of gigabytes, such as 8") from None


def check_memory(path: Path, asked: int, fix: str = FIX) -> None:
    """Raises InputError for more than `most_memory`. fix: what to do then."""
    if asked > (most := most_memory()):
        raise InputError(
            f"{path} holds arrays of {asked / 1e9:,.1f} GB, and this machine can take {most / 1e9:,.1f} GB; {fix}"
        )


def _opened(path: Path) -> IO[bytes]:
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a folder, a pipe or a device; name a file")
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"no file {path} ({error.strerror})") from None


def _refuse(path: Path, file: IO[bytes], error: Exception) -> NoReturn:
    """Says what a file is that is not an .npz."""
    file.seek(0)
    start = file.read(len(npy.MAGIC_PREFIX))
    if start == npy.MAGIC_PREFIX:
        raise InputError(f"{path} is a single array; save the modalities by name with numpy.savez") from error
    what = "not a readable .npz file" if start[:2] == b"PK" or not start else "not an .npz file"
    raise InputError(f"{path} is {what} ({error}); save the modalities by name with numpy.savez") from error


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    place = f"{name!r} in {path}"
    if member.flag_bits & ENCRYPTED:
        raise InputError(f"{place} is encrypted; save it without a password, with numpy.savez")
    check_unpacked(place, member.file_size, member.compress_size)
    try:
        with archive.open(member) as file:
            return _array(file, member.file_size)
    except UNREADABLE as error:
        raise InputError(f"{place} cannot be read ({error}); save it again, with numpy.savez") from error


def _array(file: IO[bytes], held: int) -> np.ndarray:
    """The array in a .npy stream of `held` bytes. Raises ValueError for one that asks for more, or for objects."""
    start = file.tell()
    _header(file, held)
    file.seek(start)
    return npy.read_array(file, allow_pickle=False)


def _header(file: IO[bytes], held: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether it is stored by column, type) of a .npy stream. Raises ValueError as `_array` does."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    try:
        shape, is_by_column, dtype = readers.get(version, readers[2, 0])(file)
    except (SyntaxError, TokenError, RecursionError, MemoryError, TypeError, OverflowError) as error:
        raise ValueError(f"its header is damaged: {type(error).__name__}") from error
    if dtype.hasobject:
        raise ValueError(f"objects are not read: {NO_OBJECTS}")
    asked, there = prod(shape) * dtype.itemsize, held - file.tell()
    if min(shape, default=1) < 0 or asked != there:
        raise ValueError(f"its header says {dtype} {shape}, {asked:,} bytes, and there are {there:,}")
    return shape, is_by_column, dtype
