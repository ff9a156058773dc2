"""What the table of data sets holds: how a data set is loaded, and which options it has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from polyvae.attributes import Attribute
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.polymnist.generator import Sampler
from polyvae.errors import InputError

TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True)
class NoOptions:
    """A data set that has nothing to choose."""


@dataclass(frozen=True)
class Entry:
    """A data set.

    load: (options, split=, size=, seed=) -> MultimodalDataset; size None: all rows.
    options: a frozen dataclass of what can be chosen, with defaults and checks; `datasets.load` builds it.
    sampler: (options, split=) -> Sampler, or None for data that have no generator.
    attributes: what captions name.

    One of your own, used by `--dataset rings --data-options radius=2`:

        @dataclass(frozen=True)
        class Rings:
            radius: float = 1.0

        def load(options: Rings, *, split: str, size: int | None, seed: int) -> MultimodalDataset: ...

        datasets.register("rings", Entry(load, "points on rings", Rings))
    """

    load: Callable[..., MultimodalDataset]
    description: str
    options: type[Any] = NoOptions
    sampler: Callable[..., Sampler] | None = None
    attributes: tuple[Attribute, ...] = ()

    @property
    def own_options(self) -> tuple[str, ...]:
        return tuple(field.name for field in fields(self.options) if field.init)

    @property
    def option_names(self) -> tuple[str, ...]:
        """Its own options and `size`, which every data set has, sorted."""
        return tuple(sorted({"size", *self.own_options}))

    def parsed(self, text: str) -> dict[str, Any]:
        """`name=value,name=value` as options, each of its field's type. Raises InputError, naming the option."""
        hints, values = get_type_hints(self.options), {}
        for part in text.split(","):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in self.own_options:
                known = ", ".join(self.own_options) or "none"
                raise InputError(f"--data-options {text!r}: no option {name!r}; this data set has {known}")
            if name in values:
                raise InputError(f"--data-options {text!r} names {name} twice; keep one value")
            values[name] = _parsed(name, value, hints[name])
        return values

    def built(self, name: str, options: Mapping[str, Any]) -> Any:
        """`options` as the dataclass of the data set `name`. None stands for a default.

        A data directory may be named for all data sets; those that read no files have no use for it.
        Raises InputError for an option that the data set does not have.
        """
        given = {key: value for key, value in options.items() if value is not None}
        own = self.own_options
        if "data_dir" not in own:
            given.pop("data_dir", None)
        for option in given:
            if option not in own:
                raise InputError(f"data set {name!r} has no option {option!r}; it has {', '.join(self.option_names)}")
        return self.options(**given)


def _parsed(name: str, text: str, hint: Any) -> Any:
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
    wanted = ", ".join(choices) or kind.__name__
    raise InputError(f"--data-options {name}={text}: it must be {wanted}")
