"""Files that are never half-written: each is made under a temporary name, then renamed."""

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polyvae.errors import InputError, RunError


@contextmanager
def atomic(path: Path) -> Generator[Path]:
    """Yields a temporary neighbour of `path`; renames it onto `path` if the block succeeds, removes it if not.

    Raises RunError when the disk is full or the folder cannot be written; the old file is kept.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"cannot write {path}: {reason}; free some space or choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises InputError that names the file when it is missing or damaged."""
    with _readable(path):
        return json.loads(path.read_text(encoding="utf-8"))


def read_object(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """A JSON file that holds an object with at least `keys`. Raises InputError when it is missing or damaged."""
    content = read_json(path)
    if missing := [key for key in keys if not isinstance(content, dict) or key not in content]:
        raise damaged(path, f"it lacks {missing[0]!r}")
    return content


def read_settings(path: Path) -> Any:
    """The content of a JSON file that a user wrote. Raises InputError that says where it is wrong."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"no file {path} ({error.strerror})") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path} is not valid JSON ({error.msg}, {place}); correct it there") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from None


def read_json_lines(path: Path) -> list[Any]:
    """The content of a file with one JSON value per line, [] where there is none. Raises InputError when damaged."""
    with _readable(path):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> None:
    """Writes named tensors and a JSON-able `meta` into one safetensors file; tied ones are written under each name."""
    plain: dict[str, Tensor] = {}
    storages: set[int] = set()  # safetensors refuses tensors that share one
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        storage = value.untyped_storage().data_ptr()
        plain[name] = value.clone() if storage in storages else value
        storages.add(storage)
    with atomic(path) as temporary:
        save_file(plain, temporary, {"meta": json.dumps(meta or {})})


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
        meta = json.loads((file.metadata() or {}).get("meta", "{}"))
        return {key: file.get_tensor(key) for key in file.keys()}, meta  # noqa: SIM118


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise damaged(path, error) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path} is damaged ({reason}); delete it, then run the same command again")


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
