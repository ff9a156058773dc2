"""Named tuples that check the types of their fields, so that a mistake is found where it is made.

`schema.fault` checks JSON, which has no classes, no tuples that are not lists, and no numbers such as fractions.
"""

import math
import reprlib
from functools import wraps
from numbers import Real
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from polyvae.errors import InputError

Kind = TypeVar("Kind", bound=type[tuple[Any, ...]])


def typed(kind: Kind) -> Kind:
    """The class of named tuples, which raises InputError for fields of other types than their hints."""
    make, hints = kind.__new__, get_type_hints(kind)

    @wraps(make)
    def new(cls: Kind, *values: Any, **named: Any) -> Any:
        made = make(cls, *values, **named)
        for value, (name, hint) in zip(made, hints.items(), strict=True):
            if not _fits(value, hint):
                raise InputError(f"{kind.__name__}({name}={reprlib.repr(value)}): it must be {_wording(hint)}")
        return made

    kind.__new__ = new  # ty: ignore[invalid-assignment]
    # What `_replace` makes is checked, too.
    kind._make = classmethod(lambda cls, values: cls(*values))  # ty: ignore[missing-attribute]
    return kind


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, one of several, a Literal, a tuple of such, or a finite number."""
    if isinstance(hint, type):
        return _is_number(value) if hint is float else isinstance(value, hint)
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in parts
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if type(value) is not tuple:  # a named one is not a list of terms
        return False
    wanted = parts[:1] * len(value) if parts[-1] is ... else parts
    return len(value) == len(wanted) and all(map(_fits, value, wanted))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _wording(hint: Any) -> str:
    """What `_fits` asks for, in words."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if kind in (Union, UnionType):
        return " or ".join(map(_wording, parts))
    if kind is tuple:
        return (
            f"a tuple such as ({_wording(parts[0])},)" if parts[-1] is ... else f"({', '.join(map(_wording, parts))})"
        )
    return {float: "a finite number", str: "name"}.get(hint, hint.__name__.removesuffix("Type"))
