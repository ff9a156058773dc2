"""Arrays of NumPy files, .npy and .npz: what they ask for is read, and refused, before memory is taken for it."""

import lzma
import os
import zipfile
import zlib
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, NoReturn

import numpy as np
from numpy.lib import format as npy

from polyvae.errors import InputError

ENCRYPTED = 1  # the bit of a zip member's flags
PACKED, LARGE = 200, 2**28  # more bytes than LARGE out of PACKED times fewer are a bomb, or had better not be packed
NO_OBJECTS = "save text as column.astype(str), numbers as column.astype(float)"
UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy file. Raises InputError, before memory is taken, for what is none or is too large."""
    with _opened(path) as file:
        try:
            _check_memory(path, held := path.stat().st_size)
            return _array(file, held)
        except UNREADABLE as error:
            raise InputError(f"{path} is no readable table ({error}); save it with numpy.save") from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name. Raises InputError, before it takes memory, for what is none or too large."""
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
            _check_memory(path, sum(member.file_size for member in members))
            return {name: _member(path, archive, m, name) for name, m in zip(names, members, strict=True)}


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"no file {path} ({error.strerror})") from None


def _refuse(path: Path, file: IO[bytes], error: Exception) -> NoReturn:
    """Says what a file is that is no .npz."""
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
    if member.file_size > max(LARGE, PACKED * member.compress_size):
        times = member.file_size // max(1, member.compress_size)
        raise InputError(
            f"{place} unpacks to {member.file_size / 1e9:,.1f} GB, {times:,} times its size; if that is meant, save it "
            "unpacked, with numpy.savez"
        )
    try:
        with archive.open(member) as file:
            return _array(file, member.file_size)
    except UNREADABLE as error:
        raise InputError(f"{place} cannot be read ({error}); save it again, with numpy.savez") from error


def _array(file: IO[bytes], held: int) -> np.ndarray:
    """The array in a .npy stream of `held` bytes. Raises ValueError for one that asks for more, or for objects."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    start = file.tell()
    version = npy.read_magic(file)
    try:
        shape, _, dtype = readers.get(version, readers[2, 0])(file)
    except (SyntaxError, TokenError, RecursionError, MemoryError, TypeError, OverflowError) as error:
        raise ValueError(f"its header is damaged: {type(error).__name__}") from error
    if dtype.hasobject:
        raise ValueError(f"objects are not read: {NO_OBJECTS}")
    asked, there = prod(shape) * dtype.itemsize, held - file.tell()
    if min(shape, default=1) < 0 or asked != there:
        raise ValueError(f"its header says {dtype} {shape}, {asked:,} bytes, and there are {there:,}")
    file.seek(start)
    return npy.read_array(file, allow_pickle=False)


def _check_memory(path: Path, asked: int) -> None:
    """Half of this machine's memory: data are copied once on their way."""
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    if asked > most:
        raise InputError(
            f"{path} holds arrays of {asked / 1e9:,.1f} GB, and this machine can take {most / 1e9:,.1f} GB; use fewer "
            "rows, or smaller types"
        )
