"""Options that only one method or data set has, as text on the command line: name=value,name=value."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from inspect import signature
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from polyvae.errors import InputError, choices

TRUTHS = {"true": True, "false": False}


def names_of(options: type[Any] | None) -> tuple[str, ...]:
    """The fields of a dataclass of options that a user may set."""
    return () if options is None else tuple(field.name for field in fields(options) if field.init)


def check_defaults(options: type[Any] | None, owner: str) -> None:
    """Raises InputError for a dataclass of options that cannot be made without arguments."""
    try:
        (options or dict)()
    except TypeError as error:
        raise InputError(f"{owner}: every field of {options} needs a default ({error})") from error


def check_call(function: Callable[..., Any], owner: str, name: str, given: Sequence[str], named: Sequence[str]) -> None:
    """Raises InputError, which shows the form, for a function that cannot be called with such arguments."""
    try:
        parameters = signature(function)
    except ValueError:  # a C function without a signature
        return
    try:
        parameters.bind(*given, **dict.fromkeys(named))
    except TypeError as error:
        form = f"{name}({', '.join((*given, *(f'{each}=...' for each in named)))})"
        raise InputError(f"{owner} is called as {form}, which it does not take ({error}); define it so") from error


def require(is_met: bool, name: str, value: object, what: str) -> None:
    """Raises InputError, saying what the value of a method's option must be, unless it is met."""
    if not is_met:
        raise InputError(f"--method-options {name}={value}: it must be {what}")


def canonical(text: str, options: type[Any] | None, flag: str, owner: str) -> str | None:
    """`text` as in run ids: sorted by name, values as Python writes them (but true and false), no defaults; None
    for nothing."""
    given, defaults = parsed(text, options, flag, owner), (options or dict)()
    kept = {name: value for name, value in given.items() if value != getattr(defaults, name)}
    shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in kept.items()}
    return ",".join(f"{name}={shown[name]}" for name in sorted(shown)) or None


def parsed(text: str | None, options: type[Any] | None, flag: str, owner: str) -> dict[str, Any]:
    """name -> value, each of the type of its field in the dataclass `options`; None: there are no options.

    Raises InputError, naming the flag, for an unknown name, one that is given twice, or a value of another type.
    """
    if not text:
        return {}
    known, hints, values = names_of(options), {} if options is None else get_type_hints(options), {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in known:
            raise InputError(
                f"{flag} {text!r}: no option {name!r} of {owner}; {choices(name, known) if known else 'it has none'}"
            )
        if name in values:
            raise InputError(f"{flag} {text!r} names {name} twice; keep one value")
        values[name] = _typed(value, hints[name], f"{flag} {name}={value}")
    return values


def _typed(text: str, hint: Any, place: str) -> Any:
    """`text` as a bool, int, float, str, one of several literals, or what is optional among these."""
    is_union = isinstance(hint, UnionType) or get_origin(hint) is Union
    kinds = [arg for arg in get_args(hint) if arg is not NoneType] if is_union else [hint]
    kind = float if {int, float} == set(kinds) else kinds[0]
    if kind is str:
        return text
    choices = TRUTHS if kind is bool else {str(choice): choice for choice in get_args(kind)}
    if text in choices:
        return choices[text]
    if kind in (int, float):
        try:
            if math.isfinite(number := kind(text)):
                return number
        except ValueError:
            pass
    raise InputError(f"{place}: it must be {', '.join(choices) or kind.__name__}")
