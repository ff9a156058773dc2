"""Options that only one method or data set has, as text on the command line: name=value,name=value."""

from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from polyvae.errors import InputError

TRUTHS = {"true": True, "false": False}


def names_of(options: type[Any] | None) -> tuple[str, ...]:
    """The fields of a dataclass of options that a user may set."""
    return () if options is None else tuple(field.name for field in fields(options) if field.init)


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
            raise InputError(f"{flag} {text!r}: no option {name!r}; {owner} has {', '.join(known) or 'none'}")
        if name in values:
            raise InputError(f"{flag} {text!r} names {name} twice; keep one value")
        values[name] = _typed(value, hints[name], f"{flag} {name}={value}")
    return values


def _typed(text: str, hint: Any, place: str) -> Any:
    """`text` as a bool, int, float, str, one of several literals, or what is optional among these."""
    kind = next((arg for arg in get_args(hint) if arg is not NoneType), hint) if NoneType in get_args(hint) else hint
    if kind is str:
        return text
    choices = TRUTHS if kind is bool else {str(choice): choice for choice in get_args(kind)}
    if text in choices:
        return choices[text]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    raise InputError(f"{place}: it must be {', '.join(choices) or kind.__name__}")
