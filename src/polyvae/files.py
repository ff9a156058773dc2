"""Files that are never half-written: each is made under a temporary name, then renamed."""

import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polyvae import schema
from polyvae.errors import InputError, RunError

MOST_TEXT = 2**27  # characters of a JSON file: the history of a million epochs


@contextmanager
def atomic(path: Path) -> Generator[Path]:
    """Yields a temporary neighbour of `path`; renames it onto `path` if the block succeeds, removes it if not.

    Raises RunError when the disk is full or the folder cannot be written; the old file is kept.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # a pid is unique on one machine only
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)  # as the umask says; some writers make a file of their own, 0600
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"cannot write {path}: {reason}; free some space or choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """The files and folders below it that a killed process left half-written."""
    found = [*folder.rglob(".*.tmp"), *folder.rglob(".tmp*")]  # the latter by safetensors, in earlier releases
    return [path for path in found if not any(other in path.parents for other in found)]


def remove(path: Path) -> None:
    """Removes a file or a folder that may be gone already."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(content: Any) -> str:
    """What a JSON file of ours holds."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    write_text(path, json_text(content))


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises InputError that names the file when it is missing or damaged."""
    with _readable(path):
        return schema.parsed(_text(path))


def read_object(path: Path, form: Any) -> dict[str, Any]:
    """A JSON file of the form that a type hint says (`schema.fault`), such as a TypedDict.

    Raises InputError that names the file, and the key, when it is missing or damaged.
    """
    content = read_json(path)
    if (fault := schema.fault(content, form)) is not None:
        raise damaged(path, fault)
    return content


def read_settings(path: Path) -> Any:
    """The content of a JSON file that a user wrote. Raises InputError that says where it is wrong."""
    try:
        return schema.parsed(_text(path, "utf-8-sig"))  # some editors begin a file with a mark
    except OSError as error:
        raise InputError(f"no file {path} ({error.strerror})") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path} is not valid JSON ({error.msg}, {place}); correct it there") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except ValueError as error:
        raise InputError(f"{path} cannot be used ({error}); correct it") from None


def read_json_lines(path: Path, form: Any) -> list[Any]:
    """The lines of a file, each JSON of this form (as in `read_object`); [] where there is no file.

    Raises InputError when it is damaged.
    """
    with _readable(path):
        text = _text(path) if path.exists() else ""
        lines = [schema.parsed(line) for line in text.split("\n") if line]
    for number, line in enumerate(lines, start=1):
        if (fault := schema.fault(line, form)) is not None:
            raise damaged(path, f"line {number}: {fault}")
    return lines


def write_json_lines(path: Path, lines: Iterable[Any]) -> None:
    """One JSON value per line; numbers that are not finite are null."""
    write_text(path, "".join(json.dumps(_finite(line), allow_nan=False) + "\n" for line in lines))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> None:
    """Writes named tensors and a JSON-able `meta` into one safetensors file; tied ones are written under each name."""
    plain: dict[str, Tensor] = {}
    storages: set[int] = set()  # safetensors refuses tensors that share one
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        storage = value.untyped_storage().data_ptr()
        plain[name] = value.clone() if storage in storages else value
        storages.add(storage)
    with atomic(path) as temporary, TemporaryDirectory(prefix=".", suffix=".tmp", dir=path.parent) as ours:
        made = Path(ours) / path.name  # beside which safetensors writes a file of its own first
        save_file(plain, made, {"meta": json.dumps(meta or {})})
        made.replace(temporary)


def make_once(path: Path, make: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Any]]]) -> None:
    """Writes what `make` returns, (tensors, meta), unless `path` is there; one process makes it, the others wait."""
    if path.is_file():
        return
    with lock(path.with_suffix(".lock")):
        if not path.is_file():
            write_tensors(path, *make())


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, meta) of a file by `write_tensors`, memory-mapped. Raises InputError when missing or damaged."""
    with _readable(path), safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, _meta(file)  # noqa: SIM118


def read_meta(path: Path) -> dict[str, Any]:
    """`meta` alone of a file by `write_tensors`. Raises InputError when missing or damaged."""
    with _readable(path), safe_open(path, framework="pt") as file:
        return _meta(file)


def _meta(file: Any) -> dict[str, Any]:
    return schema.parsed((file.metadata() or {}).get("meta", "{}"))


def _text(path: Path, encoding: str = "utf-8") -> str:
    with path.open(encoding=encoding) as file:
        text = file.read(MOST_TEXT + 1)
    if len(text) > MOST_TEXT:
        raise ValueError(f"it is longer than {MOST_TEXT:,} characters")
    return text


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise ValueError("it is a folder, a pipe or a device")
        yield
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, SafetensorError) as error:  # not JSON, not UTF-8, or content that no file of ours has
        raise damaged(path, error) from error


def damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path} is damaged ({reason}); delete it, then run the same command again")


def is_plain_name(name: str) -> bool:
    """Whether a name from a file can be one part of a path: it leads nowhere else, and no folder is hidden by it."""
    return bool(name) and not name.startswith(".") and not re.search(r"[/\\\x00-\x1f\x7f]", name)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, for what must not change unnoticed."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return content.hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Generator[bool]:
    """Holds an exclusive lock on `path` (released by the operating system when the process dies).

    Yields True when held; with `wait=False`, False when another process holds it.
    """
    guard = FileLock(path, timeout=-1 if wait else 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        guard.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}; choose a writable folder") from error
    try:
        yield True
    finally:
        guard.release()


def cache_dir() -> Path:
    """Where generated data and judges are kept: $POLYVAE_CACHE, else the user's cache folder."""
    if given := os.environ.get("POLYVAE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "polyvae"
