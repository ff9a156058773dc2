"""Options that only one method or data set has, as text: name=value,name=value."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from polyvae.errors import InputError


def read_options(text: str | None, options: type[Any] | None, flag: str, owner: str) -> Any:
    """The frozen dataclass `options` with the values in `text`; None where `owner` has no options.

    Raises InputError, naming the flag, for an unknown name or a value of another type.
    """
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    values = {name.strip(): value.strip() for name, _, value in pairs}
    if options is None:
        if values:
            raise InputError(f"{flag}: {owner} has no options; leave the flag out")
        return None
    known = {field.name for field in fields(options)}
    if unknown := sorted(set(values) - known):
        raise InputError(f"{flag}: {owner} has no option {unknown[0]!r}; it has {', '.join(sorted(known))}")
    hints = get_type_hints(options)
    return options(**{name: _typed(value, hints[name], f"{flag} {name}={value}") for name, value in values.items()})


def _typed(text: str, hint: Any, place: str) -> Any:
    kind = next((choice for choice in get_args(hint) if choice is not type(None)), hint)
    words: Mapping[str, bool] = {"true": True, "false": False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise InputError(f"{place}: the value must be of type {kind.__name__}") from None
