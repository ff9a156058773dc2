"""The two ways in which polyvae refuses to go on, and what to write in place of an unknown name."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input, found before compute is spent: names the value, the place and the fix (exit status 2)."""


class RunError(RuntimeError):
    """A run that cannot go on: finished work and the last good checkpoint are kept (exit status 1)."""


def choices(name: str, known: Iterable[str]) -> str:
    """What an error about the unknown `name` advises: the nearest of the known names, then all of them."""
    known = list(known)
    return " Or ".join(filter(None, [did_you_mean(name, known), f"choose one of {', '.join(known)}"]))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'did you mean mopoe?' for 'mopo'; empty if no known name is near."""
    return "".join(f"did you mean {near}?" for near in get_close_matches(name, list(known), 1))
