"""Your own S in a JSON file, as --subsets names it."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from polyvae import subsets
from polyvae.errors import InputError
from polyvae.files import read_settings
from polyvae.subsets import SubsetMixture


def terms_in(path: Path) -> str:
    """The terms in the file, as `RunConfig.subsets` holds them. Raises InputError that names the file."""
    content = read_settings(path)
    with _naming(path):
        return subsets.terms_text(content)


def mixture_in(path: Path) -> SubsetMixture:
    """The S in the file, over the names that it gives. Raises InputError that names the file."""
    content = read_settings(path)
    with _naming(path):
        return subsets.from_json(content)


@contextmanager
def _naming(path: Path) -> Generator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"--subsets {path}: {error}") from error
