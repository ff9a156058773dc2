"""What JSON of ours must look like, as type hints; what is wrong with it is named by the keys that lead there."""

import json
import reprlib
from collections.abc import Callable
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NoReturn,
    NotRequired,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

DEEPEST = 32  # levels of nesting; nothing of ours has more than eight
LARGEST = 2**64
SHORT = reprlib.Repr()
SHORT.maxlevel = 1  # of objects in a list only that they are there
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}


class Rule(NamedTuple):
    """What a value must be beyond its type, for `Annotated`."""

    holds: Callable[[Any], bool]
    wording: str


Size = Annotated[int, Rule(lambda v: 1 <= v < 2**31, "from 1 to 2^31 - 1")]
Count = Annotated[int, Rule(lambda v: v >= 0, "at least 0")]
Positive = Annotated[float, Rule(lambda v: v > 0, "above 0")]


class Means(TypedDict):
    """What is minimised, in nats, means over rows; null where that is not finite."""

    loss: NotRequired[float | None]
    distortion: NotRequired[float | None]
    rate: NotRequired[float | None]
    kl: NotRequired[float | None]
    log_likelihood: NotRequired[dict[str, float | None]]
    regulariser: NotRequired[dict[str, float | None]]


class Held(Means):
    """Means over what is held out, of averaged weights where these are kept. error: of tables filled in
    (`metrics.imputation_error`), if it chooses weights."""

    error: NotRequired[float | None]


class HistoryLine(Means):
    """A line of history.jsonl: an epoch."""

    epoch: Count
    step: Count
    stage: NotRequired[str]
    seconds: NotRequired[float]
    validation: NotRequired[Held]


class CodeFile(TypedDict):
    """A code on its principal components, the class of its row, and the level of its covariate.

    x, y: the first two components. further: the next ones, at most 14; files of version 0.2.0 have none.
    """

    x: float
    y: float
    further: NotRequired[list[float]]
    label: int | None
    level: NotRequired[int]


Codes = Annotated[
    list[CodeFile],
    Rule(lambda codes: len({len(code.get("further", ())) for code in codes}) < 2, "codes with equally many components"),
]


class CellFile(TypedDict):
    """A cell of a table in model units: what is true, and what was filled in, with the ends of its interval."""

    truth: float
    mean: float
    low: float
    high: float


class PatternFile(TypedDict):
    """How many rows have these modalities and no others."""

    present: list[str]
    rows: Count


class ViewsFile(TypedDict):
    """views.json: what a report shows of tables (`pictures.views`). cells: by modality. label_names: of classes, by
    number; files of version 0.2.0 have none. covariate: its name, with the names of its levels."""

    codes: Codes
    label_names: NotRequired[list[str]]
    covariate: NotRequired[str]
    levels: NotRequired[list[str]]
    cells: dict[str, list[CellFile]]
    patterns: list[PatternFile]


class DrawsFile(TypedDict):
    """draws.json: what a model draws of example rows (`pictures.draws`).

    columns: how many rows there are. draws: how many of each. given: what is given, one after another; nothing: draws
    from the prior. By modality, lines with a column per row: first the rows themselves, then for each of `given` that
    the modality is not in, its draws. images: as sheets, WebP in base64, a white pixel around each cell.
    """

    columns: Size
    draws: Size
    given: list[list[str]]
    images: dict[str, str]
    texts: dict[str, list[list[str]]]


def parsed(text: str) -> Any:
    """The content of JSON text. Raises ValueError for other text, and for what no file of ours holds.

    That is numbers that are not finite or beyond 64 bits, a key twice, deep nesting, and text with lone surrogates or
    null characters.
    """
    try:
        content = json.loads(
            text, parse_int=_whole, parse_float=_finite, parse_constant=_refused, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    _check(content, DEEPEST)
    return content


def fault(value: Any, hint: Any, keys: tuple[str | int, ...] = ()) -> str | None:
    """What is wrong with `value`, which lies under `keys`; None where it is what the hint says.

    hint: Any, a type that JSON has, a Literal, a union, list[...], dict[str, ...], a TypedDict (which may have further
    keys), or one of these with Rules.
    """
    if type(value) is hint:  # most of what a store holds is numbers in their place
        return None
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        broken = fault(value, parts[0], keys)
        wordings = (rule.wording for rule in parts[1:] if broken is None and not rule.holds(value))
        return broken or next((_is(keys, value, f"it must be {wording}", SHORT.repr) for wording in wordings), None)
    if kind in (Union, UnionType):
        faults = [fault(value, part, keys) for part in parts if part is not NoneType or value is None]
        return None if None in faults else faults[0]
    if is_typeddict(hint):
        return _fault_of_object(value, hint, keys)
    if kind is dict:
        if not isinstance(value, dict):
            return f"{_place(keys)} is not an object"
        return next(filter(None, (fault(item, parts[1], (*keys, key)) for key, item in value.items())), None)
    if kind is list:
        if not isinstance(value, list | tuple):
            return f"{_place(keys)} is not a list"
        return next(filter(None, (fault(item, parts[0], (*keys, place)) for place, item in enumerate(value))), None)
    if kind is Literal:
        return None if value in parts else _is(keys, value, f"it must be {', '.join(map(str, parts))}")
    return None if _is_of(value, hint) else _is(keys, value, f"not {WORDS[hint]}")


def _fault_of_object(value: Any, form: Any, keys: tuple[str | int, ...]) -> str | None:
    content = value if isinstance(value, dict) else {}
    hints = _hints(form)
    if missing := [key for key in hints if key in form.__required_keys__ and key not in content]:
        return f"{'it' if not keys else _place(keys)} lacks {missing[0]!r}"
    if not isinstance(value, dict):
        return f"{_place(keys)} is not an object"
    faults = (fault(value[key], hint, (*keys, key)) for key, hint in hints.items() if key in value)
    return next(filter(None, faults), None)


@cache
def _hints(form: Any) -> dict[str, Any]:
    hints = get_type_hints(form, include_extras=True)
    return {key: get_args(hint)[0] if get_origin(hint) is NotRequired else hint for key, hint in hints.items()}


def _is_of(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _is(keys: tuple[str | int, ...], value: Any, problem: str, shown: Callable[[Any], str] = reprlib.repr) -> str:
    return f"{_place(keys)} is {shown(value)}, {problem}"


def _place(keys: tuple[str | int, ...]) -> str:
    """its status; metrics 'bound/loss'; modalities 0 'name'."""
    first, *rest = keys or ("content",)
    return f"its {first}" if not rest else f"{first} " + " ".join(map(repr, rest))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} appears twice in one object")
    return content


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= LARGEST:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    if abs(value := float(text)) == float("inf"):
        _refused(reprlib.repr(text))
    return value


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")


def _check(value: Any, levels: int) -> None:
    """Raises ValueError for deep nesting, and for text that cannot be part of a path or a page."""
    if isinstance(value, str):
        value.encode()  # half of a pair of surrogates has no bytes: UnicodeEncodeError is a ValueError
        if "\0" in value:
            raise ValueError("a text holds a null character")
    elif isinstance(value, dict | list):
        if not levels:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(item, levels - 1)
