"""Docstrings of this package as reStructuredText.

They are plain text: names in single backticks, formulas indented, `name: what it is` for parameters, "- " for lists.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

CODE = re.compile(r"(`[^`\n]+`)")
SPECIAL = re.compile(r"([\\*|]|_(?=\W|$))")


def as_rst(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = list(_converted(lines, _parameters(thing)))


def _parameters(thing: Any) -> frozenset[str]:
    """The names that a docstring may explain: of parameters, or of the fields of a class."""
    fields = getattr(thing, "__annotations__", {}) if inspect.isclass(thing) else {}
    try:
        return frozenset({*inspect.signature(thing).parameters, *fields})
    except (TypeError, ValueError):
        return frozenset(fields)


def _converted(lines: list[str], parameters: frozenset[str]) -> Iterator[str]:
    is_formula, before = False, ""
    for line in lines:
        is_blank, is_indented = not line.strip(), line.startswith("    ")
        if is_indented and not before.strip() and not is_formula:
            is_formula = True
            yield from ("::", "")
        elif not is_blank and not is_indented:
            is_formula = False
        if not is_blank and before.strip() and _is_item(line) != _is_item(before):
            yield ""  # a list begins or ends
        yield line if is_formula else _escaped(line, parameters)
        before = line


def _is_item(line: str) -> bool:
    """Whether it begins an item of a list, or goes on with one."""
    return line.startswith(("- ", "  "))


def _escaped(line: str, parameters: frozenset[str]) -> str:
    parts = CODE.split(line)
    parts[::2] = [_named(SPECIAL.sub(r"\\\1", part), parameters) for part in parts[::2]]
    for place in range(1, len(parts), 2):
        is_name = re.fullmatch(r"`[\w.]+`", parts[place])
        glued = r"\ " if re.match(r"\w", parts[place + 1]) else ""
        parts[place] = (parts[place] if is_name else f"`{parts[place]}`") + glued
    return "".join(parts)


def _named(text: str, parameters: frozenset[str]) -> str:
    """`name: ` in bold, where it is a parameter's."""
    return re.sub(r"(?<![\w.])(\w+)(?=(?:, \w+)*: )", lambda m: f"**{m[1]}**" if m[1] in parameters else m[1], text)


def skip(app: Sphinx, what: str, name: str, thing: Any, is_skipped: bool, options: Any) -> bool | None:
    """Leaves out what NamedTuple says of each field ("Alias for field number 0")."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
