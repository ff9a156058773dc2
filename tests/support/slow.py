"""What the fast suite proves once, and `make test-all` of every member."""

from collections.abc import Callable, Iterable

import pytest

from polyvae.methods import METHODS


def slow_unless(is_fast: Callable[..., bool], cases: Iterable) -> list:
    """The cases as parameters; those of which `is_fast` does not hold are marked as slow."""
    apart = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=() if is_fast(*case) else pytest.mark.slow) for case in apart]


def _kind(name: str) -> tuple:
    method = METHODS[name]
    return method.model, method.recipe is None, len(method.stages), method.regularisers is None


# The first method of each kind of model that is trained in a way of its own.
ONE_OF_A_KIND = set({_kind(name): name for name in sorted(METHODS, reverse=True) if name != "custom"}.values())
